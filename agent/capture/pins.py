"""What is pinned in the BPF file system.

    <folder>/anchors-1/          links to the tracepoints, and the tables that their programs call: they stay for good
    <folder>/<fingerprint>/      one generation of probes: their programs, rings and maps
    <folder>/<fingerprint>-new/  a generation that is being loaded

An agent of another version loads its own generation beside the old one, puts its programs into the anchors' tables, one store
each, reads what the old one still holds, and removes it: no event falls between the two, and none is met by both.
"""

import contextlib
import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path

from agent.capture.libbpf import identify, link_raw_tracepoint, lookup, opened, pin, store
from agent.capture.tracepoints import attach_tracepoint
from agent.errors import UnsupportedError

__all__ = [
    "ANCHORS",
    "ANCHOR_PROGRAMS",
    "GENERATION",
    "MAPS",
    "PIN_FOLDER",
    "PROGRAMS",
    "SYSCALL_PROGRAMS",
    "TABLES",
    "TAILS",
    "activate",
    "anchor",
    "is_complete",
    "unpin_all",
]

PIN_FOLDER = Path("/sys/fs/bpf/peerwatch")
"""Where `run` pins unless it is told otherwise."""

GENERATION = re.compile(r"[0-9a-f]{16}")
"""A generation's folder: named by what it was made from."""

ANCHORS = "anchors-1"
"""The number changes when other programs call the tables, or others are called: then a change of version is not gapless."""

MAPS = ("small_events", "long_events", "counters", "cgroups", "state", "folds", "attempts", "layout")

# Program → its place in the anchors' table.
RAW_PROGRAMS = {"process_exec": 0, "process_exit": 1, "state_change": 2}
SYSCALL_PROGRAMS = {"exit_network": 0}
URING_PROGRAMS = {"uring_submit": 0, "uring_complete": 1}
PROGRAMS = (*RAW_PROGRAMS, *SYSCALL_PROGRAMS, *URING_PROGRAMS, "control", "tell")

# Tail call → its place; numbers as in bpf/first.h.
TAILS = {
    "tails": {"first": 1, "finish": 2, "cgroups_of_current": 3, "process_exec": 4, "state_change": 5, "uring": 7},
    "syscall_tails": {"first": 1, "cgroups_of_current": 3, "network": 6},
}

# Anchor program → what it is attached to.
RAW_TRACEPOINTS = {
    "anchor_exec": "sched_process_exec",
    "anchor_exit": "sched_process_exit",
    "anchor_state": "inet_sock_set_state",
}
SYSCALLS = ("connect", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg")
URING_TRACEPOINTS = {"anchor_submit": "io_uring_submit_req", "anchor_complete": "io_uring_complete"}
"""Not every kernel has them, nor did every version of the agent anchor there."""

ANCHOR_PROGRAMS = (*RAW_TRACEPOINTS, "anchor_syscall", *URING_TRACEPOINTS)
_URING_TABLE = "uring_programs"
TABLES = {"raw_programs": RAW_PROGRAMS, "syscall_programs": SYSCALL_PROGRAMS, _URING_TABLE: URING_PROGRAMS}

# All that is pinned of a generation. A table of tail calls empties itself when nobody but programs has it any more.
PINS = (*MAPS, *TABLES, *TAILS, *PROGRAMS, *ANCHOR_PROGRAMS)


def is_complete(generation: Path) -> bool:
    """Return whether a generation was loaded and pinned."""
    return all((generation / name).exists() for name in PINS)


def anchor(folder: Path, generation: Path) -> None:
    """Attach to the tracepoints, if it is not done yet, by the anchor programs that were loaded with a generation.

    Raises:
        UnsupportedError: a tracepoint is missing or may not be attached to; nothing is left behind.
    """
    anchors = folder / ANCHORS
    tables = TABLES.keys() - {_URING_TABLE}
    if not all((anchors / name).exists() for name in (*tables, *RAW_TRACEPOINTS, *SYSCALLS)):
        unpin_all(anchors)
        anchors.mkdir(mode=0o700)
        _attach(anchors, generation, tables)
    if not all((anchors / name).exists() for name in (_URING_TABLE, *URING_TRACEPOINTS)):
        _attach_uring(anchors, generation)


def _attach(anchors: Path, generation: Path, tables: Iterable[str]) -> None:
    try:
        for table in tables:
            with opened(generation / table) as descriptor:
                pin(descriptor, anchors / table)
        for name, tracepoint in RAW_TRACEPOINTS.items():
            with opened(generation / name) as program:
                _keep(link_raw_tracepoint(program, tracepoint), anchors / name)
        with opened(generation / "anchor_syscall") as program:
            for syscall in SYSCALLS:
                _keep(attach_tracepoint(program, f"syscalls/sys_exit_{syscall}"), anchors / syscall)
    except BaseException as error:
        unpin_all(anchors)
        if isinstance(error, OSError):
            raise UnsupportedError(f"{error.strerror}; CAP_PERFMON is needed") from None
        raise


def _attach_uring(anchors: Path, generation: Path) -> None:
    """Attach to what io_uring says, beside what is attached already. Without it, that much less is seen."""
    for name in (*URING_TRACEPOINTS, _URING_TABLE):
        (anchors / name).unlink(missing_ok=True)
    with opened(generation / _URING_TABLE) as descriptor:
        pin(descriptor, anchors / _URING_TABLE)
    for name, tracepoint in URING_TRACEPOINTS.items():
        # CONFIG_IO_URING=n: no such tracepoint
        with contextlib.suppress(FileNotFoundError), opened(generation / name) as program:
            _keep(link_raw_tracepoint(program, tracepoint), anchors / name)


def activate(folder: Path, generation: Path) -> None:
    """Make the anchors call this generation's programs; those that do already are left alone.

    Raises:
        OSError: it is not allowed.
    """
    for table, programs in TABLES.items():
        with opened(folder / ANCHORS / table) as descriptor:
            for name, place in programs.items():
                with opened(generation / name) as program:
                    key = struct.pack("<I", place)
                    if lookup(descriptor, key, 4) != struct.pack("<I", identify(program)):
                        store(descriptor, key, struct.pack("<I", program))


def _keep(link: int, path: Path) -> None:
    try:
        pin(link, path)
    finally:
        os.close(link)


def unpin_all(folder: Path) -> None:
    """Remove a folder of pins; what nothing else holds is detached and freed by that."""
    with contextlib.suppress(FileNotFoundError):
        for entry in folder.iterdir():
            if entry.is_dir():
                unpin_all(entry)
            else:
                entry.unlink(missing_ok=True)
        folder.rmdir()
