"""From the probes' records to a table of events: columns are converted as they are, text once per process image."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from peerwatch.columns import ColumnsBuilder, Connects, EventColumns, EventKind
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
    subject, process = _subjects(records, builder, subject_of), _processes(records, builder, start_wall)
    table = builder.build()
    time = records["time"].astype(np.int64) + wall
    kind = records["kind"]
    order = np.argsort(time, kind="stable")
    connects = order[kind[order] == EventKind.CONNECT]
    return replace(
        table,
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
        self._begins = np.cumsum([0, *(len(part) for part in parts)])

    def __getitem__(self, field: str) -> Array:
        if not self._parts:
            return np.empty((0, 16) if field == "address" else 0, np.uint8 if field in _BYTES else np.uint64)
        return np.concatenate([part[field] for part in self._parts])

    def row(self, index: int) -> Any:  # noqa: ANN401 — a numpy record
        part = int(np.searchsorted(self._begins, index, side="right")) - 1
        return self._parts[part][index - self._begins[part]]


_BYTES = {"address", "kind", "protocol", "result"}


def _subjects(records: _Records, builder: ColumnsBuilder, subject_of: Callable[[int], Subject]) -> npt.NDArray[np.uint32]:
    keys, inverse = np.unique(records["cgroup"], return_inverse=True)
    return np.array([builder.subject(subject_of(int(key))) for key in keys], np.uint32)[inverse]


def _processes(records: _Records, builder: ColumnsBuilder, start_wall: int) -> npt.NDArray[np.uint32]:
    # A process image is what has the same pid, start and time of exec; the user may change within one.
    keys = np.stack([records[name].astype(np.uint64) for name in ("pid", "start", "image", "uid")])
    _, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    return np.array([_process(records.row(row), builder, start_wall) for row in first], np.uint32)[inverse.ravel()]


def _process(record: Any, builder: ColumnsBuilder, start_wall: int) -> int:  # noqa: ANN401 — a numpy record
    lengths = [int(record[name]) for name in ("exe_length", "cwd_length", "ancestors_length", "args_length")]
    ends = np.cumsum(lengths)
    text = record["text"][: ends[-1]].tobytes()
    exe, cwd, ancestors, args = (text[end - length : end] for end, length in zip(ends, lengths, strict=True))
    lineage = _strings(ancestors)
    return builder.process(
        pid=int(record["pid"]),
        start_time=int(record["start"]) + start_wall,
        exe=_decode(exe.rstrip(b"\0")),
        args=_strings(args),
        cwd=_decode(cwd.rstrip(b"\0")),
        uid=int(record["uid"]),
        parent_pid=int(record["parent_pid"]),
        parent_start_time=int(record["parent_start"]) + start_wall,
        # A parent outside of the container is not followed: it has a pid and no name.
        parent_exe=lineage[0] if lineage else "",
        ancestors=lineage,
        flags=int(record["flags"]),
    )


def _strings(text: bytes) -> list[str]:
    return [_decode(each) for each in text.removesuffix(b"\0").split(b"\0")] if text else []


def _decode(text: bytes) -> str:
    r"""Names and arguments are bytes to the kernel; what is no UTF-8 is shown as `\xNN`."""
    return text.decode("utf-8", "backslashreplace")
