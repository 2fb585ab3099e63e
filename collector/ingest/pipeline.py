"""The way of a batch once it is received: bounds, names, journal, detection, state. All of it runs in one worker thread.

The journal is what is acknowledged; the state follows a few times a second and says up to which sequence number it did. What
the journal has beyond that is given to detection again when a collector starts, so each batch counts exactly once. It holds
the names that a batch got when it came: whatever the cluster is by then, detection sees the same events again.
"""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from peerwatch import wire
from peerwatch.columns import NANOSECONDS, EventColumns, EventKind, ProcessFlag
from peerwatch.v1 import ingest_pb2

from collector.analysis import Analysis, Spending
from collector.archive.journal import Journal, JournalRecord, ReadReport, Segment, read_segment
from collector.archive.selection import Selection
from collector.archive.store import Snapshot
from collector.archive.unsettled import UNSETTLED, unsettled, without_marks
from collector.cluster.late import Late
from collector.cluster.watching import ClusterWatch
from collector.errors import StorageError
from collector.ingest.admission import SEQUENCE_MAX, Bounds, RefusedError, admit
from collector.ingest.counters import Counters
from collector.ingest.event_time import EventTime
from collector.ingest.notices import Notices
from collector.ingest.ranks import Ranks
from collector.records import (
    BaselineEntry,
    ExpiredRecord,
    Incident,
    ReplicaRecord,
    SightingRecord,
    WorkloadKey,
    WorkloadSummary,
)
from collector.state import ArchiveFile, Flush, NodeRecord, State
from collector.state.sessions import CanaryRecord, Sessions

__all__ = ["Pipeline", "Received", "StoredBatch"]

LOG = logging.getLogger(__name__)

LATE_LOOK_NS = 60 * NANOSECONDS
"""Events that wait for names are looked at when there are news, and at least so often, to forget those that waited too long."""

AHEAD_NS = 2 * NANOSECONDS
"""So much later than it was received an event may be for detection: what clocks that are kept differ by is less."""

NODES_MAX = 10_000
"""Nodes that are known at a time; Kubernetes supports clusters of 5,000."""


@dataclass(frozen=True, slots=True)
class Received:
    """One batch as it came; `time` is the collector's clock, nanoseconds since 1970."""

    time: int
    hello: ingest_pb2.Hello
    batch: ingest_pb2.EventBatch


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """What became of a batch: the last sequence number on disk, or nothing was stored and `error` says why."""

    acknowledged: int = 0
    error: str = ""


