"""Recorded events give the same incidents every time, in event time, from any number of files."""

import gzip
import io
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from detection.cluster import BEGIN, SECOND, Cluster, alerts, latest
from peerwatch import jsonlines

from collector import backtest
from collector.records import Incident


def recording() -> list[bytes]:
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 701, every=4)
    cluster.exec(60.5, pods[2], "/usr/bin/nc")
    cluster.connect(690.5, pods[3], "/usr/bin/server", ("10.9.7.7", 9_200))
    return list(jsonlines.write(cluster.table()))


def run(*files: Path) -> tuple[list[Incident], list[str]]:
    said: list[str] = []
    return list(backtest.run(files, report=said.append)), said


def test_incidents_come_out_in_event_time_and_held_ones_after_the_end(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"".join(recording()))

    incidents, said = run(tmp_path / "events.jsonl")

    found = alerts(latest(incidents))
    assert [each.replicas[0].pod for each in found] == ["cart-r1-2", "cart-r1-3"]
    assert [each.time - BEGIN for each in found] == [int(60.6 * SECOND), int(720.6 * SECOND)]
    assert said[-1].startswith("882 events in ")


def test_it_is_deterministic_and_the_same_from_several_files(tmp_path: Path) -> None:
    lines = recording()
    (tmp_path / "all.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "even.jsonl").write_bytes(b"".join(lines[::2]))
    (tmp_path / "odd.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[1::2])))

    first, _ = run(tmp_path / "all.jsonl")

    assert run(tmp_path / "all.jsonl")[0] == first
    assert run(tmp_path / "even.jsonl", tmp_path / "odd.jsonl.gz")[0] == first
    assert run(tmp_path / "odd.jsonl.gz", tmp_path / "even.jsonl")[0] == first


def test_lines_that_are_seconds_late_are_put_in_order(tmp_path: Path) -> None:
    lines = recording()
    (tmp_path / "ordered.jsonl").write_bytes(b"".join(lines))
    moved = lines[:100] + lines[110:115] + lines[100:110] + lines[115:]
    (tmp_path / "late.jsonl").write_bytes(b"".join(moved))

    assert run(tmp_path / "late.jsonl")[0] == run(tmp_path / "ordered.jsonl")[0]


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(b"".join(recording())))))

    assert len(alerts(latest(backtest.run(["-"])))) == 2


def test_a_bad_line_is_named_with_its_file(tmp_path: Path) -> None:
    lines = recording()
    lines[6] = b'{"time": "yesterday", "exec": {}}\n'
    (tmp_path / "bad.jsonl").write_bytes(b"".join(lines))

    with pytest.raises(backtest.RecordingError) as caught:
        run(tmp_path / "bad.jsonl")

    assert f"{tmp_path}/bad.jsonl, line 7: " in str(caught.value)
    assert "yesterday" in str(caught.value)


def test_bad_lines_are_skipped_and_counted_on_demand(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b"".join([*recording(), b"no event\n"]))
    said: list[str] = []

    incidents = list(backtest.run([tmp_path / "bad.jsonl"], skip_bad_lines=True, report=said.append))

    assert len(alerts(latest(incidents))) == 2
    assert "1 bad lines skipped" in said[-1]


@pytest.mark.parametrize(
    ("name", "content"), [("gone.jsonl", None), ("cut.jsonl.gz", gzip.compress(b"x" * 1000, mtime=0)[:20])]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(backtest.RecordingError) as caught:
        run(tmp_path / name)

    assert name in str(caught.value)


def test_an_empty_file_has_no_incidents(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")

    assert run(tmp_path / "empty.jsonl")[0] == []


def test_the_order_of_lines_within_seconds_and_their_files_change_nothing(tmp_path: Path) -> None:
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 90)
    for number, pod in enumerate(pods):  # everything at the same moments, as a recorder with a coarse clock writes it
        for tool in ("/usr/bin/nc", "/usr/bin/wget", "/usr/bin/id"):
            cluster.exec(60.0 + number % 2, pod, tool, args=(tool, str(number)))
    lines = list(jsonlines.write(cluster.table()))
    (tmp_path / "all.jsonl").write_bytes(b"".join(lines))
    chance = random.Random(1)  # noqa: S311 — no secret
    shuffled = [lines[place] for place in sorted(range(len(lines)), key=lambda place: place / 6 + chance.random() * 4)]
    (tmp_path / "shuffled.jsonl").write_bytes(b"".join(shuffled))
    parts = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for number, part in enumerate(parts):
        part.write_bytes(b"".join(shuffled[number::3]))

    first, _ = run(tmp_path / "all.jsonl")

    assert len(alerts(latest(first))) > 0
    assert run(tmp_path / "shuffled.jsonl")[0] == first
    assert run(*parts)[0] == first
    assert run(*reversed(parts))[0] == first
