"""The wire form of event tables: `EventColumns` to and from `peerwatch.v1.EventColumns` (`ingest.proto` says the layout).

`decode` takes nothing on trust: what a broken or hostile node sends is refused with the column's name, never half used.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from peerwatch.columns import (
    I64,
    NANOSECONDS,
    NOT_RECORDED,
    PARTS,
    AncestorIds,
    Column,
    EventColumns,
    EventKind,
    Peer,
    Processes,
    Refers,
    StringLists,
    columns_of,
)
from peerwatch.subjects import NO_WORKLOAD, Container, ContainerKind, Pod, Subject, Workload
from peerwatch.v1 import event_pb2, ingest_pb2

__all__ = ["InvalidColumnsError", "decode", "encode"]

FIELDS = {"begin": "from", "end": "to"}
"""Column → field of the message where it is another: `from` is a word of Python."""

Array = npt.NDArray[Any]
Default = Callable[[dict[str, Array]], Array]
"""What a column means that is empty, given the columns before it."""

PROCESS_DEFAULTS: dict[str, Default] = {
    "gid": lambda own: np.zeros(len(own["pid"]), np.uint32),
    "effective_uid": lambda own: own["uid"],
    "effective_gid": lambda own: own["gid"],
    "capabilities": lambda own: np.full(len(own["pid"]), NOT_RECORDED, np.uint64),
    "gained_capabilities": lambda own: np.zeros(len(own["pid"]), np.uint64),
    "script": lambda own: np.zeros(len(own["pid"]), np.uint32),
    "ancestor_ids": lambda own: np.zeros(len(own["pid"]), np.uint32),
}


def _exec_defaults(time: I64) -> dict[str, Default]:
    return {"count": lambda _: np.ones(len(time), np.uint32), "last_time": lambda _: time}


class InvalidColumnsError(ValueError):
    """A batch contradicts itself: the sender is broken or hostile. The text says which column and why."""


def encode(table: EventColumns) -> ingest_pb2.EventColumns:
    """Return the wire form."""
    message = ingest_pb2.EventColumns(
        rows=len(table),
        strings=table.strings,
        list_offsets=_bytes(table.lists.offsets, np.uint32),
        list_values=_bytes(table.lists.values, np.uint32),
        subjects=[_subject_to_proto(subject) for subject in table.subjects],
        time=_bytes(table.time, np.int64),
        kind=_bytes(table.kind, np.uint8),
        subject=_bytes(table.subject, np.uint32),
        process=_bytes(table.process, np.uint32),
    )
    exec_defaults = _exec_defaults(table.time[table.kind == EventKind.EXEC])
    _fill(message.processes, table.processes, PROCESS_DEFAULTS)
    _fill(message.ancestor_ids, table.ancestor_ids, {})
    for kind, part in PARTS.items():
        _fill(getattr(message, part.name), table.part(kind), exec_defaults if kind == EventKind.EXEC else {})
    message.connects.peers.extend(_peer_to_proto(peer) for peer in table.peers)
    return message


def decode(message: ingest_pb2.EventColumns) -> EventColumns:
    """Return the table of the wire form.

    Raises:
        InvalidColumnsError: a column has the wrong length, an index points nowhere, or an enum value is unknown.
    """
    strings = list(message.strings) or [""]
    if strings[0] != "":
        msg = "strings[0] must be empty"
        raise InvalidColumnsError(msg)
    values = _array("list_values", message.list_values, np.uint32)
    lists = StringLists(_offsets("list_offsets", message.list_offsets, len(values)), values)
    ids = message.ancestor_ids
    pids = _array("ancestor_ids.pid", ids.pid, np.uint32)
    starts = _array("ancestor_ids.start_time", ids.start_time, np.int64, len(pids))
    ancestor_ids = AncestorIds(_offsets("ancestor_ids.offsets", ids.offsets, len(pids)), pids, starts)
    sizes = {
        Refers.STRING: len(strings),
        Refers.STRING_LIST: len(lists),
        Refers.ANCESTOR_IDS: len(ancestor_ids),
        Refers.PEER: len(message.connects.peers) + 1,
    }
    _check_index("list_values", values, len(strings))
    rows = message.rows
    kind = _array("kind", message.kind, np.uint8, rows)
    if not bool(np.all((kind >= min(EventKind)) & (kind <= max(EventKind)))):
        msg = f"kind must be {min(EventKind)} to {max(EventKind)}"
        raise InvalidColumnsError(msg)
    time = _array("time", message.time, np.int64, rows)
    subject = _array("subject", message.subject, np.uint32, rows)
    _check_index("subject", subject, len(message.subjects))
    processes = Processes(**_columns("processes", message.processes, columns_of(Processes), sizes, PROCESS_DEFAULTS))
    process = _array("process", message.process, np.uint32, rows)
    _check_index("process", process[kind != EventKind.LOSS], len(processes))
    parts: dict[str, Any] = {}
    for number, part in PARTS.items():
        own_time = time[kind == number]
        defaults = _exec_defaults(own_time) if number == EventKind.EXEC else {}
        parts[part.name] = part.of(
            **_columns(part.name, getattr(message, part.name), columns_of(part.of), sizes, defaults, rows=len(own_time))
        )
    return EventColumns(
        strings=strings,
        lists=lists,
        ancestor_ids=ancestor_ids,
        subjects=[_subject_from_proto(each) for each in message.subjects],
        processes=processes,
        time=time,
        kind=kind,
        subject=subject,
        process=process,
        peers=[_peer_from_proto(each) for each in message.connects.peers],
        **parts,
    )


def _fill(message: Any, part: Any, defaults: dict[str, Default]) -> None:  # noqa: ANN401 — any part and its message
    """Write a part's columns; one that holds nothing but its default stays empty."""
    if not len(part):
        return
    columns = {column.name: getattr(part, column.name) for column in columns_of(type(part))}
    for column in columns_of(type(part)):
        array = columns[column.name]
        if column.name not in defaults or not np.array_equal(array, defaults[column.name](columns)):
            setattr(message, FIELDS.get(column.name, column.name), _bytes(array, column.dtype))


