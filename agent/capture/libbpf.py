"""The few calls of libbpf that pin, open, read and run what the loader made; libbpf brings no LLVM."""

import contextlib
import ctypes
import errno
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from agent.errors import UnsupportedError

__all__ = [
    "identify",
    "link_raw_tracepoint",
    "link_tracepoint",
    "lookup",
    "open_pin",
    "opened",
    "pin",
    "run",
    "store",
]

_BPF_PERF_EVENT = 41  # enum bpf_attach_type, since 5.15 (b89fbfbb854c)

MOST_ARGUMENTS = 12
"""A raw tracepoint program's context in a test run, 64-bit words (MAX_BPF_FUNC_ARGS)."""


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
    """Pin a map, program or link.

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


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open what is pinned at `path` for as long as the context lasts."""
    descriptor = open_pin(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


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


def link_raw_tracepoint(program: int, tracepoint: str) -> int:
    """Return a link, which can be pinned, between a program and a kernel tracepoint.

    Raises:
        OSError: there is no such tracepoint, or it is not allowed.
    """
    return _check(_libbpf().bpf_raw_tracepoint_open(tracepoint.encode(), program), f"cannot link {tracepoint}")


def link_tracepoint(program: int, perf_event: int) -> int:
    """Return a link, which can be pinned, between a program and a perf event.

    Raises:
        OSError: this kernel is older than 5.15, or it is not allowed.
    """
    return _check(_libbpf().bpf_link_create(program, perf_event, _BPF_PERF_EVENT, None), "cannot link a tracepoint")


def identify(program: int) -> int:
    """Return a program's id, as a table of tail calls shows it.

    Raises:
        OSError: it may not be asked.
    """
    info = (ctypes.c_uint32 * 64)()  # struct bpf_prog_info begins: type, id
    length = ctypes.c_uint32(ctypes.sizeof(info))
    _check(_libbpf().bpf_obj_get_info_by_fd(program, info, ctypes.byref(length)), "cannot identify a program")
    return int(info[1])


class _RunOptions(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf's bpf.h."""

    _fields_: ClassVar[Sequence[tuple[str, type]]] = [
        ("size", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("context_in", ctypes.c_void_p),
        ("context_out", ctypes.c_void_p),
        ("context_size_in", ctypes.c_uint32),
        ("context_size_out", ctypes.c_uint32),
        ("result", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


def run(program: int, arguments: Sequence[int]) -> None:
    """Run a raw tracepoint program once, in this process, with up to `MOST_ARGUMENTS` words as its context.

    Raises:
        OSError: the kernel cannot (before 5.10), or it is not allowed.
    """
    context = (ctypes.c_uint64 * MOST_ARGUMENTS)(*arguments)
    options = _RunOptions(
        size=ctypes.sizeof(_RunOptions), context_in=ctypes.addressof(context), context_size_in=ctypes.sizeof(context)
    )
    _check(_libbpf().bpf_prog_test_run_opts(program, ctypes.byref(options)), "cannot run a program")
