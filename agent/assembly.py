"""From the probes' records to a table of events: columns are converted as they are, text once per distinct text."""

import posixpath
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from peerwatch.columns import (
    PARTS,
    Accepts,
    ColumnsBuilder,
    Connects,
    EventColumns,
    EventKind,
    Execs,
    Exits,
    Listens,
    Part,
    Processes,
)
from peerwatch.subjects import Subject

from agent.capture.records import EVENT

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
    # An image is what has the same pid, start and time of exec; the user may change within one, and long texts may be cut. What
    # one repeats, connects above all, has it once.
    first, process = _distinct(records.numbers("start", _PROCESS_WORDS, np.uint64), _IDENTITY)
    subject = _subjects(records["cgroup"][first], builder, subject_of)[process]
    processes = _processes(records, first, builder, start_wall)
    table = builder.build()
    time = records["time"].astype(np.int64) + wall
    order = np.argsort(time, kind="stable")
    kind = records["kind"][order]
    own: dict[str, Any] = {}
    for number, make in _PARTS.items():
        rows = order[kind == number]
        if len(rows):
            own[PARTS[number].name] = make(records, rows, wall)
    return replace(
        table, processes=processes, time=time[order], kind=kind, subject=subject[order], process=process[order], **own
    )


class _Records:
    """Arrays of different record types, addressed as one: fields of all of them, texts where they are."""

    def __init__(self, parts: list[Array]) -> None:
        self.parts = parts
        # A copy, small and in one piece, of what is looked at again and again. As plain bytes: field by field it would cost
        # more than all that follows.
        heads = [part.getfield(_PLAIN) for part in parts]
        self._heads = (np.concatenate(heads) if heads else np.empty(0, _PLAIN)).view(EVENT)

    def __getitem__(self, field: str) -> Array:
        found: Array = self._heads[field]
        return found

    def numbers(self, first: str, count: int, dtype: npt.DTypeLike) -> Array:
        """Return as a matrix what begins at a field: so many numbers of this type in each row."""
        begin = _offset(first) // np.dtype(dtype).itemsize
        found: Array = self._heads.view(dtype).reshape(len(self._heads), -1)[:, begin : begin + count]
        return found


def _offset(field: str) -> int:
    fields = EVENT.fields
    return fields[field][1] if fields is not None else 0


_PLAIN = np.dtype(("V", EVENT.itemsize))


def _repeated(records: _Records, rows: Array, wall: int) -> dict[str, Array]:
    return {
        "count": records["count"][rows].astype(np.uint32),
        "last_time": records["last_time"][rows].astype(np.int64) + wall,
    }


def _endpoint(records: _Records, rows: Array) -> dict[str, Array]:
    return {
        "protocol": records["protocol"][rows],
        "address": records["address"][rows],
        "port": records["port"][rows].astype(np.uint16),
    }


def _execs(records: _Records, rows: Array, wall: int) -> Execs:
    return Execs(**_repeated(records, rows, wall))


def _connects(records: _Records, rows: Array, wall: int) -> Connects:
    return Connects(
        **_endpoint(records, rows),
        result=records["result"][rows],
        **_repeated(records, rows, wall),
        peer=np.zeros(len(rows), np.uint32),
    )


def _exits(records: _Records, rows: Array, wall: int) -> Exits:
    code = records["code"][rows].astype(np.uint32)  # as wait(2) has it
    return Exits(
        code=code >> np.uint32(8),
        signal=code & np.uint32(0x7F),
        lifetime=records["lifetime"][rows].astype(np.int64),
        **_repeated(records, rows, wall),
    )


def _listens(records: _Records, rows: Array, _wall: int) -> Listens:
    return Listens(**_endpoint(records, rows))


def _accepts(records: _Records, rows: Array, wall: int) -> Accepts:
    return Accepts(**_endpoint(records, rows), **_repeated(records, rows, wall), peer=np.zeros(len(rows), np.uint32))


_PARTS: dict[EventKind, Callable[[_Records, Array, int], Part]] = {
    EventKind.EXEC: _execs,
    EventKind.CONNECT: _connects,
    EventKind.EXIT: _exits,
    EventKind.LISTEN: _listens,
    EventKind.ACCEPT: _accepts,
}


def _subjects(cgroups: Array, builder: ColumnsBuilder, subject_of: Callable[[int], Subject]) -> npt.NDArray[np.uint32]:
    keys, inverse = np.unique(cgroups, return_inverse=True)
    return np.array([builder.subject(subject_of(int(key))) for key in keys], np.uint32)[inverse]


_PROCESS_WORDS = (EVENT.itemsize - _offset("start")) // 8
"""All that a record says of its process, but for texts, stands at its end: so many numbers of 64 bits."""

