"""Event tables to and from lists of `peerwatch.v1.Event`, the form in which a replay travels. What repeats is made once."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from peerwatch import wire
from peerwatch.addresses import address_text, pack_address
from peerwatch.capabilities import capability_mask, capability_names
from peerwatch.columns import (
    ARGS_TRUNCATED,
    NANOSECONDS,
    NOT_RECORDED,
    PARTS,
    ColumnsBuilder,
    EventColumns,
    EventKind,
    Peer,
    ProcessFlag,
    columns_of,
)
from peerwatch.subjects import Workload
from peerwatch.v1 import event_pb2, ingest_pb2

from collector.messages import nanoseconds, timestamp

__all__ = ["events_from_proto", "events_to_proto"]

_FIELDS = {"begin": "from", "end": "to"}
"""Column → field of the message where it is another: `from` is a word of Python."""

_TIMES = {"last_time", "begin", "end"}


def events_to_proto(table: EventColumns) -> list[event_pb2.Event]:
    """Return the messages of all events, in the table's order."""
    # The wire form has the messages of subjects and peers ready.
    encoded = wire.encode(table.take(table.rows_of(EventKind.EXEC)[:0]))
    subjects, peers = encoded.subjects, encoded.connects.peers
    processes: dict[int, event_pb2.Process] = {}
    events = []
    for time, number, subject, process, place in zip(
        table.time.tolist(),
        table.kind.tolist(),
        table.subject.tolist(),
        table.process.tolist(),
        table.places().tolist(),
        strict=True,
    ):
        whose, kind = subjects[subject], EventKind(number)
        event = event_pb2.Event(time=timestamp(time), cluster=whose.cluster, node=whose.node)
        if whose.HasField("pod") and whose.pod.ByteSize():
            event.pod.CopyFrom(whose.pod)
        if whose.HasField("container") and whose.container.ByteSize():
            event.container.CopyFrom(whose.container)
        if kind is not EventKind.LOSS:
            if process not in processes:
                processes[process] = _process(table, process)
            event.process.CopyFrom(processes[process])
        _fill(getattr(event, kind.name.lower()), table, kind, place, peers)
        events.append(event)
    return events


def _process(table: EventColumns, row: int) -> event_pb2.Process:
    columns = table.processes
    flags, capabilities = int(columns.flags[row]), int(columns.capabilities[row])
    uid, gid = int(columns.uid[row]), int(columns.gid[row])
    effective_uid, effective_gid = int(columns.effective_uid[row]), int(columns.effective_gid[row])
    parent = event_pb2.Process.Parent(
        pid=int(columns.parent_pid[row]),
        exe=table.strings[columns.parent_exe[row]],
        start_time=timestamp(int(columns.parent_start_time[row])),
    )
    return event_pb2.Process(
        pid=int(columns.pid[row]),
        start_time=timestamp(int(columns.start_time[row])),
        exe=table.strings[columns.exe[row]],
        script=table.strings[columns.script[row]],
        args=table.string_list(int(columns.args[row])),
        cwd=table.strings[columns.cwd[row]],
        uid=uid,
        gid=gid,
        effective_uid=effective_uid if effective_uid != uid else None,
        effective_gid=effective_gid if effective_gid != gid else None,
        capabilities="" if capabilities == NOT_RECORDED else f"{capabilities:016x}",
        gained_capabilities=capability_names(int(columns.gained_capabilities[row])),
        parent=parent,
        ancestors=table.string_list(int(columns.ancestors[row])),
        ancestor_ids=[
            event_pb2.Process.Ancestor(pid=pid, start_time=timestamp(start_time))
            for pid, start_time in table.ancestor_id_list(int(columns.ancestor_ids[row]))
        ],
        flags=[event_pb2.Process.Flag.ValueType(flag) for flag in ProcessFlag if flags >> flag & 1],
        args_truncated=bool(flags & int(ARGS_TRUNCATED)),
    )


_address_text = lru_cache(maxsize=4096)(address_text)  # once per address, not once per event


