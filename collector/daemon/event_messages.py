"""Event tables to and from lists of `peerwatch.v1.Event`, the form in which a replay travels. What repeats is made once."""

from collections.abc import Iterable
from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp
from peerwatch import wire
from peerwatch.addresses import address_text, pack_address
from peerwatch.columns import (
    ARGS_TRUNCATED,
    ColumnsBuilder,
    EventColumns,
    EventKind,
    Peer,
    ProcessFlag,
)
from peerwatch.subjects import Workload
from peerwatch.v1 import event_pb2, ingest_pb2

from collector.messages import nanoseconds, timestamp

__all__ = ["events_from_proto", "events_to_proto"]


def events_to_proto(table: EventColumns) -> list[event_pb2.Event]:
    """Return the messages of all events, in the table's order."""
    # The wire form has the messages of subjects and peers ready.
    subjects = wire.encode(table.take(table.rows_of(EventKind.EXEC)[:0])).subjects
    processes: dict[int, event_pb2.Process] = {}
    events = []
    connect = loss = 0
    for time, kind, subject, process in zip(
        table.time.tolist(), table.kind.tolist(), table.subject.tolist(), table.process.tolist(), strict=True
    ):
        whose = subjects[subject]
        event = event_pb2.Event(time=timestamp(time), cluster=whose.cluster, node=whose.node)
        if whose.HasField("pod") and whose.pod.ByteSize():
            event.pod.CopyFrom(whose.pod)
        if whose.HasField("container") and whose.container.ByteSize():
            event.container.CopyFrom(whose.container)
        if kind == EventKind.LOSS:
            event.loss.CopyFrom(_loss(table, loss))
            loss += 1
        else:
            if process not in processes:
                processes[process] = _process(table, process)
            event.process.CopyFrom(processes[process])
            if kind == EventKind.EXEC:
                event.exec.SetInParent()
            else:
                event.connect.CopyFrom(_connect(table, connect))
                connect += 1
        events.append(event)
    return events


def _process(table: EventColumns, row: int) -> event_pb2.Process:
    columns = table.processes
    flags = int(columns.flags[row])
    parent = event_pb2.Process.Parent(
        pid=int(columns.parent_pid[row]),
        exe=table.strings[columns.parent_exe[row]],
        start_time=timestamp(int(columns.parent_start_time[row])),
    )
    return event_pb2.Process(
        pid=int(columns.pid[row]),
        start_time=timestamp(int(columns.start_time[row])),
        exe=table.strings[columns.exe[row]],
        args=table.string_list(int(columns.args[row])),
        cwd=table.strings[columns.cwd[row]],
        uid=int(columns.uid[row]),
        parent=parent,
        ancestors=table.string_list(int(columns.ancestors[row])),
        flags=[event_pb2.Process.Flag.ValueType(flag) for flag in ProcessFlag if flags >> flag & 1],
        args_truncated=bool(flags & int(ARGS_TRUNCATED)),
    )


_address_text = lru_cache(maxsize=4096)(address_text)  # once per address, not once per event


def _connect(table: EventColumns, row: int) -> event_pb2.Connect:
    columns = table.connects
    message = event_pb2.Connect(
        protocol=event_pb2.Connect.Protocol.ValueType(int(columns.protocol[row])),
        address=_address_text(columns.address[row].tobytes()),
        port=int(columns.port[row]),
        result=event_pb2.Connect.Result.ValueType(int(columns.result[row])),
        count=int(columns.count[row]),
        last_time=timestamp(int(columns.last_time[row])),
    )
    if columns.peer[row]:
        peer = table.peers[int(columns.peer[row]) - 1]
        message.peer.namespace = peer.namespace
        message.peer.workload.kind, message.peer.workload.name = peer.workload.kind, peer.workload.name
    return message


def _loss(table: EventColumns, row: int) -> event_pb2.Loss:
    columns = table.losses
    message = event_pb2.Loss(reason=table.strings[columns.reason[row]], count=int(columns.count[row]))
    for name, time in (("from", int(columns.begin[row])), ("to", int(columns.end[row]))):
        if (value := timestamp(time)) is not None:
            _field(message, name).CopyFrom(value)
    return message


def _field(message: event_pb2.Loss, name: str) -> Timestamp:
    value: Timestamp = getattr(message, name)  # `from` is a word of Python
    return value


def events_from_proto(events: Iterable[event_pb2.Event]) -> EventColumns:
    """Return the table of these messages, in their order. Kinds that this version does not know are left out."""
    known = [(event, kind) for event in events if (kind := event.WhichOneof("kind")) is not None]
    numbers: dict[bytes, int] = {}
    subjects = [numbers.setdefault(_subject(event), len(numbers)) for event, _ in known]
    # The wire form's decoder makes the values of subjects.
    values = wire.decode(ingest_pb2.EventColumns(subjects=map(ingest_pb2.Subject.FromString, numbers))).subjects
    builder = ColumnsBuilder()
    for (event, kind), number in zip(known, subjects, strict=True):
        subject = builder.subject(values[number])
        time = nanoseconds(event.time)
        if kind == "loss":
            loss = event.loss
            begin, end = nanoseconds(_field(loss, "from")), nanoseconds(loss.to)
            builder.loss(time, subject, reason=loss.reason, count=loss.count, begin=begin, end=end)
        elif kind == "exec":
            builder.exec(time, subject, _add_process(builder, event.process))
        else:
            _add_connect(builder, time, subject, event)
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
        parent_pid=process.parent.pid,
        parent_start_time=nanoseconds(process.parent.start_time),
        parent_exe=process.parent.exe,
        ancestors=process.ancestors,
        flags=flags | (int(ARGS_TRUNCATED) if process.args_truncated else 0),
    )


def _add_connect(builder: ColumnsBuilder, time: int, subject: int, event: event_pb2.Event) -> None:
    connect = event.connect
    peer = None
    if connect.HasField("peer"):
        peer = Peer(connect.peer.namespace, Workload(connect.peer.workload.kind, connect.peer.workload.name))
    builder.connect(
        time,
        subject,
        _add_process(builder, event.process),
        protocol=connect.protocol,
        address=pack_address(connect.address),
        port=connect.port,
        result=connect.result,
        count=connect.count,
        last_time=nanoseconds(connect.last_time),
        peer=builder.peer(peer),
    )
