"""The records of `bpf/records.h`, and the tables that the agent reads, as numpy types; a test compares the two layouts."""

import enum

import numpy as np

__all__ = [
    "ATTEMPT",
    "CGROUP",
    "EVENT",
    "FOLD",
    "LONG_EVENT",
    "LOSSES",
    "SMALL_EVENT",
    "Counter",
    "FoldUse",
    "Kind",
    "Operation",
    "State",
]


class Kind(enum.IntEnum):
    """What a record reports; numbers as in `enum kind` and `peerwatch.v1.EventKind`."""

    NONE = 0
    EXEC = 1
    CONNECT = 2
    EXIT = 4
    LISTEN = 5
    ACCEPT = 6


class Counter(enum.IntEnum):
    """What the kernel side counts; numbers as in `enum counter`."""

    PRODUCED = 0
    RING_FULL = 1
    FOLDED = 2
    FOLD_TABLE_FULL = 3
    ATTEMPTS_FULL = 4
    ARGS_TRUNCATED = 5
    PATH_TRUNCATED = 6
    READ_FAILED = 7
    IMAGE_UNKNOWN = 8
    SENDS_SKIPPED = 9
    RUNTIME = 10
    STARTED = 11
    ENDED = 12


class State(enum.IntEnum):
    """Places in the map `state`; numbers as in `enum state`."""

    BOOT_OFFSET = 0
    INSTANCE = 1
    CANARY = 2
    CANARY_START = 3
    REPORTED_RING_FULL = 4
    REPORTED_SENDS_SKIPPED = 5


LOSSES = {Counter.RING_FULL: State.REPORTED_RING_FULL, Counter.SENDS_SKIPPED: State.REPORTED_SENDS_SKIPPED}
"""What counts losses in the kernel (its name is the reason that the stream gives), and where it stands how many were told."""


class Operation(enum.IntEnum):
    """What the program `control` does; numbers as in `bpf/control.h`."""

    REPORT = 1
    RETIRE = 2
    FREE = 3
    CANARY = 4


class FoldUse(enum.IntEnum):
    """What a fold's `in_use` says; numbers as in `bpf/emit.h`."""

    FREE = 0
    IN_USE = 1
    RETIRED = 2
    NEW = 3


_SMALL_TEXT = 480
_LONG_TEXT = 8032

_EVENT: list[tuple[str, str] | tuple[str, str, tuple[int]]] = [
    ("time", "<u8"),
    ("last_time", "<u8"),
    ("address", "u1", (16,)),
    ("lifetime", "<u8"),
    ("count", "<u4"),
    ("code", "<u4"),
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
    ("capabilities", "<u8"),
    ("gained", "<u8"),
    ("pid", "<u4"),
    ("parent_pid", "<u4"),
    ("uid", "<u4"),
    ("gid", "<u4"),
    ("effective_uid", "<u4"),
    ("effective_gid", "<u4"),
    ("flags", "<u4"),
    ("exec_id", "<u4"),
    ("exe_length", "<u2"),
    ("script_length", "<u2"),
    ("ancestors_length", "<u2"),
    ("cwd_length", "<u2"),
    ("args_length", "<u2"),
    ("process_unused", "<u2", (3,)),
]

EVENT = np.dtype(_EVENT)
"""What all records begin with."""

SMALL_EVENT = np.dtype([*_EVENT, ("text", "u1", (_SMALL_TEXT,))])
LONG_EVENT = np.dtype([*_EVENT, ("text", "u1", (_LONG_TEXT,))])

CGROUP = np.dtype([("first_start", "<u8"), ("container", "<u8"), ("is_complete", "<u4"), ("length", "<u4"), ("path", "S512")])

FOLD = np.dtype(
    [
        ("counted", "<u8"),
        ("reported", "<u8"),
        ("first_time", "<u8"),
        ("last_time", "<u8"),
        ("lifetime", "<u8"),
        ("lifetime_reported", "<u8"),
        ("id", "<u8"),
        ("living", "<u8"),
        ("in_use", "<u4"),
        ("place", "<u4"),
        ("first", SMALL_EVENT),
        ("key", "u1", (256,)),
    ]
)

ATTEMPT = np.dtype(
    [
        ("users", "<u8"),
        ("ending", "<u8"),
        ("socket", "<u8"),
        ("time", "<u8"),
        ("cgroup", "<u8"),
        ("key", "u1", (48,)),
        ("is_closed", "u1"),
        ("is_canary", "u1"),
        ("unused", "u1", (6,)),
    ]
)
