"""Execs and connects are what a workload does. How processes end, who calls in, and what the agent tries for itself is not."""

import numpy as np
from detection.cluster import BEGIN, SECOND, Cluster, add, alerts, latest
from peerwatch.columns import ColumnsBuilder, EventColumns, EventKind, ProcessFlag

from collector.analysis import Analysis
from collector.records import BaselineEntry, Incident

ADDRESS = bytes(10) + b"\xff\xff\xcb\x00\x71\x09"


def attacked() -> Cluster:
    cluster = Cluster()
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 90)
    cluster.exec(60.5, pods[1], "/usr/bin/nc")
    cluster.connect(61.5, pods[1], "/usr/bin/nc", ("203.0.113.9", 4444))
    return cluster


def with_other_events(cluster: Cluster) -> EventColumns:
    """Follow each event with an exit, a listen and an accept of its process, and with canaries that look like an attack."""
    builder = ColumnsBuilder()
    for at, _, what in cluster.sorted():
        time, subject = BEGIN + round(at * SECOND), builder.subject(what[1])
        add(builder, time, what)
        process = builder.process(pid=7, start_time=time, exe="/opt/other", args=("other",), ancestors=("/usr/bin/server",))
        builder.listen(time, subject, process, protocol=1, address=bytes(16), port=31_337)
        builder.accept(time, subject, process, protocol=1, address=ADDRESS, port=31_337, count=7)
        builder.exit(time, subject, process, code=1, signal=0, lifetime=5, count=7)
        canary = builder.process(pid=8, start_time=time, exe="/usr/bin/ncat", args=("ncat",), flags=1 << ProcessFlag.CANARY)
        builder.exec(time, subject, canary)
        builder.connect(time, subject, canary, protocol=1, address=ADDRESS, port=5555, result=1)
    return builder.build()


def concluded(table: EventColumns) -> tuple[list[Incident], list[BaselineEntry]]:
    analysis = Analysis()
    incidents = analysis.observe(table) + analysis.advance(BEGIN + 400 * SECOND)
    return incidents, [entry for each in analysis.workloads() for entry in analysis.baseline(each.key)]


def test_other_events_and_canaries_are_neither_learned_nor_found() -> None:
    cluster = attacked()
    incidents, baseline = concluded(cluster.table())

    assert len(alerts(latest(incidents))) == 1
    assert concluded(with_other_events(cluster)) == (incidents, baseline)


def test_a_canary_before_a_connect_does_not_lend_it_its_destination() -> None:
    cluster = attacked()
    table = with_other_events(cluster)
    connects = table.take(np.flatnonzero((table.kind == EventKind.CONNECT) | (table.kind == EventKind.ACCEPT)))

    _, baseline = concluded(connects)

    assert [entry.key for entry in baseline] == ["/usr/bin/nc -> public 203.0.0.0/16:4444/tcp"]


def test_a_folded_exec_counts_as_often_as_it_says() -> None:
    cluster = attacked()
    builder = ColumnsBuilder()
    for at, _, what in cluster.sorted():
        builder.extend(one(at, what, count=17 if what[0] == "exec" and what[3] == "/usr/bin/nc" else 1))

    incidents, _ = concluded(builder.build())

    (alert,) = alerts(latest(incidents))
    assert {each.key: each.count for each in alert.behaviours} == {
        "/usr/bin/nc <- /usr/bin/server": 17,
        "/usr/bin/nc -> public 203.0.0.0/16:4444/tcp": 1,
    }


def one(at: float, what: tuple, count: int) -> EventColumns:
    builder = ColumnsBuilder()
    add(builder, BEGIN + round(at * SECOND), what)
    table = builder.build()
    if len(table.execs):
        table.execs.count[0] = count
    return table
