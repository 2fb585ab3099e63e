"""The command from the seed to the table, on a small scenario."""

from collections.abc import Iterable

import pytest
import run
import scoring
from detector import Alert, Severity, WorkloadKey
from peerwatch.columns import EventColumns
from scenario import ARMS, SIZES, generate

SCENARIO = (3, ARMS["resolved"], SIZES["tiny"])


def nobody(tables: Iterable[EventColumns]) -> list[Alert]:
    assert sum(len(table) for table in tables) > 1_000
    return []


def oracle(tables: Iterable[EventColumns]) -> list[Alert]:
    """Know the labels: what a perfect detector would say."""
    del tables
    key = WorkloadKey("", "", "", "")
    return [Alert(label.start, Severity.HIGH, key, frozenset(label.pods), label.events) for label in generate(*SCENARIO).labels]


def test_silence_finds_nothing_and_knowing_all_finds_all() -> None:
    results = run.measure({"nobody": nobody, "oracle": oracle}, [SCENARIO])
    assert scoring.figures(results["nobody"])["recall_Y"] == 0
    values = scoring.figures(results["oracle"])
    assert (values["recall_Y"], values["recall_P"], values["false_alerts"], values["right_replica"]) == (1, 1, 0, 1)
    assert values["replica_days"] > 1


def test_peerwatch_is_measured_on_a_scenario_and_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main_with(["--size", "tiny", "--seeds", "3", "--detectors", "peerwatch"]) == 0
    text = capsys.readouterr().out
    assert "| peerwatch" in text
    assert "### Goals" in text
    assert "### False alerts of peerwatch" in text


@pytest.mark.parametrize("wrong", [["--arms", "none"], ["--seeds", "x"], ["--detectors", "nobody"]])
def test_a_wrong_call_ends_with_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main_with(wrong)
    assert ended.value.code == 2


def test_detectors_are_named_by_their_first_word() -> None:
    assert list(run.detectors_of("peerwatch") or ()) == ["peerwatch"]
    assert run.detectors_of("B99") is None


def test_seeds_are_named_or_numbers() -> None:
    assert run.seeds_of("1,4-6") == [1, 4, 5, 6]
    assert set(run.seeds_of("development") or ()) & set(run.seeds_of("report") or ()) == set()
    assert run.seeds_of("one") is None
