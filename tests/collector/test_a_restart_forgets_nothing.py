import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from collector_harness import SECOND, Command, Daemon, Events
from peerwatch import wire
from peerwatch.columns import ColumnsBuilder, EventColumns, ProcessFlag
from peerwatch.v1 import ingest_pb2
from sqlalchemy import create_engine

from collector.analysis import Analysis
from collector.analysis.behaviour_keys import ARGUMENTS
from collector.archive.journal import Journal
from collector.errors import StorageError
from collector.ingest.admission import Bounds
from collector.ingest.counters import Counters
from collector.ingest.pipeline import Pipeline, Received
from collector.messages import incident_from_json, incident_to_json
from collector.records import (
    BehaviourEvidence,
    BehaviourType,
    Evidence,
    Incident,
    IncidentKind,
    ReplicaRef,
    Severity,
    WorkloadKey,
)
from collector.state import Flush, State
from collector.state.sessions import CanaryRecord
from collector.state.tables import METADATA

START = 1_700_010_000 * SECOND
HELLO = ingest_pb2.Hello(cluster="test", node="node-1", session="s", agent_version="1")


def incident(number: int = 1, **changes: object) -> Incident:
    values: dict[str, object] = {
        "id": f"id-{number}",
        "revision": 1,
        "time": START + number,
        "first_event": START,
        "severity": Severity.HIGH,
        "score": 0.998,
        "kind": IncidentKind.PEER_DEVIATION,
        "workload": WorkloadKey("test", "shop", "Deployment", "cart"),
        "replicas": (ReplicaRef("cart-1", "uid", "app"),),
        "compared": 4,
        "sharing": 0,
        "behaviours": (BehaviourEvidence(BehaviourType.EXEC, "/usr/bin/nc", ("nc", "-e"), 1, 5, START, 3),),
        "evidence": (Evidence(START, "cart-1", 4242, "/usr/bin/nc"),),
        "techniques": ("T1059.004",),
        "reason": "cart-1 ran nc",
        "loss_in_window": 0,
    }
    return Incident(**{**values, **changes})  # type: ignore[arg-type] — the cases name fields of every type


