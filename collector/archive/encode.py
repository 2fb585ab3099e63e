"""Events into the archive's Arrow table. No step calls Python once per event."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from peerwatch.addresses import address_text
from peerwatch.columns import ConnectResult, EventColumns, EventKind, Peer, Protocol

from collector.archive.schema import (
    PAIRS,
    PROCESS_LISTS,
    PROCESS_NUMBERS,
    PROCESS_TEXTS,
    PROCESS_TIMES,
    SCHEMA,
    SUBJECT_PAIRS,
    SUBJECT_TEXTS,
    SUBJECT_TIMES,
    TIME,
)

__all__ = ["to_arrow"]

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def to_arrow(table: EventColumns, *, subject_ids: Sequence[int] | None = None, first_process: int = 0) -> pa.Table:
    """Return the events as an Arrow table in the order they have.

    Args:
        table: the events.
        subject_ids: number of each of the table's subjects within the file; its index by default.
        first_process: number of the table's first process within the file.
    """
    subject = table.subject.astype(np.int64)
    kinds = np.array([0, *EventKind], np.int64)
    without_process = table.kind == EventKind.LOSS
    process = np.where(without_process, 0, table.process).astype(np.int64)
    ids = np.array(subject_ids if subject_ids is not None else range(len(table.subjects)), np.uint32)
    columns: dict[str, Any] = {
        "time": pa.array(table.time, TIME),
        "kind": _texts(["", *(kind.name for kind in EventKind)], kinds[table.kind]),
        "subject_id": pa.array(ids[subject]),
        "process_id": pa.array((process + first_process).astype(np.uint32), mask=without_process),
    }
    for name, text in SUBJECT_TEXTS.items():
        columns[name] = _texts([text(each) for each in table.subjects], subject)
    for name, time in SUBJECT_TIMES.items():
        columns[name] = _times(np.array([time(each) for each in table.subjects], np.int64)[subject])
    for name, pairs in SUBJECT_PAIRS.items():
        columns[name] = pa.array([pairs(each) for each in table.subjects], PAIRS).take(_index(subject))
    columns |= _process_columns(table, process, without_process)
    columns |= _connect_columns(table)
    columns |= _loss_columns(table)
    return pa.Table.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _index(numbers: npt.NDArray[Any], mask: Mask | None = None) -> Any:  # noqa: ANN401 — Arrow's arrays are generic
    return pa.array(numbers, mask=mask)


def _texts(values: Sequence[str], index: Rows, mask: Mask | None = None) -> Any:  # noqa: ANN401 — Arrow's arrays are generic
    """Return a dictionary column that holds only the values in use, each once."""
    used, inverse = np.unique(index, return_inverse=True)
    places: dict[str, int] = {}
    mapping = np.array([places.setdefault(values[each], len(places)) for each in used.tolist()], np.int32)
    indices = mapping[inverse] if len(used) else np.zeros(len(index), np.int32)
    return pa.DictionaryArray.from_arrays(_index(indices, mask), pa.array(list(places), pa.string()))


def _times(times: npt.NDArray[np.int64], mask: Mask | None = None) -> Any:  # noqa: ANN401 — pyarrow has no types for its arrays
    return pa.array(times, TIME, mask=(times == 0) if mask is None else (times == 0) | mask)


def _lists(table: EventColumns, index: Rows) -> Any:  # noqa: ANN401 — pyarrow has no types for its arrays
    chosen = table.lists.take(index)
    values = pa.array(table.strings, pa.string()).take(_index(chosen.values))
    return pa.ListArray.from_arrays(_index(chosen.offsets.astype(np.int32)), values)


def _process_columns(table: EventColumns, process: Rows, without: Mask) -> dict[str, Any]:
    """Process of each row; rows without one hold nothing."""
    processes = table.processes
    if not len(processes):
        empty = {name: pa.nulls(len(table), SCHEMA.field(name).type) for name in (*PROCESS_NUMBERS, *PROCESS_TIMES)}
        return empty | {name: pa.nulls(len(table), SCHEMA.field(name).type) for name in (*PROCESS_TEXTS, *PROCESS_LISTS)}
    columns: dict[str, Any] = {}
    for name in PROCESS_NUMBERS:
        columns[name] = pa.array(getattr(processes, name)[process], mask=without)
    for name in PROCESS_TIMES:
        columns[name] = _times(getattr(processes, name)[process], without)
    for name in PROCESS_TEXTS:
        columns[name] = _texts(table.strings, getattr(processes, name)[process].astype(np.int64), without)
    for name in PROCESS_LISTS:
        columns[name] = _lists(table, np.where(without, 0, getattr(processes, name)[process]).astype(np.int64))
    return columns


def _spread(table: EventColumns, kind: EventKind) -> tuple[Rows, Mask]:
    """Return, for each row, the row of its kind's own columns (0 for other rows), and which rows are of other kinds."""
    place = np.zeros(len(table), np.int64)
    rows = table.rows_of(kind)
    place[rows] = np.arange(len(rows))
    return place, table.kind != kind


def _connect_columns(table: EventColumns) -> dict[str, Any]:
    names = ("protocol", "address", "port", "result", "count", "last_time", "peer_namespace", "peer_kind", "peer")
    if not len(table.connects):
        return {name: pa.nulls(len(table), SCHEMA.field(name).type) for name in names}
    place, other = _spread(table, EventKind.CONNECT)
    connects = table.connects
    addresses, address_of = np.unique(connects.address, axis=0, return_inverse=True)
    peer = connects.peer.astype(np.int64)[place]
    peers = [Peer(), *table.peers]
    unknown = other | (peer == 0)
    return {
        "protocol": _texts([each.name for each in Protocol], connects.protocol.astype(np.int64)[place], other),
        "address": _texts([address_text(each.tobytes()) for each in addresses], address_of.reshape(-1)[place], other),
        "port": pa.array(connects.port[place], mask=other),
        "result": _texts([each.name for each in ConnectResult], connects.result.astype(np.int64)[place], other),
        "count": pa.array(connects.count[place], mask=other),
        "last_time": _times(connects.last_time[place], other),
        "peer_namespace": _texts([each.namespace for each in peers], peer, unknown),
        "peer_kind": _texts([each.workload.kind for each in peers], peer, unknown),
        "peer": _texts([each.workload.name for each in peers], peer, unknown),
    }


def _loss_columns(table: EventColumns) -> dict[str, Any]:
    if not len(table.losses):
        names = ("loss_reason", "loss_count", "loss_from", "loss_to")
        return {name: pa.nulls(len(table), SCHEMA.field(name).type) for name in names}
    place, other = _spread(table, EventKind.LOSS)
    losses = table.losses
    return {
        "loss_reason": _texts(table.strings, losses.reason.astype(np.int64)[place], other),
        "loss_count": pa.array(losses.count[place], mask=other),
        "loss_from": _times(losses.begin[place], other),
        "loss_to": _times(losses.end[place], other),
    }
