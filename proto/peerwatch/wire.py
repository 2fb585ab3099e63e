"""The wire form of event tables: `EventColumns` to and from `peerwatch.v1.EventColumns` (`ingest.proto` says the layout).

`decode` takes nothing on trust: what a broken or hostile node sends is refused with the column's name, never half used.
"""

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from peerwatch.columns import (
    CONNECT_TYPES,
    LOSS_TYPES,
    NANOSECONDS,
    PROCESS_TYPES,
    U8,
    ConnectResult,
    Connects,
    EventColumns,
    EventKind,
    Losses,
    Peer,
    Processes,
    Protocol,
    StringLists,
)
from peerwatch.subjects import NO_WORKLOAD, Container, ContainerKind, Pod, Subject, Workload
from peerwatch.v1 import event_pb2, ingest_pb2

__all__ = ["InvalidColumnsError", "decode", "encode"]

LOSS_FIELDS = {"reason": "reason", "count": "count", "begin": "from", "end": "to"}
"""Column → field of the message: `from` is a word of Python."""


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
    for name, dtype in PROCESS_TYPES.items():
        setattr(message.processes, name, _bytes(getattr(table.processes, name), dtype))
    for name, dtype in CONNECT_TYPES.items():
        setattr(message.connects, name, _bytes(getattr(table.connects, name), dtype))
    for name, dtype in LOSS_TYPES.items():
        setattr(message.losses, LOSS_FIELDS[name], _bytes(getattr(table.losses, name), dtype))
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
    lists = StringLists(
        _array("list_offsets", message.list_offsets, np.uint32), _array("list_values", message.list_values, np.uint32)
    )
    if not len(lists.offsets):
        lists = StringLists(np.zeros(2, np.uint32), lists.values)
    offsets = lists.offsets.astype(np.int64)
    if (
        len(offsets) < 2
        or offsets[0] != 0
        or offsets[1] != 0
        or offsets[-1] != len(lists.values)
        or bool(np.any(np.diff(offsets) < 0))
    ):
        msg = "list_offsets must begin with two zeros, rise, and end at the number of list_values"
        raise InvalidColumnsError(msg)
    _check_index("list_values", lists.values, len(strings))
    rows = message.rows
    processes = Processes(
        **{name: _array(name, getattr(message.processes, name), dtype) for name, dtype in PROCESS_TYPES.items()}
    )
    _check_lengths("processes", processes, len(processes))
    for name in ("exe", "cwd", "parent_exe"):
        _check_index(name, getattr(processes, name), len(strings))
    for name in ("args", "ancestors"):
        _check_index(name, getattr(processes, name), len(lists))
    kind = _array("kind", message.kind, np.uint8, rows)
    if not bool(np.all((kind >= EventKind.EXEC) & (kind <= EventKind.LOSS))):
        msg = f"kind must be {int(EventKind.EXEC)} to {int(EventKind.LOSS)}"
        raise InvalidColumnsError(msg)
    subject = _array("subject", message.subject, np.uint32, rows)
    _check_index("subject", subject, len(message.subjects))
    process = _array("process", message.process, np.uint32, rows)
    _check_index("process", process[kind != EventKind.LOSS], len(processes))
    connects = Connects(
        address=_addresses(message.connects.address),
        **{
            name: _array(name, getattr(message.connects, name), dtype)
            for name, dtype in CONNECT_TYPES.items()
            if name != "address"
        },
    )
    _check_lengths("connects", connects, int(np.count_nonzero(kind == EventKind.CONNECT)))
    _check_index("peer", connects.peer, len(message.connects.peers) + 1)
    _check_index("protocol", connects.protocol, len(Protocol))
    _check_index("result", connects.result, len(ConnectResult))
    losses = Losses(
        **{name: _array(name, getattr(message.losses, LOSS_FIELDS[name]), dtype) for name, dtype in LOSS_TYPES.items()}
    )
    _check_lengths("losses", losses, int(np.count_nonzero(kind == EventKind.LOSS)))
    _check_index("reason", losses.reason, len(strings))
    return EventColumns(
        strings=strings,
        lists=lists,
        subjects=[_subject_from_proto(each) for each in message.subjects],
        processes=processes,
        time=_array("time", message.time, np.int64, rows),
        kind=kind,
        subject=subject,
        process=process,
        connects=connects,
        losses=losses,
        peers=[_peer_from_proto(each) for each in message.connects.peers],
    )


def _bytes(column: npt.NDArray[Any], dtype: type[np.generic]) -> bytes:
    return np.ascontiguousarray(column, np.dtype(dtype).newbyteorder("<")).tobytes()


def _array(name: str, data: bytes, dtype: type[np.generic], length: int | None = None) -> npt.NDArray[Any]:
    kind = np.dtype(dtype).newbyteorder("<")
    if len(data) % kind.itemsize or (length is not None and len(data) != length * kind.itemsize):
        expected = "a whole number" if length is None else length
        msg = f"{name} has {len(data)} bytes, which is not {expected} of {kind.itemsize}-byte values"
        raise InvalidColumnsError(msg)
    return np.frombuffer(data, kind).astype(dtype, copy=False)


def _addresses(data: bytes) -> U8:
    if len(data) % 16:
        msg = f"address has {len(data)} bytes, not 16 for each connect"
        raise InvalidColumnsError(msg)
    return np.frombuffer(data, np.uint8).reshape(-1, 16)


def _check_lengths(name: str, part: Processes | Connects | Losses, length: int) -> None:
    for field in fields(part):
        if len(getattr(part, field.name)) != length:
            msg = f"{name}.{field.name} has {len(getattr(part, field.name))} rows, expected {length}"
            raise InvalidColumnsError(msg)


def _check_index(name: str, column: npt.NDArray[Any], size: int) -> None:
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
