"""What is pinned in the BPF file system, and the few calls of libbpf that open and read it; libbpf brings no LLVM."""

import contextlib
import ctypes
import errno
import functools
import os
from pathlib import Path

from agent.errors import UnsupportedError

__all__ = ["LINKS", "MAPS", "RING_PAGES", "link_tracepoint", "lookup", "open_pin", "pin", "store", "unpin_all"]

RINGS = ("small_events", "long_events", "outcomes")
MAPS = (*RINGS, "counters", "cgroups", "state")
LINKS = ("sched_process_exec", "inet_sock_set_state", "enter_connect", "exit_connect")

# Powers of two, 4 KiB each. 8 MiB of small events are 16,384 of them: 0.4 s of the fastest exec loop measured on two cores.
RING_PAGES = {"SMALL_RING_PAGES": 2048, "LONG_RING_PAGES": 512, "OUTCOME_RING_PAGES": 128}

_BPF_PERF_EVENT = 41  # enum bpf_attach_type, since 5.15 (b89fbfbb854c)


@functools.cache
def _libbpf() -> ctypes.CDLL:
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            return ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
    raise UnsupportedError("libbpf is missing: install libbpf1, see docs/install.md")


def _check(result: int, what: str) -> int:
    # libbpf 1 returns -errno, libbpf 0 returns -1 and sets errno.
    if result >= 0:
        return result
    number = ctypes.get_errno() or -result
    raise OSError(number, f"{what}: {os.strerror(number)}")


def pin(descriptor: int, path: Path) -> None:
    """Pin a map or link.

    Raises:
        UnsupportedError: the BPF file system is missing or not writable.
    """
    try:
        _check(_libbpf().bpf_obj_pin(descriptor, os.fsencode(path)), f"cannot pin {path}")
    except OSError as error:
        raise UnsupportedError(f"{error.strerror}; is a BPF file system mounted there?") from None


def open_pin(path: Path) -> int:
    """Return a file descriptor of what is pinned at `path`.

    Raises:
        OSError: there is nothing, or it may not be opened.
    """
    return _check(_libbpf().bpf_obj_get(os.fsencode(path)), f"cannot open {path}")


def lookup(map_descriptor: int, key: bytes, size: int) -> bytes | None:
    """Return the value of a key, `size` bytes, or None if the map does not hold it."""
    value = ctypes.create_string_buffer(size)
    try:
        _check(_libbpf().bpf_map_lookup_elem(map_descriptor, key, value), "cannot read a map")
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def store(map_descriptor: int, key: bytes, value: bytes) -> None:
    """Set the value of a key.

    Raises:
        OSError: it is not allowed.
    """
    _check(_libbpf().bpf_map_update_elem(map_descriptor, key, value, ctypes.c_uint64(0)), "cannot write a map")


def link_tracepoint(program: int, perf_event: int) -> int:
    """Return a link, which can be pinned, between a program and a perf event.

    Raises:
        OSError: this kernel is older than 5.15, or it is not allowed.
    """
    return _check(_libbpf().bpf_link_create(program, perf_event, _BPF_PERF_EVENT, None), "cannot link a tracepoint")


def unpin_all(folder: Path) -> None:
    """Remove a folder of pins; what nothing else holds is detached and freed by that."""
    with contextlib.suppress(FileNotFoundError):
        for entry in folder.iterdir():
            if entry.is_dir():
                unpin_all(entry)
            else:
                entry.unlink(missing_ok=True)
        folder.rmdir()