_IDENTITY = [(_offset(field) - _offset("start")) // 8 for field in ("start", "image", "pid", "uid")]
"""Of these numbers, the ones that tell nearly all processes apart: a user may change within an image."""

_LENGTHS = 5
"""Of texts, from `exe_length` on."""


def _processes(records: _Records, first: npt.NDArray[np.intp], builder: ColumnsBuilder, start_wall: int) -> Processes:
    """Return the processes of these records."""
    lengths = records.numbers("exe_length", _LENGTHS, np.uint16)[first].T.astype(np.int64)
    words = _words(records, first, lengths, builder, start_wall)
    exe, script, cwd, ancestors, ancestor_ids, parent_exe, args = words
    return Processes(
        pid=records["pid"][first].astype(np.uint32),
        start_time=records["start"][first].astype(np.int64) + start_wall,
        exe=exe,
        args=args,
        cwd=cwd,
        uid=records["uid"][first].astype(np.uint32),
        gid=records["gid"][first].astype(np.uint32),
        effective_uid=records["effective_uid"][first].astype(np.uint32),
        effective_gid=records["effective_gid"][first].astype(np.uint32),
        capabilities=records["capabilities"][first],
        gained_capabilities=records["gained"][first],
        script=script,
        parent_pid=records["parent_pid"][first].astype(np.uint32),
        parent_start_time=records["parent_start"][first].astype(np.int64) + start_wall,
        parent_exe=parent_exe,
        ancestors=ancestors,
        ancestor_ids=ancestor_ids,
        flags=records["flags"][first].astype(np.uint32) & _KNOWN_FLAGS,
    )


_KNOWN_FLAGS = np.uint32(0xBFFFFFFF)
"""All but FLAG_LINEAGE_CUT, which is a note of the probes to themselves."""

_FACTORS = np.cumprod(np.full(1024, 0x9E3779B97F4A7C15, np.uint64), dtype=np.uint64)
"""Powers of 2**64 divided by the golden ratio, all odd, one for each word of a row: a hash that is a polynomial of the row
(Knuth, The Art of Computer Programming, 6.4). A long text and its lengths take 1,009 words."""


def _distinct(rows: npt.NDArray[np.uint64], telling: Sequence[int] = ()) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint32]]:
    """Return which rows of a matrix are the first of their kind, and for each row of which kind it is.

    `telling` are the columns that usually tell all apart: looked at first, because the others cost as much again each.
    """
    mixed = rows[:, telling] if telling else rows
    mixed = mixed ^ mixed >> np.uint64(32)
    key = mixed @ _FACTORS[: mixed.shape[1]]
    order = np.argsort(key, kind="stable")
    in_order = key[order]
    begins = np.ones(len(key), bool)
    np.not_equal(in_order[1:], in_order[:-1], out=begins[1:])
    first = order[begins]
    which = np.empty(len(key), np.uint32)
    which[order] = np.cumsum(begins, dtype=np.uint32) - np.uint32(1)
    if len(first) < len(key) and not np.array_equal(rows[first][which], rows):
        if telling:
            return _distinct(rows)
        # Two with one key, which 64 bits make a curiosity: all count as different.
        return np.arange(len(key)), np.arange(len(key), dtype=np.uint32)
    return first, which


def _words(
    records: _Records, rows: npt.NDArray[np.intp], lengths: npt.NDArray[np.int64], builder: ColumnsBuilder, start_wall: int
) -> list[npt.NDArray[np.uint32]]:
    """Return for each row the indexes of its texts; each distinct text is taken apart once."""
    found = np.zeros((len(rows), 7), np.uint32)
    begin = 0
    for part in records.parts:
        own = np.flatnonzero((rows >= begin) & (rows < begin + len(part)))
        if len(own):
            first, which = _distinct(_numbers(part["text"], rows[own] - begin, lengths[:, own]))
            texts = part["text"][rows[own[first]] - begin]
            ends = lengths[:, own[first]].cumsum(axis=0).T.tolist()
            taken = [_take_apart(text.tobytes(), each, builder, start_wall) for text, each in zip(texts, ends, strict=True)]
            found[own] = np.array(taken, np.uint32)[which]
        begin += len(part)
    return list(found.T)


def _numbers(texts: Array, rows: Array, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return texts and the lengths of their parts as rows of numbers; what is behind a text is left out."""
    total = lengths.sum(axis=0)
    width = -(-int(total.max(initial=1)) // 8) * 8
    text = texts[rows, :width]
    text[np.arange(width) >= total[:, None]] = 0
    return np.concatenate([np.ascontiguousarray(text).view(np.uint64), lengths.T.astype(np.uint64)], axis=1)


def _take_apart(text: bytes, ends: list[int], builder: ColumnsBuilder, start_wall: int) -> tuple[int, ...]:
    """Return the indexes of exe, script, cwd, ancestors, their ids, the parent's exe, and args."""
    exe, script, lineage, cwd, args = (text[begin:end] for begin, end in zip([0, *ends], ends, strict=False))
    folder = _decode(cwd.rstrip(b"\0"))
    names, ids = _ancestors(lineage, start_wall)
    return (
        builder.string(_decode(exe.rstrip(b"\0"))),
        builder.string(_absolute(_decode(script.rstrip(b"\0")), folder)),
        builder.string(folder),
        builder.string_list(names),
        builder.ancestor_ids(ids),
        # A parent outside of the container is not followed: it has a pid and no name.
        builder.string(names[0] if names else ""),
        builder.string_list(_strings(args)),
    )


_ANCESTOR = struct.Struct("<IQ")

_LATEST_START = 2**62
"""Time after boot, ns: 146 years. With the wall clock's offset added it still is a time."""


def _ancestors(lineage: bytes, start_wall: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Return executables, and pids with start times; what a cut has left of a last one is left out, and what makes no sense."""
    names, ids = [], []
    at = 0
    while (end := lineage.find(b"\0", at + _ANCESTOR.size)) >= 0:
        pid, start = _ANCESTOR.unpack_from(lineage, at)
        if start > _LATEST_START:  # a damaged record may cost its own lineage, not the agent
            break
        names.append(_decode(lineage[at + _ANCESTOR.size : end]))
        ids.append((pid, start + start_wall))
        at = end + 1
    return names, ids


def _absolute(script: str, folder: str) -> str:
    """Return a script's path as the process would find it; it is recorded as it was given to execve()."""
    return posixpath.normpath(posixpath.join(folder, script)) if script and folder else script


def _strings(text: bytes) -> list[str]:
    return [_decode(each) for each in text.removesuffix(b"\0").split(b"\0")] if text else []


def _decode(text: bytes) -> str:
    r"""Names and arguments are bytes to the kernel; what is no UTF-8 is shown as `\xNN`."""
    return text.decode("utf-8", "backslashreplace")
