"""Events back from the archive's Arrow table: one subject and one process for each number. No Python call per event."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from peerwatch.addresses import pack_address
from peerwatch.columns import ConnectResult, Connects, EventColumns, EventKind, Losses, Peer, Processes, Protocol, StringLists
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload

from collector.archive.schema import (
    PROCESS_LISTS,
    PROCESS_NUMBERS,
    PROCESS_TEXTS,
    PROCESS_TIMES,
    SCHEMA,
    SUBJECT_PAIRS,
    SUBJECT_TEXTS,
    SUBJECT_TIMES,
)

__all__ = ["from_arrow"]

Rows = npt.NDArray[np.int64]


class _Strings:
    """The string table of the events under construction."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {"": 0}

    def column(self, column: Any) -> npt.NDArray[np.uint32]:  # noqa: ANN401 — pyarrow has no types for what its readers return
        """Return the index of each text of a dictionary column; nothing is the empty text."""
        mapping = np.array([self.index.setdefault(each, len(self.index)) for each in column.dictionary.to_pylist()], np.uint32)
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        indices = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return np.where(valid, mapping[indices], 0).astype(np.uint32) if len(mapping) else np.zeros(len(column), np.uint32)

    def lists(self, columns: Sequence[Any]) -> tuple[StringLists, list[npt.NDArray[np.uint32]]]:
        """Return the lists of several list columns as one table, and where each row of each column is in it."""
        offsets, values, index = [np.zeros(2, np.int64)], [np.zeros(0, np.uint32)], []
        lists = 1
        for column in columns:
            lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
            offsets.append(sum(map(len, values)) + np.cumsum(lengths))
            values.append(self.column(pc.dictionary_encode(column.flatten())))
            index.append(np.arange(lists, lists + len(column), dtype=np.uint32))
            lists += len(column)
        return StringLists(np.concatenate(offsets).astype(np.uint32), np.concatenate(values)), index


def from_arrow(table: pa.Table) -> EventColumns:
    """Return the events of an Arrow table with the archive's schema, in the order they have."""
    columns = {name: _whole(table.column(name)) for name in SCHEMA.names}
    strings = _Strings()
    kind = _enum(columns["kind"], EventKind.__members__).astype(np.uint8)
    subject_rows, subject = np.unique(_numbers(columns["subject_id"], np.uint32), return_index=True, return_inverse=True)[1:]
    subject_table = {name: columns[name].take(pa.array(subject_rows)).to_pylist() for name in SUBJECT_TEXTS}
    subject_table |= {name: _times_back(columns[name])[subject_rows].tolist() for name in SUBJECT_TIMES}
    subject_table |= {name: columns[name].take(pa.array(subject_rows)).to_pylist() for name in SUBJECT_PAIRS}
    with_process = np.flatnonzero(kind != EventKind.LOSS)
    first, process_of = np.unique(
        _numbers(columns["process_id"], np.uint32)[with_process], return_index=True, return_inverse=True
    )[1:]
    process = np.zeros(len(table), np.uint32)
    process[with_process] = process_of
    processes, lists = _processes(columns, strings, with_process[first])
    connects, peers = _connects(columns, np.flatnonzero(kind == EventKind.CONNECT))
    losses = _losses(columns, strings, np.flatnonzero(kind == EventKind.LOSS))
    return EventColumns(
        strings=list(strings.index),
        lists=lists,
        subjects=[_subject(dict(zip(subject_table, row, strict=True))) for row in zip(*subject_table.values(), strict=True)],
        processes=processes,
        time=_times_back(columns["time"]),
        kind=kind,
        subject=subject.astype(np.uint32),
        process=process,
        connects=connects,
        losses=losses,
        peers=peers,
    )


def _whole(column: Any) -> Any:  # noqa: ANN401 — pyarrow has no types for what its readers return
    """Return a column as one array; a dictionary is the same for all of it."""
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    return whole