def _fill(message: Any, table: EventColumns, kind: EventKind, row: int, peers: Any) -> None:  # noqa: ANN401 — the message of any kind
    """Write what is special to an event of this kind."""
    part = table.part(kind)
    message.SetInParent()
    for column in columns_of(type(part)):
        name = _FIELDS.get(column.name, column.name)
        value = getattr(part, column.name)[row]
        if column.name == "address":
            message.address = _address_text(value.tobytes())
        elif column.name == "reason":
            message.reason = table.strings[value]
        elif column.name == "lifetime":
            if value:
                message.lifetime.FromNanoseconds(int(value))
        elif column.name in _TIMES:
            moment = timestamp(int(value))
            if moment is not None:
                getattr(message, name).CopyFrom(moment)
        elif column.name == "peer":
            if value:
                message.peer.CopyFrom(peers[int(value) - 1])
        else:
            setattr(message, name, int(value))


def events_from_proto(events: Iterable[event_pb2.Event]) -> EventColumns:
    """Return the table of these messages, in their order. Kinds that this version does not know are left out."""
    known = [(event, kind) for event in events if (kind := event.WhichOneof("kind")) is not None]
    numbers: dict[bytes, int] = {}
    subjects = [numbers.setdefault(_subject(event), len(numbers)) for event, _ in known]
    # The wire form's decoder makes the values of subjects.
    values = wire.decode(ingest_pb2.EventColumns(subjects=map(ingest_pb2.Subject.FromString, numbers))).subjects
    builder = ColumnsBuilder()
    for (event, kind), number in zip(known, subjects, strict=True):
        who = [nanoseconds(event.time), builder.subject(values[number])]
        if kind != "loss":
            who.append(_add_process(builder, event.process))
        deed = _deed(builder, EventKind[kind.upper()], getattr(event, kind))
        getattr(builder, kind)(*who, **deed)
    return builder.build()


def _subject(event: event_pb2.Event) -> bytes:
    subject = ingest_pb2.Subject(cluster=event.cluster, node=event.node, pod=event.pod, container=event.container)
    return subject.SerializeToString(deterministic=True)


def _add_process(builder: ColumnsBuilder, process: event_pb2.Process) -> int:
    flags = sum(1 << flag for flag in set(process.flags) if 0 < flag < 31)
    return builder.process(
        pid=process.pid,
        start_time=nanoseconds(process.start_time),
        exe=process.exe,
        args=process.args,
        cwd=process.cwd,
        uid=process.uid,
        gid=process.gid,
        effective_uid=process.effective_uid if process.HasField("effective_uid") else None,
        effective_gid=process.effective_gid if process.HasField("effective_gid") else None,
        capabilities=int(process.capabilities, 16) if process.capabilities else NOT_RECORDED,
        gained_capabilities=capability_mask(process.gained_capabilities),
        script=process.script,
        parent_pid=process.parent.pid,
        parent_start_time=nanoseconds(process.parent.start_time),
        parent_exe=process.parent.exe,
        ancestors=process.ancestors,
        ancestor_ids=[(each.pid, nanoseconds(each.start_time)) for each in process.ancestor_ids],
        flags=flags | (int(ARGS_TRUNCATED) if process.args_truncated else 0),
    )


def _deed(builder: ColumnsBuilder, kind: EventKind, message: Any) -> dict[str, Any]:  # noqa: ANN401 — the message of any kind
    """Return what is special to an event of this kind, as the builder takes it."""
    deed: dict[str, Any] = {}
    for column in columns_of(PARTS[kind].of):
        value = getattr(message, _FIELDS.get(column.name, column.name))
        if column.name == "address":
            value = pack_address(value)
        elif isinstance(value, Timestamp):
            value = nanoseconds(value)
        elif isinstance(value, Duration):
            value = value.seconds * NANOSECONDS + value.nanos
        elif column.name == "peer":
            peer = Peer(value.namespace, Workload(value.workload.kind, value.workload.name))
            value = builder.peer(peer if message.HasField("peer") else None)
        deed[column.name] = value
    return deed