class Pipeline:
    """Owns journal, detection and the writing side of the state. Not thread safe."""

    def __init__(
        self,
        *,
        journal: Journal,
        state: State,
        analysis: Analysis,
        counters: Counters,
        bounds: Bounds | None = None,
        nodes_max: int = NODES_MAX,
        watch: ClusterWatch | None = None,
    ) -> None:
        """`watch` knows whose the events are; without it agents are believed."""
        self._journal = journal
        self._state = state
        self._analysis = analysis
        self._counters = counters
        self._bounds = bounds or Bounds()
        self._sessions = Sessions(state.nodes(), nodes_max=nodes_max)
        self._watch = watch
        self._late = Late()
        self._late_tried = (0, 0, 0)
        self._expired = 0
        self._liars = Notices()
        # Taken from detection or made by it, and not yet in the state. Bounded by what detection itself keeps.
        self._replicas: dict[tuple[object, ...], ReplicaRecord] = {}
        self._sightings: dict[tuple[object, ...], SightingRecord] = {}
        self._gone: dict[tuple[object, ...], ExpiredRecord] = {}
        self._incidents: dict[str, Incident] = {}
        self._ranks = Ranks(watch)
        self._event_time = EventTime()

    def recover(self) -> ReadReport:
        """Bring detection to where the last run ended: from the state, then from the journal beyond it."""
        sealed = self._state.sealed()
        for segment in self._journal.closed:
            if segment.number in sealed:  # the last run ended between sealing and removing it
                self._journal.remove(segment)
        self._analysis.restore(self._state.replicas(), self._state.sightings(), self._state.incidents(), self._state.expired())
        self._late.restore(self._state.waiting())
        report = ReadReport()
        for segment in self._journal.closed:
            with segment.path.open("rb") as file:
                for record in read_segment(file, report):
                    self._replay(record)
        if report.damaged:
            LOG.warning(
                "the journal was damaged in %d places, %d bytes: those batches are lost unless their agent still has them",
                report.damaged,
                report.damaged_bytes,
            )
            self._counters.add("journal_damaged", report.damaged)
        self._event_time.forget()
        return report

    def _replay(self, record: JournalRecord) -> None:
        hello, batch = record.hello, record.batch
        who = (hello.cluster, hello.node, hello.session)
        if self._sessions.counted(*who, sequence=batch.sequence, received=record.received):
            return
        try:
            table = wire.decode(batch.columns)
        except ValueError:
            LOG.exception("a batch of the journal cannot be read: batch %d of node %s", batch.sequence, hello.node)
            self._counters.add("journal_damaged")
            return
        self._hear(table, record.received)
        self._note(self._advance(self._event_time.at(record.received)))
        self._take(hello, batch.sequence, record.received, table)

    def last_sequence(self, hello: ingest_pb2.Hello) -> int:
        """Return the last stored sequence number of a session."""
        return self._sessions.last_sequence(hello.cluster, hello.node, hello.session)

    def greet(self, hello: ingest_pb2.Hello) -> int:
        """Take note of an agent and return the last stored sequence number of its session."""
        self._sessions.greeted(hello.cluster, hello.node, hello.agent_version)
        return self.last_sequence(hello)

    def admits(self, hello: ingest_pb2.Hello) -> bool:
        """Say whether one more node may send, or this one is known."""
        return self._sessions.admits(hello.cluster, hello.node)

    def store(self, received: Sequence[Received]) -> tuple[list[StoredBatch], list[Incident]]:
        """Store batches with one write to disk, then let detection see them.

        Returns:
            what became of each batch, in their order, and the incidents that they caused.
        """
        tables: list[tuple[Received, EventColumns]] = []
        last: dict[tuple[str, str, str], int] = {}
        for each in received:
            key = (each.hello.cluster, each.hello.node, each.hello.session)
            before = last.get(key, self.last_sequence(each.hello))
            if not before < each.batch.sequence <= SEQUENCE_MAX:
                self._counters.add("duplicate_batch" if each.batch.sequence <= before else "bad_sequence")
                last[key] = before
                continue
            self._counters.add("sequence_gap", each.batch.sequence - before - 1)
            tables.append((each, self._admit(each)))
            last[key] = each.batch.sequence
        try:
            self._journal.append([_record(each, table, renamed=self._names(each.hello)) for each, table in tables])
        except StorageError as error:
            LOG.error("%s", error)  # noqa: TRY400 — the text says it all
            self._counters.add("journal_write_failed")
            return [StoredBatch(error=str(error))] * len(received), []
        incidents: list[Incident] = []
        for each, table in tables:
            self._hear(table, each.time)
            incidents += self._take(each.hello, each.batch.sequence, each.time, table)
        outcomes = [
            StoredBatch(acknowledged=last[each.hello.cluster, each.hello.node, each.hello.session]) for each in received
        ]
        return outcomes, incidents

    def _admit(self, received: Received) -> EventColumns:
        try:
            table = admit(received.batch, received.hello, now=received.time, bounds=self._bounds, counters=self._counters)
            return self._named(received, table)
        except RefusedError as refused:
            LOG.warning("batch %d of node %r refused: %s", received.batch.sequence, received.hello.node, str(refused)[:500])
            self._counters.add(refused.reason)
            # The number is stored without events and acknowledged: a resent batch would be as wrong.
            return wire.decode(ingest_pb2.EventColumns())

    def _named(self, received: Received, table: EventColumns) -> EventColumns:
        """Return the events that this node may speak of, with the names that the cluster knows."""
        hello = received.hello
        if self._watch is None or not self._names(hello):
            return without_marks(table)
        if self._watch.hear_clock(hello.node, received.batch.sent_at, received.time):
            self._counters.add("clock_off", int(table.counts().sum()))
        named = self._watch.name(table, hello.node)
        self._counters.add("foreign_pod", named.foreign)
        if named.foreign and self._liars.due(hello.node):
            LOG.warning("node %r spoke of containers that are not on it: %d events were refused", hello.node, named.foreign)
        return named.table

    def _names(self, hello: ingest_pb2.Hello) -> bool:
        """Say whether the cluster that a node is in is the one that is watched."""
        return self._watch is not None and hello.cluster == self._watch.cluster

    def _judge_late(self, now: int) -> list[Incident]:
        """Give to detection what has a name by now."""
        if self._watch is None or not len(self._late):
            return []
        tried = (self._watch.version, self._watch.heard(), now // LATE_LOOK_NS)
        if tried == self._late_tried:
            return []
        self._late_tried = tried
        incidents: list[Incident] = []
        for table in self._late.take(self._watch.name_later, now):
            self._counters.add("named_late", int(table.counts().sum()))
            incidents += self._observe(table, now, "that were named late")
        self._counters.add("never_named", self._late.expired - self._expired)
        self._expired = self._late.expired
        return self._note(incidents)

    def _take(self, hello: ingest_pb2.Hello, sequence: int, received: int, table: EventColumns) -> list[Incident]:
        """Count a batch that is in the journal and give it to detection."""
        lost: dict[str, int] = {}
        for reason, count in zip(table.losses.reason.tolist(), table.losses.count.tolist(), strict=True):
            name = table.strings[reason][:64]
            lost[name] = lost.get(name, 0) + count
        self._sessions.stored(
            hello.cluster,
            hello.node,
            hello.session,
            sequence=sequence,
            version=hello.agent_version,
            now=received,
            events=int(table.counts().sum()),
            lost=lost,
            canary=_canary(table, received),
        )
        if not len(table):
            return []
        if self._names(hello):
            self._late.put(table, received)
        waits = unsettled(table)
        if bool(waits.any()):
            table = table.take(np.flatnonzero(~waits))
        return self._note(self._observe(table, received, f"of batch {sequence} of node {hello.node!r}"))

    def _hear(self, table: EventColumns, received: int) -> None:
        if len(table):
            self._event_time.hear(int(table.time.max()), received)

    def _observe(self, table: EventColumns, received: int, what: str) -> list[Incident]:
        """Give events to detection, none later than they can have happened.

        Event time is one for all nodes: a clock that is ahead would let all replicas of the others look silent for so long, and
        what is told of them wait until then.
        """
        latest = received + AHEAD_NS
        try:
            if bool((table.time > latest).any()):
                table = dataclasses.replace(table, time=np.minimum(table.time, latest))
            return self._analysis.observe(table)
        except Exception:  # a fault in detection must not stop the taking in of events
            LOG.exception("detection failed on events %s; they are stored", what)
            self._counters.add("detection_failed")
            return []

    def _advance(self, now: int) -> list[Incident]:
        try:
            return self._analysis.advance(now)
        except Exception:
            LOG.exception("detection failed to advance")
            self._counters.add("detection_failed")
            return []

    def _note(self, incidents: list[Incident]) -> list[Incident]:
        ranked = [self._ranks.rank(each) for each in incidents]
        self._incidents.update((each.id, each) for each in ranked)
        return ranked

    def tick(self, now: int) -> list[Incident]:
        """Let time pass: release held findings, write the state, close a full segment. Returns new incidents."""
        time = self._event_time.tick(now)
        incidents = self._judge_late(now) + self._note(self._advance(time))
        self._incidents.update((each.id, each) for each in self._ranks.completed())
        try:
            self.flush()
        except StorageError as error:
            LOG.error("%s", error)  # noqa: TRY400 — the text says it all
            self._counters.add("state_write_failed")
        self._journal.rotate(now)
        return incidents

    def flush(self) -> None:
        """Write what changed to the state.

        Raises:
            StorageError: it stays in memory and is written the next time.
        """
        changes = self._analysis.take_changes()
        for replica in changes.replicas:
            self._replicas[replica.workload, replica.container, replica.pod_uid] = replica
        expired: dict[tuple[object, ...], ExpiredRecord] = {
            (gone.workload, gone.container, gone.type, gone.key): gone for gone in changes.expired
        }
        if expired:  # what of it was not written yet came before
            self._sightings = {key: each for key, each in self._sightings.items() if (*key[:2], *key[3:]) not in expired}
            self._gone |= expired
        for seen in changes.sightings:
            self._sightings[seen.workload, seen.container, seen.pod_uid, seen.type, seen.key] = seen
        nodes = self._sessions.changed()
        waiting, waited, names = self._late.changes()
        learned = self._replicas or self._sightings or self._gone
        if not (learned or self._incidents or nodes or waiting or waited or names):
            return
        self._state.write(
            Flush(
                replicas=list(self._replicas.values()),
                expired=list(self._gone.values()),
                sightings=list(self._sightings.values()),
                incidents=list(self._incidents.values()),
                nodes=nodes,
                waiting=waiting,
                waited=waited,
                names=names,
            )
        )
        self._late.written()
        for pending in (self._replicas, self._sightings, self._gone, self._incidents):
            pending.clear()
        self._sessions.written()

    def rotate(self, now: int) -> None:
        """Close the open segment, whatever its size."""
        self._journal.rotate(now, force=True)

    def closed_segments(self) -> tuple[Segment, ...]:
        """Return the segments that wait to be sealed."""
        return self._journal.closed

    def sealed(self, segment: Segment, files: Sequence[ArchiveFile], now: int) -> None:
        """Take note that the archive holds a segment, and remove it.

        Raises:
            StorageError: the segment stays, and can be sealed again.
        """
        self.flush()  # first: recovery would miss what only this segment still says
        self._state.seal(segment.number, files, now)
        self._journal.remove(segment)

    def snapshot(self, selection: Selection) -> Snapshot:
        """Return what a scan reads: consistent, since nothing is sealed meanwhile."""
        return Snapshot(self._state.files(selection.since, selection.until), self._journal.open_all())

    def workloads(self) -> list[WorkloadSummary]:
        """Return all workloads."""
        return self._analysis.workloads()

    def spending(self) -> Spending:
        """Return what the budget of alerts is, and how long it was earned."""
        return self._analysis.spending()

    def baseline(self, workload: WorkloadKey, container: str) -> list[BaselineEntry]:
        """Return a workload's behaviours."""
        return self._analysis.baseline(workload, container)

    def left_out(self) -> dict[str, int]:
        """Return what detection could not look at, and what it has forgotten since this process began, by reason."""
        return self._analysis.counters.left_out()

    def nodes(self) -> list[NodeRecord]:
        """Return all nodes."""
        return self._sessions.nodes()


def _canary(table: EventColumns, now: int) -> CanaryRecord | None:
    """Return the last canary of a batch that arrived now."""
    seen = table.flagged(ProcessFlag.CANARY) & np.isin(table.kind, (EventKind.EXEC, EventKind.CONNECT))
    return CanaryRecord(now, now - int(table.time[seen].max())) if bool(seen.any()) else None


def _record(received: Received, table: EventColumns, *, renamed: bool) -> JournalRecord:
    batch = received.batch
    if renamed or UNSETTLED in table.peers or len(table) != batch.columns.rows:
        batch = ingest_pb2.EventBatch(sequence=batch.sequence, columns=wire.encode(table))
    return JournalRecord(received.time, received.hello, batch)
