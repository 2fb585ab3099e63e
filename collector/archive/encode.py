"""Events into the archive's Arrow table. No step calls Python once per event."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from peerwatch.addresses import address_text
from peerwatch.columns import NOT_RECORDED, PARTS, Column, EventColumns, EventKind, Peer, Refers, columns_of

from collector.archive.schema import (
    KIND_COLUMNS,
    PAIRS,
    PEER,
    PROCESS_LISTS,
    PROCESS_MASKS,
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
    columns |= _kind_columns(table)
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


def _lists(offsets: npt.NDArray[np.uint32], values: Any) -> Any:  # noqa: ANN401 — pyarrow has no types for its arrays
    return pa.ListArray.from_arrays(_index(offsets.astype(np.int32)), values)


def _process_columns(table: EventColumns, process: Rows, without: Mask) -> dict[str, Any]:
    """Process of each row; rows without one hold nothing."""
    processes = table.processes
    if not len(processes):
        names = (*PROCESS_NUMBERS, *PROCESS_MASKS, *PROCESS_TIMES, *PROCESS_TEXTS, *PROCESS_LISTS)
        return {name: _nothing(table, name) for name in (*names, "ancestor_pids", "ancestor_start_times")}
    columns: dict[str, Any] = {}
    for name in PROCESS_NUMBERS:
        columns[name] = pa.array(getattr(processes, name)[process], mask=without)
    for name in PROCESS_MASKS:
        mask = getattr(processes, name)[process]
        columns[name] = pa.array(mask, mask=without | (mask == NOT_RECORDED))
    for name in PROCESS_TIMES:
        columns[name] = _times(getattr(processes, name)[process], without)
    for name in PROCESS_TEXTS:
        texts = getattr(processes, name)
        if texts.any():
            columns[name] = _texts(table.strings, texts[process].astype(np.int64), without)
        else:
            columns[name] = _nothing(table, name)
    for name in PROCESS_LISTS:
        chosen = table.lists.take(np.where(without, 0, getattr(processes, name)[process]).astype(np.int64))
        columns[name] = _lists(chosen.offsets, pa.array(table.strings, pa.string()).take(_index(chosen.values)))
    if not processes.ancestor_ids.any():
        return columns | {name: _nothing(table, name) for name in ("ancestor_pids", "ancestor_start_times")}
    ids = table.ancestor_ids.take(np.where(without, 0, processes.ancestor_ids[process]).astype(np.int64))
    columns["ancestor_pids"] = _lists(ids.offsets, pa.array(ids.pid))
    columns["ancestor_start_times"] = _lists(ids.offsets, _times(ids.start_time))
    return columns


def _nothing(table: EventColumns, name: str) -> Any:  # noqa: ANN401 — pyarrow has no types for its arrays
    return pa.nulls(len(table), SCHEMA.field(name).type)


_Holders = list[tuple[EventKind, Column]]
"""The kinds of a table that have a column of the archive, and their own column for it."""


def _kind_columns(table: EventColumns) -> dict[str, Any]:
    """What is special to kinds of events; a row of another kind holds nothing."""
    holders: dict[str, _Holders] = {name: [] for columns in KIND_COLUMNS.values() for name in columns.values()}
    for kind, part in PARTS.items():
        if len(table.part(kind)):
            for column in columns_of(part.of):
                holders[KIND_COLUMNS[kind][column.name]].append((kind, column))
    peers = _peer_columns(table, holders.pop("peer"))
    return {name: _kind_column(table, name, kinds) for name, kinds in holders.items()} | peers


def _kind_column(table: EventColumns, name: str, holders: _Holders) -> Any:  # noqa: ANN401 — pyarrow has no types for its arrays
    if not holders:
        return _nothing(table, name)
    values, other = _spread(table, holders)
    column = holders[0][1]
    if name == "last_time":
        other |= values == table.time  # which null says, too, in less
    if SCHEMA.field(name).type == TIME:
        return _times(values, other)
    if column.width > 1:
        first, address_of = _distinct(values)
        return _texts([address_text(values[row].tobytes()) for row in first.tolist()], address_of, other)
    if column.values is not None:
        return _texts([each.name for each in column.values], values.astype(np.int64), other)
    if column.refers is Refers.STRING:
        return _texts(table.strings, values.astype(np.int64), other)
    return pa.array(values, mask=other)


def _distinct(addresses: npt.NDArray[np.uint8]) -> tuple[Rows, Rows]:
    """Return the first row of each distinct address, and per row which one it is; sorts numbers, not bytes."""
    halves = np.ascontiguousarray(addresses).view(np.uint64)
    low, high = (np.unique(half, return_inverse=True)[1] for half in halves.T)
    # Both factors stay below the number of rows, so that their product fits.
    return np.unique(high * (int(low.max(initial=0)) + 1) + low, return_index=True, return_inverse=True)[1:]


def _peer_columns(table: EventColumns, holders: _Holders) -> dict[str, Any]:
    if not holders:
        return {name: _nothing(table, name) for name in PEER}
    peer, _ = _spread(table, holders)
    peers = [Peer(), *table.peers]
    texts = (
        [each.namespace for each in peers],
        [each.workload.kind for each in peers],
        [each.workload.name for each in peers],
    )
    return {name: _texts(own, peer.astype(np.int64), peer == 0) for name, own in zip(PEER, texts, strict=True)}


def _spread(table: EventColumns, holders: _Holders) -> tuple[npt.NDArray[Any], Mask]:
    """Return the columns of several kinds as one of all rows, and which rows are of other kinds (and hold 0)."""
    parts = [(kind, getattr(table.part(kind), column.name)) for kind, column in holders]
    first = parts[0][1]
    values = np.zeros((len(table), *first.shape[1:]), first.dtype)
    other = np.ones(len(table), bool)
    for kind, own in parts:
        rows = table.rows_of(kind)
        values[rows] = own
        other[rows] = False
    return values, other