class Shelf:
    """A pipeline on one directory; `again` is what a restart after kill -9 finds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counters = Counters()
        self.state = State.for_file(path / "state.db")
        self.journal = Journal(path / "journal", after=max(self.state.sealed(), default=0))
        self.analysis = Analysis()
        self.pipeline = Pipeline(
            journal=self.journal, state=self.state, analysis=self.analysis, counters=self.counters, bounds=Bounds()
        )
        self.report = self.pipeline.recover()

    def store(self, sequence: int, table: EventColumns, now: int, hello: ingest_pb2.Hello = HELLO) -> list[Incident]:
        batch = ingest_pb2.EventBatch(sequence=sequence, columns=wire.encode(table))
        return self.pipeline.store([Received(now, hello, batch)])[1]

    def again(self) -> "Shelf":
        self.close()
        return Shelf(self.path)

    def close(self) -> None:
        self.journal.close()
        self.state.close()


def filled(path: Path, events: Events) -> Shelf:
    shelf = Shelf(path)
    for sequence in range(1, 6):
        now = START + sequence * 60 * SECOND
        shelf.store(sequence, events.table(begin=now), now)
    return shelf


def test_the_baseline_is_the_same_after_a_crash_and_after_a_flush(tmp_path: Path, events: Events) -> None:
    shelf = filled(tmp_path, events)
    key = shelf.pipeline.workloads()[0].key
    before = shelf.pipeline.baseline(key, "")
    counts = [entry.count for entry in before if ARGUMENTS not in entry.key]  # these tell the same events more exactly
    assert sum(counts) == 5 * 5 + 5 * 5 * 3

    shelf = shelf.again()  # nothing was flushed: all of it comes from the journal
    assert shelf.report.records == 5
    assert shelf.pipeline.baseline(key, "") == before
    shelf.pipeline.flush()

    shelf = shelf.again()  # and now from the state; the journal's records are known
    assert shelf.pipeline.baseline(key, "") == before
    assert shelf.pipeline.nodes()[0].events == 5 * events.of_a_table
    shelf.close()


@pytest.mark.parametrize("flushed", [0, 1, 7])
def test_what_has_expired_is_expired_after_a_restart_and_what_came_back_is_not(
    tmp_path: Path, events: Events, flushed: int
) -> None:
    shelf = Shelf(tmp_path)
    day = 86_400 * SECOND
    for number in range(1, 61):
        builder = ColumnsBuilder()
        for replica in range(3):
            subject = builder.subject(events.subject(replica))
            for exe in ("/usr/bin/psql", *(["/usr/bin/dump"] if number in {1, 2, 60} else [])):
                builder.exec(START + number * day + replica, subject, builder.process(pid=7, start_time=START, exe=exe))
        shelf.store(number, builder.build(), START + number * day + SECOND)
        if flushed and not number % flushed:
            shelf.pipeline.flush()
    key = shelf.pipeline.workloads()[0].key
    before = shelf.pipeline.baseline(key, "")
    (dump,) = [each for each in before if each.key == "/usr/bin/dump"]
    assert (dump.count, dump.gone) == (3, START + 2 * day + 2)

    shelf = shelf.again()
    shelf.pipeline.flush()
    assert shelf.pipeline.baseline(key, "") == before
    shelf = shelf.again()
    assert shelf.pipeline.baseline(key, "") == before
    shelf.close()


def test_what_a_folded_exec_stands_for_is_counted_everywhere(tmp_path: Path, events: Events) -> None:
    builder = ColumnsBuilder()
    subject = builder.subject(events.subject())
    process = builder.process(pid=7, start_time=START, exe="/bin/true", ancestors=["/sbin/tini"])
    builder.exec(START, subject, process)
    builder.exec(START + 1, subject, process, count=96, last_time=START + SECOND)
    builder.exit(START + 2, subject, process, code=0, signal=0, lifetime=5, count=97)
    builder.listen(START + 3, subject, process, protocol=1, address=bytes(16), port=80)
    builder.accept(START + 4, subject, process, protocol=1, address=bytes(16), port=80, count=11)
    shelf = Shelf(tmp_path)
    shelf.store(1, builder.build(), START + SECOND)

    (entry,) = shelf.pipeline.baseline(shelf.pipeline.workloads()[0].key, "")
    assert (entry.type, entry.key, entry.count) == (BehaviourType.EXEC, "/bin/true <- /sbin/tini", 97)
    assert shelf.pipeline.nodes()[0].events == 97 + 97 + 1 + 11
    shelf.close()


def canary(events: Events, time: int) -> EventColumns:
    builder = ColumnsBuilder()
    process = builder.process(pid=7, start_time=time, exe="/proc/self/fd/<n>", flags=1 << ProcessFlag.CANARY)
    subject = builder.subject(events.subject())
    builder.exec(time, subject, process)
    builder.connect(time + 1, subject, process, protocol=1, address=bytes(15) + b"\x01", port=9, result=3)
    builder.exit(time + 2, subject, process, code=0, signal=0, lifetime=2)
    return builder.build()


def test_a_canary_is_timed_and_kept_and_nothing_is_learned_from_it(tmp_path: Path, events: Events) -> None:
    shelf = Shelf(tmp_path)
    shelf.store(1, canary(events, START), START + SECOND)
    shelf.store(2, events.table(begin=START + SECOND), START + 2 * SECOND)  # and what is no canary changes nothing

    shelf = shelf.again()  # from the journal
    (node,) = shelf.pipeline.nodes()
    assert node.canary == CanaryRecord(arrived=START + SECOND, delay=SECOND - 1)
    assert node.events == 3 + events.of_a_table
    keys = {entry.key for entry in shelf.pipeline.baseline(shelf.pipeline.workloads()[0].key, "")}
    assert not any("/proc/self/fd" in key for key in keys)
    assert len([key for key in keys if ARGUMENTS not in key]) == 2
    shelf.close()


def test_a_state_that_cannot_be_written_loses_nothing(tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = filled(tmp_path, events)

    def full(_flush: Flush) -> None:
        raise StorageError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(shelf.state, "write", full)
        shelf.pipeline.tick(START + 600 * SECOND)
    assert shelf.counters["state_write_failed"] == 1
    shelf.pipeline.flush()
    assert len(shelf.state.replicas()) == 5
    shelf.close()


def test_a_fault_in_detection_stops_nothing(tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)

    def fault(_events: EventColumns) -> list[Incident]:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(Analysis, "observe", lambda _self, _events: fault(_events))
        shelf.store(1, events.table(begin=START), START)
    assert shelf.counters["detection_failed"] == 1
    assert shelf.pipeline.last_sequence(HELLO) == 1
    shelf.close()


def test_incidents_are_listed_after_a_restart(daemons: Callable[[], Daemon], peerwatch: Command) -> None:
    daemon = daemons()
    daemon.end()
    state = State.for_file(daemon.data / "state.db")
    state.write(Flush(incidents=[incident(1), incident(2, severity=Severity.INFO), incident(3)]))
    state.close()

    daemon = daemons()
    done = peerwatch("alerts", "--output", "json", server=daemon.address)
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["id"] for each in listed] == ["id-3", "id-1"]
    assert len(peerwatch("alerts", "-o", "json", "--severity", "info", server=daemon.address).stdout.splitlines()) == 3
    assert len(peerwatch("alerts", "-o", "json", "-n", "bank", server=daemon.address).stdout.splitlines()) == 0

    table = peerwatch("alerts", server=daemon.address).stdout
    for words in ("shop/Deployment/cart", "cart-1 (app)", "ran /usr/bin/nc: nc -e", "none of 4 peers did", "HIGH"):
        assert words in table


def test_the_json_of_an_incident_is_the_contract_and_comes_back() -> None:
    one = incident(loss_in_window=0, techniques=())
    value = json.loads(incident_to_json(one))
    assert value["lossInWindow"] == 0
    assert value["techniques"] == []
    assert value["peers"] == {"compared": 4, "sharing": 0}
    assert set(value["behaviours"][0]) == {"type", "key", "example", "seenOn", "of", "firstSeen", "count"}
    assert set(value) == {
        "id", "revision", "time", "firstEvent", "severity", "score", "kind", "cluster", "namespace", "workload",
        "replicas", "peers", "behaviours", "evidence", "techniques", "reason", "lossInWindow", "approval",
    }  # fmt: skip
    assert incident_from_json(incident_to_json(one)) == one


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    State.for_file(tmp_path / "state.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'state.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_an_odd_replica_is_told_even_if_the_collector_is_killed_meanwhile(
    daemons: Callable[..., Daemon], impatient: tuple[str, str], events: Events, peerwatch: Command
) -> None:
    now = time.time_ns()
    daemon = daemons(*impatient)
    agent = daemon.agent()
    agent.store(1, events.table(begin=now - 40 * SECOND))
    agent.store(2, events.table(begin=now - 10 * SECOND))
    agent.store(3, events.table(begin=now - 9 * SECOND, only=3, exe="/usr/bin/nc"))
    daemon.end(signal.SIGKILL)

    daemon = daemons(*impatient)
    deadline = time.monotonic() + 90
    while "cart-3" not in (out := peerwatch("alerts", server=daemon.address).stdout):
        assert time.monotonic() < deadline, out
        time.sleep(1)
    assert "/usr/bin/nc" in out


@pytest.mark.parametrize("flushed", [0, 10, 12])
def test_agents_that_started_often_are_counted_once(tmp_path: Path, events: Events, flushed: int) -> None:
    """More sessions than are remembered: those of the journal that are forgotten were counted, in the state."""
    shelf = Shelf(tmp_path)
    for session in range(12):
        hello = ingest_pb2.Hello(cluster="test", node="node-1", session=f"s-{session}", agent_version="1")
        shelf.store(1, events.table(begin=START + session), START + session, hello)
        if session < flushed:
            shelf.pipeline.flush()

    shelf = shelf.again()
    (node,) = shelf.pipeline.nodes()
    shelf.close()

    assert node.events == 12 * Events.of_a_table
