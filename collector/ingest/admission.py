"""Which batches and events of a node are taken: bounds on everything a sender chooses, and only the node's own events."""

from dataclasses import dataclass

import numpy as np
from peerwatch import wire
from peerwatch.columns import NANOSECONDS, EventColumns, EventKind
from peerwatch.subjects import Subject
from peerwatch.v1 import ingest_pb2

from collector.ingest.counters import Counters

__all__ = ["Bounds", "RefusedError", "admit", "hello_problem"]

NAME_MAX = 253
"""Longest cluster, node and session name, characters: what Kubernetes allows for a name."""

SEQUENCE_MAX = 2**63 - 1
"""Sequence numbers are kept as signed 64-bit integers."""

EARLIEST = 946_684_800 * NANOSECONDS
"""2000-01-01: a node whose clock says less has not set it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one batch. What exceeds one is refused as a whole and counted."""

    rows: int = 65_536
    """Agents send 100 to 500."""
    subjects: int = 4_096
    strings: int = 262_144
    string_length: int = 65_536
    """Characters; an argument has at most 4 KiB."""
    processes: int = 65_536
    counted: int = 1 << 40
    """What the rows stand for, lost events too: hours of the busiest node. Sums stay far from the end of 64 bits."""
    list_length: int = 4_096
    list_entries: int = 4_194_304
    """Sum over the events of the lengths of their lists: a small message may refer to one long list many times."""
    pairs: int = 512
    """Labels or annotations of one pod."""
    subject_size: int = 524_288
    """Characters of all labels and annotations of one pod; Kubernetes allows 256 KiB of annotations."""
    ahead_ns: int = 3_600 * NANOSECONDS
    """How far in the future an event may be: beyond it the node's clock is wrong, and it would move event time for all."""


class RefusedError(ValueError):
    """A batch is refused; `reason` is the name of the counter."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(f"{reason}: {why}")
        self.reason = reason


def hello_problem(hello: ingest_pb2.Hello) -> str:
    """Return what is wrong with a Hello, or nothing."""
    for name, least in (("cluster", 0), ("node", 1), ("session", 1), ("agent_version", 0)):
        length = len(getattr(hello, name))
        if not least <= length <= NAME_MAX:
            return f"hello.{name} has {length} characters, expected {least} to {NAME_MAX}"
    return ""


def admit(
    batch: ingest_pb2.EventBatch, hello: ingest_pb2.Hello, *, now: int, bounds: Bounds, counters: Counters
) -> EventColumns:
    """Return the events to store; events of other nodes and with impossible times are left out and counted.

    Raises:
        RefusedError: nothing of the batch can be used.
    """
    _check_sizes(batch.columns, bounds)
    try:
        table = wire.decode(batch.columns)
        _check_values(table, bounds)
    except RefusedError:
        raise
    except Exception as error:  # whatever a hostile message makes of the decoder, it is the message's fault
        raise RefusedError("invalid_columns", str(error)) from error
    own = np.array([(each.cluster, each.node) == (hello.cluster, hello.node) for each in table.subjects], bool)
    mine = own[table.subject] if len(table) else np.zeros(0, bool)
    timely = (table.time >= EARLIEST) & (table.time <= now + bounds.ahead_ns)
    counts = np.maximum(table.counts(), 1)  # a loss that is refused is one, too
    counters.add("foreign_node", int(counts[~mine].sum()))
    counters.add("time_out_of_range", int(counts[mine & ~timely].sum()))
    kept = mine & timely
    return table if bool(kept.all()) else table.take(np.flatnonzero(kept))


def _check_sizes(columns: ingest_pb2.EventColumns, bounds: Bounds) -> None:
    """Check what can be checked before decoding costs anything."""
    for name, size, most in (
        ("rows", columns.rows, bounds.rows),
        ("subjects", len(columns.subjects), bounds.subjects),
        ("strings", len(columns.strings), bounds.strings),
        ("processes", len(columns.processes.pid) // 4, bounds.processes),
        ("peers", len(columns.connects.peers), bounds.rows),
    ):
        if size > most:
            raise RefusedError("too_large", f"{size} {name}, at most {most} are taken")


def _check_values(table: EventColumns, bounds: Bounds) -> None:
    longest = max(map(len, table.strings), default=0)
    if longest > bounds.string_length:
        raise RefusedError("too_large", f"a string of {longest} characters, at most {bounds.string_length} are taken")
    counted = int(table.counts().sum()) + int(table.losses.count.sum(dtype=np.int64))
    if counted > bounds.counted:
        raise RefusedError("too_large", f"{counted} events in one batch, at most {bounds.counted} are taken")
    process = table.process[table.kind != EventKind.LOSS]
    processes = table.processes
    for what, offsets, lists in (
        ("strings", table.lists.offsets, processes.args),
        ("strings", table.lists.offsets, processes.ancestors),
        ("ancestors", table.ancestor_ids.offsets, processes.ancestor_ids),
    ):
        lengths = np.diff(offsets.astype(np.int64))
        if int(lengths.max()) > bounds.list_length:
            raise RefusedError("too_large", f"a list of {int(lengths.max())} {what}, at most {bounds.list_length} are taken")
        entries = int(lengths[lists[process]].sum())
        if entries > bounds.list_entries:
            raise RefusedError("too_large", f"{entries} list entries, at most {bounds.list_entries} are taken")
    for subject in table.subjects:
        _check_subject(subject, bounds)


def _check_subject(subject: Subject, bounds: Bounds) -> None:
    pairs = (*subject.pod.labels, *subject.pod.annotations)
    if len(pairs) > bounds.pairs:
        raise RefusedError("too_large", f"{len(pairs)} labels and annotations, at most {bounds.pairs} are taken")
    size = sum(len(key) + len(value) for key, value in pairs)
    if size > bounds.subject_size:
        raise RefusedError("too_large", f"{size} characters of labels, at most {bounds.subject_size} are taken")
    pod, container = subject.pod, subject.container
    texts = (pod.namespace, pod.name, pod.uid, pod.ip, pod.workload.kind, pod.workload.name, pod.revision, container.name)
    for text in (*texts, pod.service_account, container.id, container.image, container.image_digest):
        if len(text) > bounds.string_length:
            raise RefusedError("too_large", f"a name of {len(text)} characters, at most {bounds.string_length} are taken")
    for time in (pod.created_at, container.started_at):
        if not 0 <= time <= SEQUENCE_MAX:
            raise RefusedError("invalid_columns", f"a time of {time} ns is none")
