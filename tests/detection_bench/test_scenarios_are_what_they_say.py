"""A scenario is the same for the same seed, holds what its catalogues promise, and its labels point at what was done."""

import dataclasses
import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import recordings
from peerwatch.columns import EventKind, ProcessFlag
from scenario import ARMS, SIZES, Recording, generate
from scenario.attacks import CATALOGUE, INVISIBLE, variants
from scenario.images import Image
from scenario.noise import EVERYWHERE, NOISE
from scenario.script import fill, parse
from scenario.workloads import ARCHETYPES

TINY = SIZES["tiny"]


@cache
def made(arm: str, seed: int = 4) -> Recording:
    return generate(seed, ARMS[arm], TINY)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return made("resolved")


def test_the_same_seed_gives_the_same_recording(recording: Recording) -> None:
    again = generate(recording.seed, recording.arm, recording.size)
    assert np.array_equal(recording.events.time, again.events.time)
    assert recording.labels == again.labels
    assert list(recording.events.subjects) == list(again.events.subjects)


def test_another_seed_has_other_names(recording: Recording) -> None:
    other = made("resolved", 5)

    def names(one: Recording) -> set[str]:
        return {subject.pod.workload.name for subject in one.events.subjects}

    assert len(names(recording) & names(other)) < len(names(recording)) / 10


def test_all_48_rows_of_noise_are_there_and_each_is_shown_by_somebody() -> None:
    assert sorted(NOISE) == list(range(1, 49))
    shown = {row for kind in ARCHETYPES for row in kind.noise} | set(EVERYWHERE)
    assert sorted(row for row, noise in NOISE.items() if noise.play is not None and row not in shown) == []
    assert [row for row, noise in NOISE.items() if noise.play is None and not noise.where] == []


def test_there_are_thirty_workloads_from_one_to_fifty_replicas() -> None:
    assert len(ARCHETYPES) >= 30
    assert min(kind.replicas[0] for kind in ARCHETYPES) == 1
    assert max(kind.replicas[1] for kind in ARCHETYPES) == 50


def test_the_attack_catalogue_has_80_rows_and_three_variants_of_each_that_can_be_seen() -> None:
    assert sorted({*CATALOGUE, *INVISIBLE}) == sorted(set(range(1, 81)) - {4})  # 4: a debug container, which is noise row 10
    assert [row.number for row in CATALOGUE.values() if row.visibility == "Y" and len(row.variants) < 3] == []
    assert all(parse(script) for _, script in variants())


def test_labels_point_at_the_events_that_the_attack_made(recording: Recording) -> None:
    events = recording.events
    assert len(recording.labels) >= 8
    for label in recording.labels:
        pods = {events.subjects[events.subject[line]].pod.name for line in label.lines}
        assert pods <= set(label.pods)
        times = events.time[list(label.lines)]
        assert (label.start, label.end) == (times.min(), times.max())
        assert len(label.events) >= 1
    assert sum(len(label.lines) for label in recording.labels) == int(np.count_nonzero(recording.noise == -1))


def test_events_stand_in_time_order_and_processes_start_before_what_they_do(recording: Recording) -> None:
    events = recording.events
    assert bool(np.all(np.diff(events.time) >= 0))
    execs = events.rows_of(EventKind.EXEC)
    started = events.processes.start_time[events.process[execs]]
    skew = 100_000_000  # clocks of nodes differ
    assert bool(np.all(started < events.time[execs] + skew))


def test_probes_and_people_come_from_outside_of_the_container(recording: Recording) -> None:
    events = recording.events
    injected = events.flagged(ProcessFlag.INJECTED)
    assert bool(np.all(injected[(recording.noise == 9) | (recording.noise == 11) | (recording.noise == 45)]))
    own = (recording.noise == 30) & (events.kind == EventKind.EXEC)
    assert own.any()
    assert not injected[own].any()


def test_an_arm_without_attacks_has_none_and_the_rest_of_its_life_is_the_same(recording: Recording) -> None:
    benign = made("benign")
    assert benign.labels == []
    assert not (benign.noise == -1).any()
    assert {subject.pod.workload for subject in benign.events.subjects} == {
        subject.pod.workload for subject in recording.events.subjects
    }


