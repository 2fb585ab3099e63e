"""Events back from the archive's Arrow table: one subject and one process for each number. No Python call per event."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from peerwatch.addresses import pack_address
from peerwatch.columns import (
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
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload

from collector.archive.schema import (
    KIND_COLUMNS,
    PEER,
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
    """Return the events of an Arrow table with the archive's schema, in the order they have.

    A column that was not read is as one that holds nothing. Kinds that this version does not know, of a newer collector, are
    left out.
    """
    kind = _enum(_whole(table.column("kind")), EventKind.__members__).astype(np.uint8)
    if not kind.all():
        table, kind = table.filter(pa.array(kind > 0)), kind[kind > 0]
    read = set(table.column_names)
    columns = {
        field.name: _whole(table.column(field.name)) if field.name in read else pa.nulls(len(table), field.type)
        for field in SCHEMA
    }
    strings = _Strings()
    subject_rows, subject = _distinct(columns["subject_id"])
    subject_table = {name: _values(columns[name].take(pa.array(subject_rows)), "") for name in SUBJECT_TEXTS}
    subject_table |= {name: _times_back(columns[name])[subject_rows].tolist() for name in SUBJECT_TIMES}
    subject_table |= {name: _values(columns[name].take(pa.array(subject_rows)), ()) for name in SUBJECT_PAIRS}
    with_process = np.flatnonzero(kind != EventKind.LOSS)
    first, process_of = _distinct(columns["process_id"].take(pa.array(with_process)))
    process = np.zeros(len(table), np.uint32)
    process[with_process] = process_of
    processes, lists, ancestor_ids = _processes(columns, strings, with_process[first])
    parts, peers = _parts(columns, strings, kind)
    return EventColumns(
        strings=list(strings.index),
        lists=lists,
        ancestor_ids=ancestor_ids,
        subjects=[_subject(dict(zip(subject_table, row, strict=True))) for row in zip(*subject_table.values(), strict=True)],
        processes=processes,
        time=_times_back(columns["time"]),
        kind=kind,
        subject=subject.astype(np.uint32),
        process=process,
        peers=peers,
        **parts,
    )


def _whole(column: Any) -> Any:  # noqa: ANN401 — pyarrow has no types for what its readers return
    """Return a column as one array; a dictionary is the same for all of it."""
    if column.num_chunks == 1:
        return column.chunk(0)  # to combine it with nothing would copy it
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    return whole


def _numbers(column: Any, dtype: npt.DTypeLike, default: int = 0) -> npt.NDArray[Any]:  # noqa: ANN401 — pyarrow has no types for what its readers return
    return column.fill_null(default).to_numpy(zero_copy_only=False).astype(dtype)  # type: ignore[no-any-return]  # Arrow's arrays are generic


def _values(column: Any, default: Any) -> list[Any]:  # noqa: ANN401 — pyarrow has no types for what its readers return
    """Return a column as Python values; nothing, as in files of an older collector, is the default."""
    return [default if each is None else each for each in column.to_pylist()]


def _times_back(column: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401 — pyarrow has no types for what its readers return
    return _numbers(column.cast(pa.int64()), np.int64)


def _distinct(column: Any) -> tuple[Rows, Rows]:  # noqa: ANN401 — pyarrow has no types for what its readers return
    """Return the first row of each distinct number and which one each row has, in order of first rows. Hashed, not sorted."""
    numbers = pc.dictionary_encode(column.fill_null(0)).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    seen = np.maximum.accumulate(numbers)
    return np.flatnonzero(np.diff(seen, prepend=-1)), numbers


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


def _processes(columns: dict[str, Any], strings: _Strings, rows: Rows) -> tuple[Processes, StringLists, AncestorIds]:
    index = pa.array(rows)
    lists, (args, ancestors) = strings.lists([columns[name].take(index) for name in PROCESS_LISTS])
    ancestor_ids, ids = _ancestor_ids(columns["ancestor_pids"].take(index), columns["ancestor_start_times"].take(index))
    numbers: dict[str, Any] = {name: _numbers(columns[name], np.uint32)[rows] for name in PROCESS_NUMBERS}
    # Files of an older collector do not have these: who it is and whose rights it has is the same.
    for name in ("uid", "gid"):
        known = columns[f"effective_{name}"].is_valid().to_numpy(zero_copy_only=False)[rows]
        numbers[f"effective_{name}"] = np.where(known, numbers[f"effective_{name}"], numbers[name])
    numbers |= {
        "capabilities": _numbers(columns["capabilities"].take(index), np.uint64, NOT_RECORDED),
        "gained_capabilities": _numbers(columns["gained_capabilities"].take(index), np.uint64),
    }
    times: dict[str, Any] = {name: _times_back(columns[name])[rows] for name in PROCESS_TIMES}
    texts: dict[str, Any] = {name: strings.column(columns[name].take(index)) for name in PROCESS_TEXTS}
    processes = Processes(**numbers, **times, **texts, args=args, ancestors=ancestors, ancestor_ids=ids)
    return processes, lists, ancestor_ids


def _ancestor_ids(pids: Any, times: Any) -> tuple[AncestorIds, npt.NDArray[np.uint32]]:  # noqa: ANN401 — pyarrow has no types for what its readers return
    """Return the lists of ancestors, and which one each row has."""
    lengths = pc.list_value_length(pids).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.cumsum([0, 0, *lengths], dtype=np.uint32)
    ids = AncestorIds(offsets, _numbers(pids.flatten(), np.uint32), _times_back(times.flatten()))
    return ids, np.arange(1, len(lengths) + 1, dtype=np.uint32)


def _parts(columns: dict[str, Any], strings: _Strings, kind: npt.NDArray[np.uint8]) -> tuple[dict[str, Any], list[Peer]]:
    """Return what is special to each kind, by the name of its part, and the peers that they refer to."""
    peer, peers = _peers(columns)
    columns = {**columns, "last_time": pc.coalesce(columns["last_time"], columns["time"])}
    parts: dict[str, Any] = {}
    for number, part in PARTS.items():
        rows = np.flatnonzero(kind == number)
        index = pa.array(rows)
        own: dict[str, Any] = {}
        for column in columns_of(part.of):
            if column.refers is Refers.PEER:
                own[column.name] = peer[rows]
            else:
                own[column.name] = _kind_column(columns[KIND_COLUMNS[number][column.name]].take(index), column, strings)
        parts[part.name] = part.of(**own)
    return parts, peers


def _kind_column(values: Any, column: Column, strings: _Strings) -> npt.NDArray[Any]:  # noqa: ANN401 — pyarrow has no types for what its readers return
    if column.refers is Refers.STRING:
        return strings.column(values)
    if column.values is not None:
        return _enum(values, column.values.__members__).astype(column.dtype)
    if column.name == "address":
        packed = [pack_address(each) for each in values.dictionary.to_pylist()] if len(values) else []
        at: npt.NDArray[Any] = column.array(packed)[values.indices.to_numpy(zero_copy_only=False)]
        return at
    if pa.types.is_timestamp(values.type):
        return _times_back(values)
    return _numbers(values, column.dtype, 1 if column.name == "count" else 0)


def _peers(columns: dict[str, Any]) -> tuple[npt.NDArray[np.uint32], list[Peer]]:
    """Return the number of each row's peer (0: none) and the peers: the combinations of three texts that are in use."""
    taken = [columns[name] for name in PEER]
    if taken[0].null_count == len(taken[0]):
        return np.zeros(len(taken[0]), np.uint32), []
    dictionaries = [each.dictionary.to_pylist() for each in taken]
    first, combination_of = np.zeros(1, np.int64), np.zeros(len(taken[0]), np.int64)
    for each, texts in zip(taken, dictionaries, strict=True):  # three numbers in one, each time as small as can be
        code = combination_of * (len(texts) + 1) + each.indices.fill_null(-1).to_numpy(zero_copy_only=False) + 1
        first, combination_of = _distinct(pa.array(code))
    combinations = [each.indices.fill_null(-1).take(pa.array(first)).to_pylist() for each in taken]
    peers: list[Peer] = []
    numbers = np.zeros(len(first), np.uint32)
    for place, (namespace, kind, name) in enumerate(zip(*combinations, strict=True)):
        if namespace >= 0:
            peers.append(Peer(dictionaries[0][namespace], Workload(dictionaries[1][kind], dictionaries[2][name])))
            numbers[place] = len(peers)
    return numbers[combination_of], peers