def _bytes(column: Array, dtype: npt.DTypeLike) -> bytes:
    return np.ascontiguousarray(column, np.dtype(dtype).newbyteorder("<")).tobytes()


def _array(name: str, data: bytes, dtype: npt.DTypeLike, rows: int | None = None, width: int = 1) -> Array:
    kind = np.dtype(dtype).newbyteorder("<")
    size = kind.itemsize * width
    if len(data) % size or (rows is not None and len(data) != rows * size):
        expected = "a whole number" if rows is None else rows
        msg = f"{name} has {len(data)} bytes, which is not {expected} of {size}-byte values"
        raise InvalidColumnsError(msg)
    array = np.frombuffer(data, kind).astype(dtype, copy=False)
    return array.reshape(-1, width) if width > 1 else array


def _offsets(name: str, data: bytes, values: int) -> npt.NDArray[np.uint32]:
    """Return the offsets of lists whose first is empty; none at all are those of the empty list alone."""
    offsets = _array(name, data, np.uint32) if data else np.zeros(2, np.uint32)
    signed = offsets.astype(np.int64)
    if len(signed) < 2 or signed[0] != 0 or signed[1] != 0 or signed[-1] != values or bool(np.any(np.diff(signed) < 0)):
        msg = f"{name} must begin with two zeros, rise, and end at the number of values, {values}"
        raise InvalidColumnsError(msg)
    return offsets


def _columns(
    name: str,
    message: Any,  # noqa: ANN401 — the message of any part
    columns: Sequence[Column],
    sizes: dict[Refers, int],
    defaults: dict[str, Default],
    *,
    rows: int | None = None,
) -> dict[str, Any]:
    """Return the checked columns of a part; `rows` None: as many as its first column has."""
    checked: dict[str, Any] = {}
    for column in columns:
        data = getattr(message, FIELDS.get(column.name, column.name))
        if not data and column.name in defaults:
            checked[column.name] = defaults[column.name](checked)
            continue
        label = f"{name}.{column.name}"
        array = checked[column.name] = _array(label, data, column.dtype, rows, column.width)
        rows = len(array) if rows is None else rows
        if column.refers is not None:
            _check_index(label, array, sizes[column.refers])
        if column.values is not None:
            _check_index(label, array, len(column.values))
    return checked


def _check_index(name: str, column: Array, size: int) -> None:
    if len(column) and int(column.max()) >= size:
        msg = f"{name} points to {int(column.max())}, but there are {size}"
        raise InvalidColumnsError(msg)


def _peer_to_proto(peer: Peer) -> event_pb2.Connect.Peer:
    return event_pb2.Connect.Peer(
        namespace=peer.namespace,
        workload=event_pb2.Workload(kind=peer.workload.kind, name=peer.workload.name),
    )


def _peer_from_proto(message: event_pb2.Connect.Peer) -> Peer:
    return Peer(message.namespace, Workload(message.workload.kind, message.workload.name))


def _set_time(message: Any, time: int) -> None:  # noqa: ANN401 — Timestamp mixes methods in at run time
    if time:
        message.FromNanoseconds(time)


def _pod_to_proto(pod: Pod) -> event_pb2.Pod:
    """Return the message of a pod."""
    message = event_pb2.Pod(
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        ip=pod.ip,
        revision=pod.revision,
        service_account=pod.service_account,
        labels=dict(pod.labels),
        annotations=dict(pod.annotations),
    )
    if pod.workload != NO_WORKLOAD:
        message.workload.CopyFrom(event_pb2.Workload(kind=pod.workload.kind, name=pod.workload.name))
    _set_time(message.created_at, pod.created_at)
    return message


def _pod_from_proto(message: event_pb2.Pod) -> Pod:
    """Return the value of a pod message."""
    return Pod(
        namespace=message.namespace,
        name=message.name,
        uid=message.uid,
        ip=message.ip,
        workload=Workload(message.workload.kind, message.workload.name),
        revision=message.revision,
        created_at=message.created_at.seconds * NANOSECONDS + message.created_at.nanos,
        service_account=message.service_account,
        labels=tuple(sorted(message.labels.items())),
        annotations=tuple(sorted(message.annotations.items())),
    )


def _subject_to_proto(subject: Subject) -> ingest_pb2.Subject:
    container = subject.container
    message = ingest_pb2.Subject(
        cluster=subject.cluster,
        node=subject.node,
        pod=_pod_to_proto(subject.pod),
        container=event_pb2.Container(
            name=container.name,
            kind=event_pb2.Container.Kind.ValueType(container.kind),
            id=container.id,
            image=container.image,
            image_digest=container.image_digest,
        ),
    )
    _set_time(message.container.started_at, container.started_at)
    return message


def _subject_from_proto(message: ingest_pb2.Subject) -> Subject:
    container = message.container
    return Subject(
        cluster=message.cluster,
        node=message.node,
        pod=_pod_from_proto(message.pod),
        container=Container(
            name=container.name,
            # An agent newer than this collector may know more kinds.
            kind=ContainerKind(container.kind if container.kind < len(ContainerKind) else 0),
            id=container.id,
            image=container.image,
            image_digest=container.image_digest,
            started_at=container.started_at.seconds * NANOSECONDS + container.started_at.nanos,
        ),
    )