def test_what_is_lost_is_reported_where_it_is_missing() -> None:
    whole, lossy = (made(name) for name in ("benign", "loss10"))
    losses = lossy.events.losses
    missing = int(losses.count.sum())
    assert 0.05 < missing / len(whole.events) < 0.15
    assert bool(np.all(losses.begin <= losses.end))


def test_addresses_are_unknown_where_nobody_resolves_them() -> None:
    bare = made("addresses")
    assert not bare.events.connects.peer.any()
    known = made("resolved").events.connects.peer > 0
    assert 0.3 < float(np.mean(known)) < 0.95


def test_a_poisoned_pod_is_attacked_within_its_first_minutes_and_again() -> None:
    poisoned = made("poisoned")
    assert len(poisoned.labels) >= 5
    assert {"c"} <= set.intersection(*(set(label.also) for label in poisoned.labels))
    assert all(label.replicas >= 3 for label in poisoned.labels)
    begin = int(poisoned.events.time[0])
    assert all(label.start - begin < 120 * 10**9 for label in poisoned.labels)
    assert max(label.end - label.start for label in poisoned.labels) > 600 * 10**9


def test_a_written_recording_reads_back_as_it_was(recording: Recording, tmp_path: Path) -> None:
    recording.write(tmp_path)
    assert recordings.find(tmp_path) == [tmp_path]
    back = recordings.read(tmp_path)
    assert np.array_equal(back.events.time, recording.events.time)
    assert [label.events for label in back.labels] == [label.events for label in recording.labels]
    assert [dataclasses.replace(label, events=frozenset()) for label in back.labels] == [
        dataclasses.replace(label, events=frozenset()) for label in recording.labels
    ]
    assert json.loads((tmp_path / "labels.jsonl").read_text().splitlines()[0])["scope"] in {"one", "all"}


def test_names_and_addresses_of_attacks_do_not_repeat() -> None:
    hosts: Counter[bytes] = Counter()
    for seed in (4, 5):
        attacked = made("resolved", seed)
        events = attacked.events
        rows = np.flatnonzero((attacked.noise == -1) & (events.kind == EventKind.CONNECT))
        hosts.update({bytes(events.connects.address[place]) for place in events.places()[rows].tolist()})
    assert len(hosts) > 5
    repeated = {host for host, count in hosts.items() if count > 1}
    assert all(host[12] in {10, 169, 127} for host in repeated)


def test_a_script_says_who_starts_whom_with_which_marks_and_where_they_connect() -> None:
    (shell,) = parse("^sh -c 'echo > x'\n  !/tmp/{f} -p 1 -> {c2}:80 dns\n  *3*sleep 1")
    assert shell.argv == ("sh", "-c", "echo > x")
    assert shell.flags == 1 << ProcessFlag.TTY
    dropped, sleep = shell.children
    assert (dropped.argv, dropped.dials) == (("/tmp/{f}", "-p", "1"), ("{c2}:80", "dns"))
    assert dropped.flags == 1 << ProcessFlag.UPPER_LAYER
    assert sleep.times == 3


def test_what_is_not_known_in_a_script_stays_as_it_is() -> None:
    assert fill("awk '{print $1}' {f} {other}", {"f": "x"}) == "awk '{print $1}' x {other}"


@pytest.mark.parametrize(
    ("image", "command", "exe"),
    [
        (Image("alpine"), "cat", "/bin/busybox"),
        (Image("debian"), "sh", "/usr/bin/dash"),
        (Image("debian", merged=False), "sh", "/bin/dash"),
        (Image("debian", merged=False), "curl", "/usr/bin/curl"),
        (Image("rhel"), "sh", "/usr/bin/bash"),
        (Image("alpine"), "curl", "/usr/bin/curl"),
        (Image("debian"), "/tmp/x", "/tmp/x"),
    ],
)
def test_a_command_runs_the_file_that_its_distribution_has(image: Image, command: str, exe: str) -> None:
    assert image.file_of(command) == exe