def _numbers(column: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:  # noqa: ANN401 — pyarrow has no types for what its readers return
    return column.fill_null(0).to_numpy(zero_copy_only=False).astype(dtype)  # type: ignore[no-any-return]  # Arrow's arrays are generic


def _times_back(column: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401 — pyarrow has no types for what its readers return
    return _numbers(column.cast(pa.int64()), np.int64)


def _enum(column: Any, members: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401 — pyarrow has no types for what its readers return
    """Return the numbers of an enum's names; a name of a newer collector is 0."""
    names = column.dictionary.to_pylist()
    numbers = np.array([int(members.get(name, 0)) for name in names] or [0], np.int64)
    return np.asarray(numbers[column.indices.fill_null(0).to_numpy(zero_copy_only=False)])


def _subject(row: dict[str, Any]) -> Subject:
    return Subject(
        row["cluster"],
        row["node"],
        Pod(
            namespace=row["namespace"],
            name=row["pod"],
            uid=row["pod_uid"],
            ip=row["pod_ip"],
            workload=Workload(row["workload_kind"], row["workload"]),
            revision=row["revision"],
            created_at=row["pod_created_at"],
            service_account=row["service_account"],
            labels=tuple(row["labels"]),
            annotations=tuple(row["annotations"]),
        ),
        Container(
            name=row["container"],
            kind=ContainerKind.__members__.get(row["container_kind"], ContainerKind.UNSPECIFIED),
            id=row["container_id"],
            image=row["image"],
            image_digest=row["image_digest"],
            started_at=row["container_started_at"],
        ),
    )


def _processes(columns: dict[str, Any], strings: _Strings, rows: Rows) -> tuple[Processes, StringLists]:
    index = pa.array(rows)
    lists, (args, ancestors) = strings.lists([columns[name].take(index) for name in PROCESS_LISTS])
    numbers: dict[str, Any] = {name: _numbers(columns[name], np.uint32)[rows] for name in PROCESS_NUMBERS}
    times: dict[str, Any] = {name: _times_back(columns[name])[rows] for name in PROCESS_TIMES}
    texts: dict[str, Any] = {name: strings.column(columns[name].take(index)) for name in PROCESS_TEXTS}
    return Processes(**numbers, **times, **texts, args=args, ancestors=ancestors), lists


def _connects(columns: dict[str, Any], rows: Rows) -> tuple[Connects, list[Peer]]:
    index = pa.array(rows)
    taken = {
        name: columns[name].take(index) for name in ("protocol", "address", "result", "peer_namespace", "peer_kind", "peer")
    }
    packed = [np.frombuffer(pack_address(each), np.uint8) for each in taken["address"].dictionary.to_pylist()]
    addresses = np.array(packed, np.uint8).reshape(-1, 16)
    at = taken["address"].indices.to_numpy(zero_copy_only=False)
    # A peer is three texts: number the combinations in use.
    codes = np.stack([taken[name].indices.fill_null(-1).to_numpy(zero_copy_only=False) for name in list(taken)[3:]], axis=1)
    combinations, peer_of = np.unique(codes, axis=0, return_inverse=True)
    dictionaries = [taken[name].dictionary.to_pylist() for name in list(taken)[3:]]
    peers: list[Peer] = []
    numbers = np.zeros(len(combinations), np.uint32)
    for place, (namespace, kind, name) in enumerate(combinations.tolist()):
        if namespace >= 0:
            peers.append(Peer(dictionaries[0][namespace], Workload(dictionaries[1][kind], dictionaries[2][name])))
            numbers[place] = len(peers)
    connects = Connects(
        protocol=_enum(taken["protocol"], Protocol.__members__).astype(np.uint8),
        address=addresses[at] if len(rows) else np.zeros((0, 16), np.uint8),
        port=_numbers(columns["port"], np.uint16)[rows],
        result=_enum(taken["result"], ConnectResult.__members__).astype(np.uint8),
        count=_numbers(columns["count"], np.uint32)[rows],
        last_time=_times_back(columns["last_time"])[rows],
        peer=numbers[peer_of.reshape(-1)] if len(rows) else np.zeros(0, np.uint32),
    )
    return connects, peers


def _losses(columns: dict[str, Any], strings: _Strings, rows: Rows) -> Losses:
    return Losses(
        reason=strings.column(columns["loss_reason"].take(pa.array(rows))),
        count=_numbers(columns["loss_count"], np.uint32)[rows],
        begin=_times_back(columns["loss_from"])[rows],
        end=_times_back(columns["loss_to"])[rows],
    )
