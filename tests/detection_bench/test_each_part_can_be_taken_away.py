"""The ablations take away what they say, and nothing else."""

import ablations
import numpy as np
import pytest
from detector import Alert
from peerwatch.columns import EventColumns
from scenario import ARMS, SIZES, generate

from collector.analysis import meaning


@pytest.fixture(scope="module", name="tables")
def _tables() -> list[EventColumns]:
    return list(generate(3, ARMS["resolved"], SIZES["tiny"]).tables())


def taken(monkeypatch: pytest.MonkeyPatch, which: str, tables: list[EventColumns]) -> list[EventColumns]:
    """Return what the detector is given."""
    seen: list[EventColumns] = []

    def look(given: list[EventColumns]) -> list[Alert]:
        seen.extend(given)
        return []

    monkeypatch.setattr(ablations, "peerwatch", look)
    assert ablations.ABLATIONS[which](iter(tables)) == []
    return seen


def test_without_arguments_no_process_has_any(monkeypatch: pytest.MonkeyPatch, tables: list[EventColumns]) -> None:
    assert any(table.processes.args.any() for table in tables)
    assert not any(table.processes.args.any() for table in taken(monkeypatch, "arguments", tables))


def test_without_peers_each_replica_is_its_workload(monkeypatch: pytest.MonkeyPatch, tables: list[EventColumns]) -> None:
    alone = [
        subject for table in taken(monkeypatch, "peers", tables) for subject in table.subjects if subject.pod.workload.name
    ]

    assert {subject.pod.workload.name == subject.pod.name for subject in alone} == {True}


def test_without_names_no_connect_has_a_peer(monkeypatch: pytest.MonkeyPatch, tables: list[EventColumns]) -> None:
    assert any(table.connects.peer.any() for table in tables)
    assert not any(table.connects.peer.any() for table in taken(monkeypatch, "names of destinations", tables))


def test_without_history_each_event_is_judged_once_within_ten_minutes(
    monkeypatch: pytest.MonkeyPatch, tables: list[EventColumns]
) -> None:
    spans: list[int] = []
    seen: list[np.ndarray] = []

    def look(part: list[EventColumns]) -> list[Alert]:
        spans.append(int(part[-1].time[-1] - part[0].time[0]))
        seen.extend(table.time for table in part)
        return []

    monkeypatch.setattr(ablations, "peerwatch", look)
    ablations.ABLATIONS["history"](iter(tables))

    assert len(spans) > 1
    assert max(spans) < ablations.FORGET_S * 10**9
    assert np.array_equal(np.concatenate(seen), np.concatenate([table.time for table in tables]))


def test_the_table_names_what_was_taken_away(capsys: pytest.CaptureFixture[str]) -> None:
    assert ablations.main_with(["--size", "tiny", "--seeds", "3", "--only", "joint evidence", "--no-loss"]) == 0

    text = capsys.readouterr().out
    assert "| - joint evidence" in text
    assert "| all" in text


@pytest.mark.parametrize("wrong", [["--seeds", "x"], ["--only", "nothing"]])
def test_a_wrong_call_ends_with_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ablations.main_with(wrong)
    assert ended.value.code == 2


def test_without_names_of_software_nothing_is_anybody_s_business(
    monkeypatch: pytest.MonkeyPatch, tables: list[EventColumns]
) -> None:
    seen: list[frozenset[str]] = []

    def look(_: object) -> list[Alert]:
        seen.append(meaning.software.business("registry.k8s.io/kube-proxy:v1.29.4"))
        return []

    monkeypatch.setattr(ablations, "peerwatch", look)
    ablations.ABLATIONS["names of software"](iter(tables))

    assert seen == [frozenset()]
    assert meaning.software.business("registry.k8s.io/kube-proxy:v1.29.4")
