"""From the probes' records to a table of events: columns are converted as they are, text once per process image."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from peerwatch.columns import ColumnsBuilder, Connects, EventColumns, EventKind, Processes
from peerwatch.subjects import Subject

__all__ = ["assemble"]

Array = npt.NDArray[Any]


def assemble(parts: list[Array], subject_of: Callable[[int], Subject], *, wall: int, start_wall: int) -> EventColumns:
    """Return the events of `parts` (arrays of SMALL_EVENT or LONG_EVENT) in order of time.

    Args:
        parts: records; kinds and results as `bpf/records.h` says.
        subject_of: whose cgroup a key is; asked once per key and call.
        wall: wall clock minus boot clock, ns: when an event happened.
        start_wall: the same when the probes were attached: the constant that makes start times identities.
    """
    builder = ColumnsBuilder()
    records = _Records([part for part in parts if len(part)])
    subject = _subjects(records, builder, subject_of)
    process, processes = _processes(records, builder, start_wall)
    table = builder.build()
    time = records["time"].astype(np.int64) + wall
    kind = records["kind"]
    order = np.argsort(time, kind="stable")
    connects = order[kind[order] == EventKind.CONNECT]
    return replace(
        table,
        processes=processes,
        time=time[order],
        kind=kind[order],
        subject=subject[order],
        process=process[order],
        connects=Connects(
            protocol=records["protocol"][connects],
            address=records["address"][connects],
            port=records["port"][connects],
            result=records["result"][connects],
            count=np.ones(len(connects), np.uint32),
            last_time=time[connects],
            peer=np.zeros(len(connects), np.uint32),
        ),
    )


class _Records:
    """Arrays of different record types, addressed as one: fields joined on demand, texts where they are."""

    def __init__(self, parts: list[Array]) -> None:
        self._parts = parts

    def __getitem__(self, field: str) -> Array:
        if not self._parts:
            return np.empty((0, 16) if field == "address" else 0, np.uint8 if field in _BYTES else np.uint64)
        return np.concatenate([part[field] for part in self._parts])

    def texts(self, rows: npt.NDArray[np.intp], lengths: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """Yield the first `lengths` bytes of each row's text."""
        begin, parts = 0, []
        for part in self._parts:
            inside = rows[(rows >= begin) & (rows < begin + len(part))]
            parts.append((inside, part["text"][inside - begin]))
            begin += len(part)
        text = dict(
            zip(np.concatenate([inside for inside, _ in parts]).tolist(), chain(*(each for _, each in parts)), strict=True)
        )
        for row, length in zip(rows.tolist(), lengths.tolist(), strict=True):
            yield text[row][:length].tobytes()


_BYTES = {"address", "kind", "protocol", "result"}


def _subjects(records: _Records, builder: ColumnsBuilder, subject_of: Callable[[int], Subject]) -> npt.NDArray[np.uint32]:
    keys, inverse = np.unique(records["cgroup"], return_inverse=True)
    return np.array([builder.subject(subject_of(int(key))) for key in keys], np.uint32)[inverse]


def _processes(records: _Records, builder: ColumnsBuilder, start_wall: int) -> tuple[npt.NDArray[np.uint32], Processes]:
    """Return each record's process, and these processes; what a process image repeats, connects above all, is there once."""
    # An image is what has the same pid, start and time of exec; the user may change within one.
    parts = [records[name].astype(np.uint64) for name in ("image", "start", "pid", "uid")]
    key = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        key = (key ^ part) * _MIX
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    if any((part[first][inverse] != part).any() for part in parts):  # two images, one key: 64 bits make that a curiosity
        first = inverse = np.arange(len(key))
    lengths = np.stack([records[f"{name}_length"][first].astype(np.int64) for name in ("exe", "cwd", "ancestors", "args")])
    known: dict[tuple[object, ...], tuple[int, ...]] = {}
    texts = []
    for text, ends in zip(records.texts(first, lengths.sum(axis=0)), lengths.cumsum(axis=0).T.tolist(), strict=True):
        words = known.get((text, *ends))
        if words is None:
            words = known[text, *ends] = _words(text, ends, builder)
        texts.append(words)
    exe, cwd, ancestors, args, parent_exe = np.array(texts, np.uint32).reshape(-1, 5).T
    return inverse.astype(np.uint32), Processes(
        pid=records["pid"][first],
        start_time=records["start"][first].astype(np.int64) + start_wall,
        exe=exe,
        args=args,
        cwd=cwd,
        uid=records["uid"][first],
        parent_pid=records["parent_pid"][first],
        parent_start_time=records["parent_start"][first].astype(np.int64) + start_wall,
        parent_exe=parent_exe,
        ancestors=ancestors,
        flags=records["flags"][first],
    )


_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: multiplicative hashing (Knuth, The Art of Computer Programming, 6.4)."""


def _words(text: bytes, ends: list[int], builder: ColumnsBuilder) -> tuple[int, ...]:
    """Return the indexes of exe, cwd, ancestors, args and the parent's exe."""
    exe, cwd, ancestors, args = (text[begin:end] for begin, end in zip([0, *ends], ends, strict=False))
    lineage = _strings(ancestors)
    return (
        builder.string(_decode(exe.rstrip(b"\0"))),
        builder.string(_decode(cwd.rstrip(b"\0"))),
        builder.string_list(lineage),
        builder.string_list(_strings(args)),
        # A parent outside of the container is not followed: it has a pid and no name.
        builder.string(lineage[0] if lineage else ""),
    )


def _strings(text: bytes) -> list[str]:
    return [_decode(each) for each in text.removesuffix(b"\0").split(b"\0")] if text else []


def _decode(text: bytes) -> str:
    r"""Names and arguments are bytes to the kernel; what is no UTF-8 is shown as `\xNN`."""
    return text.decode("utf-8", "backslashreplace")
