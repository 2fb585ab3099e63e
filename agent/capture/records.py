"""The records of `bpf/records.h` as numpy types; a test compares the two layouts."""

import enum

import numpy as np

__all__ = ["CGROUP", "LONG_EVENT", "OUTCOME", "SMALL_EVENT", "Counter", "Kind"]


class Kind(enum.IntEnum):
    """What a record reports; numbers as in `enum kind`."""

    EXEC = 1
    CONNECT = 2


class Counter(enum.IntEnum):
    """What the kernel side counts; numbers as in `enum counter`."""

    PRODUCED = 0
    RING_FULL = 1
    OUTCOME_LOST = 2
    ARGS_TRUNCATED = 3
    PATH_TRUNCATED = 4
    READ_FAILED = 5
    RUNTIME = 6


_SMALL_TEXT = 408
_LONG_TEXT = 8088

_EVENT: list[tuple[str, str] | tuple[str, str, tuple[int]]] = [
    ("time", "<u8"),
    ("socket", "<u8"),
    ("address", "u1", (16,)),
    ("port", "<u2"),
    ("kind", "u1"),
    ("protocol", "u1"),
    ("result", "u1"),
    ("unused", "u1", (3,)),
    # struct process
    ("start", "<u8"),
    ("image", "<u8"),
    ("cgroup", "<u8"),
    ("parent_start", "<u8"),
    ("pid", "<u4"),
    ("parent_pid", "<u4"),
    ("uid", "<u4"),
    ("flags", "<u4"),
    ("exe_length", "<u2"),
    ("cwd_length", "<u2"),
    ("ancestors_length", "<u2"),
    ("args_length", "<u2"),
]

SMALL_EVENT = np.dtype([*_EVENT, ("text", "u1", (_SMALL_TEXT,))])
LONG_EVENT = np.dtype([*_EVENT, ("text", "u1", (_LONG_TEXT,))])
OUTCOME = np.dtype([("socket", "<u8"), ("attempt", "<u8"), ("time", "<u8"), ("result", "<u8")])
CGROUP = np.dtype([("first_start", "<u8"), ("container", "<u8"), ("is_complete", "<u4"), ("length", "<u4"), ("path", "S512")])
