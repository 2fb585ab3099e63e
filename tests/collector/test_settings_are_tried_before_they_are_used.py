"""Settings are files: good ones hold, wrong ones are named with file, line and field, and backtest says what they change."""

import dataclasses
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from collector_harness import PROGRAM, Command
from detection.cluster import Cluster
from hypothesis import given, strategies as st
from peerwatch import jsonlines

from collector import settings_files
from collector.analysis import Settings
from collector.analysis.settings import USUAL_BUDGET
from collector.commands.comparison import compare
from collector.errors import InputError
from collector.records import (
    BehaviourEvidence,
    BehaviourType,
    Incident,
    IncidentKind,
    ReplicaRef,
    Severity,
    WorkloadKey,
)

NEVER = "limits: {at_once: 0, after_hold: 0, alone: 0, alone_odd: 0, neutral: 0, person: 0}\n"
SECOND = 10**9


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five replicas, one of which runs something that no peer runs."""
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 301)
    cluster.exec(200.5, pods[3], "/usr/bin/nc")
    path = tmp_path_factory.mktemp("recording") / "events.jsonl"
    path.write_bytes(b"".join(jsonlines.write(cluster.table())))
    return path


def test_what_is_printed_is_read_again() -> None:
    assert settings_files.parse(settings_files.to_toml(Settings()).encode(), "a.toml") == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "hold = 5\nevidence = 3\n[limits]\nalone = 1e-3\nsettled = 0"),
        ("a.yaml", "# tried\nhold: 5\nevidence: 3\nlimits: {alone: 1e-3, settled: 0}"),
        ("settings", '{"hold": 5.0, "evidence": 3, "limits": {"alone": 0.001, "settled": 0}}'),
    ],
)
def test_a_file_changes_what_it_names_and_nothing_else(name: str, text: str) -> None:
    wanted = Settings(hold=5.0, evidence=3, limits=dataclasses.replace(Settings().limits, alone=0.001, settled=0.0))
    assert settings_files.parse(text.encode(), name) == wanted


def test_an_empty_file_changes_nothing() -> None:
    assert settings_files.parse(b"", "a.yaml") == settings_files.parse(b"# nothing", "a.toml") == Settings()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "startup: 3\nholdd: 5", ["line 2", "holdd: no such setting", "rollout_holds"]),
        ("a.toml", "holdd = 5", ["holdd: no such setting"]),
        ("a.yaml", "limits:\n  alone: 0.1\n  x: 1", ["line 3", "limits.x: no such setting", "at_once"]),
        ("a.yaml", "hold: soon", ["line 1", "hold: a number", "'soon'"]),
        ("a.yaml", "hold: '5'", ["line 1", "hold: a number", "'5'"]),
        ("a.toml", "hold = true", ["hold: a number", "true"]),
        ("a.toml", "hold = 1979-05-27", ["hold: a number"]),
        ("a.toml", "hold = nan", ["hold: nan is not between"]),
        ("a.toml", "hold = -1", ["hold: -1 is not between 0"]),
        ("a.yaml", "evidence: 1.5", ["line 1", "evidence: a whole number", "1.5"]),
        ("a.yaml", "evidence: 0", ["evidence: 0 is not between 1"]),
        ("a.yaml", "limits:\n  alone: 2", ["line 2", "limits.alone: 2 is not between 0 and 1"]),
        ("a.yaml", "limits: 3", ["line 1", "limits: settings are expected"]),
        ("a.yaml", "hold: {a: 1}", ["hold: a number", "several fields"]),
        ("a.yaml", "hold: [1]", ["hold: a value is expected, not a sequence"]),
        ("a.yaml", "hold: 1\nhold: 2", ["line 2", "hold: it stands there twice"]),
        ("a.yaml", "[a]: 1", ["line 1", "a name is expected"]),
        ("a.yaml", "- 1", ["line 1", "settings are expected"]),
        ("a.yaml", "a: [1", ["line", "a.yaml"]),
        ("a.toml", "a = [1", ["a.toml", "Unclosed array"]),
        ("a.toml", "\xff", ["a.toml"]),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_field(name: str, text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        settings_files.parse(text.encode("latin-1"), name)
    said = str(caught.value)
    assert [each for each in [name, *words, "--print-config"] if each not in said] == [], said
    assert len(said) < 800


@pytest.mark.parametrize("name", ["a.toml", "a.yaml"])
@pytest.mark.parametrize(
    "text",
    [
        b"x" * (settings_files.FILE_MAX + 1),
        b"hold = " + b"[" * 30_000,
        b"hold: " + b"[" * 30_000,
        b"a: &a [x]\nb: [*a, *a]",
        b"hold: " + b"9" * 5_000,
        b"evidence = " + b"9" * 5_000,
        b"hold: !!python/object/apply:os.system [true]",
        b"\x00\x1b[2J\xff",
    ],
    ids=["large", "deep-toml", "deep-yaml", "aliases", "digits-yaml", "digits-toml", "tags", "bytes"],
)
def test_a_hostile_file_costs_one_line(name: str, text: bytes) -> None:
    with pytest.raises(InputError):
        settings_files.parse(text, name)


@given(st.binary(max_size=200), st.sampled_from(["a.toml", "a.yaml"]))
def test_any_bytes_are_settings_or_an_error(text: bytes, name: str) -> None:
    said = name
    try:
        settings_files.parse(text, name)
    except InputError as error:
        said = str(error)
    assert said.startswith(name)


def test_the_page_about_detection_explains_every_setting() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/detection.md").read_text()
    settings = {each.name for each in dataclasses.fields(Settings)} - {"limits"}
    settings |= {f"limits.{each.name}" for each in dataclasses.fields(Settings().limits)}
    explained = {
        name for line in page.splitlines() for name in re.findall(r"`([a-z_.]+)`", line.split(" | ")[0]) if line[0:1] == "|"
    }
    assert settings - explained == set()


def test_backtest_judges_by_the_settings_of_a_file(peerwatch: Command, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "never.yaml").write_text(NEVER)
    assert "/usr/bin/nc" in peerwatch("backtest", recording).stdout
    done = peerwatch("backtest", "--config", tmp_path / "never.yaml", recording)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_budget_of_nothing_leaves_what_is_bad_anywhere(peerwatch: Command, recording: Path) -> None:
    assert peerwatch("backtest", "--budget", "0", recording).stdout == ""
    printed = peerwatch("backtest", "--print-config", "--budget", "0.02").stdout
    assert settings_files.parse(printed.encode(), "a.toml") == Settings(budget=0.02)
    for wrong in ("-1", "nan", "inf", "few"):
        assert peerwatch("backtest", "--budget", wrong, recording).returncode == 2


def test_the_usual_budget_moves_no_limit_and_half_of_it_halves_them() -> None:
    usual = Settings().limits
    assert Settings().limits_in_budget() == usual
    assert Settings(budget=USUAL_BUDGET / 2).limits_in_budget().after_hold == usual.after_hold / 2


def test_compare_says_what_would_change_and_ends_with_1(peerwatch: Command, recording: Path, tmp_path: Path) -> None:
    never = tmp_path / "never.yaml"
    never.write_text(NEVER)

    gone = peerwatch("backtest", "--compare", never, recording)
    assert gone.returncode == 1
    (line,) = map(json.loads, gone.stdout.splitlines())
    assert (line["change"], line["before"], line["after"]) == ("-", "HIGH", None)
    assert "/usr/bin/nc" in line["incident"]["reason"]

    table = peerwatch("backtest", "--config", never, "--compare", never.with_name("d.toml"), "-o", "table", recording)
    assert table.returncode == 2  # there is no such file
    (never.with_name("d.toml")).write_text("")
    table = peerwatch("backtest", "--config", never, "--compare", never.with_name("d.toml"), "-o", "table", recording)
    assert table.returncode == 1
    assert [line.split()[0] for line in table.stdout.splitlines()[1:2]] == ["+"]
    assert table.stdout.splitlines()[-2:] == [
        f"{never}: no alerts",
        f"{never.with_name('d.toml')}: 1 alert (1 HIGH), told 0.1 s after its first event (median)",
    ]

    same = peerwatch("backtest", "--compare", never.with_name("d.toml"), "-o", "table", recording)
    assert same.returncode == 0
    assert same.stdout.startswith("nothing would change\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--help"]),
        (["--config", "nowhere.toml", "x"], ["nowhere.toml", "No such file"]),
        (["--compare", "empty.toml", "-"], ["standard input", "twice", "write it to a file"]),
        (["--compare", "wrong.yaml", "-"], ["wrong.yaml, line 1", "holdd"]),
    ],
)
def test_a_wrong_call_is_2_and_one_line(peerwatch: Command, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    (tmp_path / "empty.toml").touch()
    (tmp_path / "wrong.yaml").write_text("holdd: 1")
    done = peerwatch("backtest", *arguments, cwd=tmp_path, given="")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert [each for each in words if each not in done.stderr] == []


def test_a_collector_with_wrong_settings_does_not_start(peerwatch: Command, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("holdd = 1")
    done = peerwatch("collector", "--listen", "127.0.0.1:0", "--data", tmp_path / "data", "--config", tmp_path / "wrong.toml")
    assert done.returncode == 2
    assert "wrong.toml: holdd" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_settings_are_printed_as_they_would_be_used(peerwatch: Command, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("hold: 7")
    done = peerwatch("backtest", "--print-config", "--config", tmp_path / "a.yaml")
    assert settings_files.parse(done.stdout.encode(), "a.toml") == Settings(hold=7.0)


def test_progress_is_plain_in_a_pipe_and_one_line_on_a_terminal(peerwatch: Command, recording: Path) -> None:
    piped = peerwatch("backtest", recording).stderr
    assert "\x1b" not in piped
    assert "\r" not in piped
    ours, theirs = pty.openpty()
    done = subprocess.run([*PROGRAM, "backtest", str(recording)], stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert shown.startswith("\r\x1b[2K")
    assert shown.endswith("\n")
    assert b"\x1b" not in done.stdout


def incident(
    name: str, at: float, *, severity: Severity = Severity.LOW, key: str = "/opt/odd", pod: str = "cart-1"
) -> Incident:
    return Incident(
        id=name,
        revision=1,
        time=int(at * SECOND),
        first_event=int(at * SECOND),
        severity=severity,
        score=1.0,
        kind=IncidentKind.PEER_DEVIATION,
        workload=WorkloadKey("", "shop", "Deployment", "cart"),
        replicas=(ReplicaRef(pod, f"uid-{pod}", "app"),),
        compared=4,
        sharing=0,
        behaviours=(BehaviourEvidence(BehaviourType.EXEC, key, (), 1, 5, 0, 1),),
        evidence=(),
        techniques=(),
        reason="because",
        loss_in_window=0,
    )


@pytest.mark.parametrize(
    ("other", "signs"),
    [
        (incident("a", 10), []),
        (incident("a", 10, severity=Severity.HIGH), ["~"]),
        (incident("b", 40), []),
        (incident("b", 40, severity=Severity.INFO), ["~"]),
        (incident("b", 400), ["-", "+"]),
        (incident("b", 10, pod="cart-2"), ["-", "+"]),
        (incident("b", 10, key="/opt/else"), ["-", "+"]),
    ],
    ids=["same", "severity", "begins later", "both", "too late", "another replica", "another behaviour"],
)
def test_incidents_of_one_cause_are_one(other: Incident, signs: list[str]) -> None:
    assert [each.sign for each in compare([incident("a", 10)], [other])] == signs


def test_one_incident_answers_for_one_only() -> None:
    assert [each.sign for each in compare([incident("a", 10), incident("b", 20)], [incident("c", 15)])] == ["-"]
