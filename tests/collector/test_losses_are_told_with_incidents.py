"""Every incident says how many events its nodes lost around it, live and in a backtest, however the loss was reported."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from collector_harness import SECOND, Command, Daemon, Events, eventually
from detection.cluster import Cluster, analyse
from peerwatch import jsonlines
from peerwatch.columns import ColumnsBuilder
from peerwatch.subjects import Container, Pod, Subject

from collector import backtest
from collector.analysis import Analysis
from collector.analysis.losses import MOST_NODES, MOST_PER_NODE, LossLog
from collector.records import Incident

ATTACK = 60.5


def recorded(tmp_path: Path, loss: dict[str, object]) -> list[Incident]:
    """Return what a backtest tells of an attack on a replica of node-2 among whose lines one loss stands."""
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 90)
    cluster.exec(ATTACK, pods[2], "/usr/bin/nc")
    lines = list(jsonlines.write(cluster.table()))
    line = {"cluster": "test", "node": pods[2].subject.node, **loss}
    (tmp_path / "events.jsonl").write_bytes(b"".join([*lines, json.dumps(line).encode() + b"\n"]))
    return [each for each in backtest.run([tmp_path / "events.jsonl"]) if "/usr/bin/nc" in each.reason]


def at(seconds: float) -> str:
    """Return a time of the recording."""
    return f"2027-01-15T08:{int(seconds) // 60:02}:{seconds % 60:06.3f}Z"


@pytest.mark.parametrize(
    "loss",
    [
        {"time": at(60.4), "loss": {"reason": "RING_FULL", "count": 17, "from": at(59), "to": at(60.4)}},
        {"time": at(60.4), "loss": {"reason": "RING_FULL", "count": 17}},
        {"time": at(62), "loss": {"reason": "RING_FULL", "count": 17}},
        {"time": at(60.4), "loss": {"reason": "RING_FULL", "count": 17, "to": at(60.4)}},
        {"time": at(60.4), "loss": {"reason": "RING_FULL", "count": 17, "from": at(59)}},
        {"time": at(60.4), "loss": {"reason": "RING_FULL", "count": 17, "from": at(60.4), "to": at(59)}},
        {"time": at(75), "loss": {"reason": "RING_FULL", "count": 17, "from": at(60), "to": at(61)}},
    ],
    ids=["whole", "neither", "neither, and late", "no from", "no to", "turned round", "told late"],
)
def test_a_loss_is_told_with_the_incident_of_its_time(tmp_path: Path, loss: dict[str, object]) -> None:
    assert recorded(tmp_path, loss)[-1].loss_in_window == 17


@pytest.mark.parametrize(
    "loss",
    [
        {"time": at(70), "loss": {"reason": "RING_FULL", "count": 17, "from": at(69), "to": at(70)}},
        {"time": at(60.4), "node": "another", "loss": {"reason": "RING_FULL", "count": 17}},
        {"time": at(60.4), "cluster": "another", "loss": {"reason": "RING_FULL", "count": 17}},
    ],
    ids=["later", "another node", "another cluster"],
)
def test_other_losses_are_not(tmp_path: Path, loss: dict[str, object]) -> None:
    assert [each.loss_in_window for each in recorded(tmp_path, loss)] == [0]


def test_a_loss_that_is_told_late_is_told_once_and_does_not_depend_on_batches() -> None:
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 90)
    cluster.exec(ATTACK, pods[2], "/usr/bin/nc")
    for late in (61.0, 61.2, 61.9):
        cluster.loss(late, pods[2].subject.node, 17)
    whole = Analysis().observe(cluster.table())
    parts, analysis = [], Analysis()
    for begin in range(0, len(cluster.events), 7):
        parts += analysis.observe(cluster.table(begin, begin + 7))
    assert parts == whole
    (last,) = analyse(cluster)
    assert last.loss_in_window == 34  # the third began when all was over
    assert last.revision <= 3


def test_what_is_remembered_of_losses_is_bounded() -> None:
    log = LossLog()
    for number in range(MOST_PER_NODE + 17):
        log.add(("", "node-1"), number, number, number, 1)
    assert log.between([("", "node-1")], 0, 10**6) == MOST_PER_NODE
    for number in range(MOST_NODES):
        log.add(("", f"other-{number}"), 1, 1, 1, 1)
    assert len(log) == MOST_NODES
    assert log.between([("", "node-1")], 0, 10**6) == 0


def test_a_running_collector_tells_it_too(
    daemons: Callable[..., Daemon], impatient: tuple[str, str], events: Events, peerwatch: Command
) -> None:
    daemon, now = daemons(*impatient), time.time_ns()
    agent = daemon.agent()
    agent.store(1, events.table(begin=now - 50 * SECOND))
    agent.store(2, events.table(begin=now, only=3, exe="/usr/bin/dash"))  # its input is a socket
    listed: list[str] = []

    def told() -> bool:
        listed[:] = peerwatch("alerts", "--output", "json", server=daemon.address).stdout.splitlines()
        return any(json.loads(each)["lossInWindow"] for each in listed)

    eventually(told)
    assert [json.loads(each)["lossInWindow"] for each in listed] == [34]
    assert "(34 events lost around it)" in peerwatch("alerts", server=daemon.address).stdout


def test_what_detection_could_not_look_at_is_counted_in_the_status(daemon: Daemon, peerwatch: Command) -> None:
    assert "not judged" not in peerwatch("status", server=daemon.address).stdout
    builder = ColumnsBuilder()
    nobody = builder.subject(Subject("test", "node-1", Pod(uid="uid"), Container(id="ab")))
    process = builder.process(pid=1, start_time=SECOND, exe="/usr/bin/id")
    for number in range(23):
        builder.exec(time.time_ns() + number, nobody, process)
    daemon.agent().store(1, builder.build())
    eventually(lambda: daemon.status().left_out == {"unresolved": 23})
    assert "not judged or forgotten: unresolved 23\n" in peerwatch("status", server=daemon.address).stdout
