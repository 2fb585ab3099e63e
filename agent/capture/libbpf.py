"""The few calls of libbpf that make, pin, open, read and run maps and programs; libbpf brings no LLVM."""

import contextlib
import ctypes
import errno
import functools
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from agent.errors import UnsupportedError

__all__ = [
    "MOST_ARGUMENTS",
    "Map",
    "create_map",
    "identify",
    "link_raw_tracepoint",
    "link_tracepoint",
    "load_program",
    "lookup",
    "map_of",
    "open_pin",
    "opened",
    "pin",
    "run",
    "store",
]

_BPF_PERF_EVENT = 41  # enum bpf_attach_type, since 5.15 (b89fbfbb854c)

MOST_ARGUMENTS = 12
"""A raw tracepoint program's context in a test run, 64-bit words (MAX_BPF_FUNC_ARGS)."""

_LICENSE = b"Dual BSD/GPL"
"""Of the probes; the kernel gives some helpers to programs under the GPL only."""

_LOG_BYTES = (1 << 24) - 1
"""The most that every kernel takes; before 6.4 a log that does not fit hides the error. Memory only as far as it is written."""

_INSTRUCTION_BYTES = 8


@functools.cache
def _libbpf() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libbpf.so.1")  # calls that load are others in libbpf 0, under the same names
    except OSError:
        raise UnsupportedError("libbpf 1 is missing: install libbpf1, see docs/install.md") from None


def _check(result: int, what: str) -> int:
    if result >= 0:
        return result
    raise OSError(-result, f"{what}: {os.strerror(-result)}")


class Map(NamedTuple):
    """What a map is made from: numbers of include/uapi/linux/bpf.h, sizes in bytes."""

    name: str
    """The kernel cuts it off after 15 bytes."""

    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int


def map_of(map_descriptor: int) -> Map:
    """Return what a map was made from.

    Raises:
        OSError: it may not be asked.
    """
    # struct bpf_map_info begins: type, id, key, value, entries, flags, name
    info = _info(map_descriptor, "cannot ask for a map")
    return Map(bytes(info[6:10]).rstrip(b"\0").decode(), info[0], *info[2:6])


class _MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts of libbpf's bpf.h, as far as it is used."""

    _fields_: ClassVar[Sequence[tuple[str, type]]] = [
        ("size", ctypes.c_size_t),
        ("btf_descriptor", ctypes.c_uint32),
        ("btf_key", ctypes.c_uint32),
        ("btf_value", ctypes.c_uint32),
        ("btf_vmlinux_value", ctypes.c_uint32),
        ("inner_map", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]


def create_map(wanted: Map) -> int:
    """Return the descriptor of a new map.

    Raises:
        OSError: this kernel has no such maps, or it is not allowed.
    """
    options = _MapOptions(size=ctypes.sizeof(_MapOptions), flags=wanted.flags)
    sizes = (ctypes.c_uint32(size) for size in (wanted.key_size, wanted.value_size, wanted.entries))
    created = _libbpf().bpf_map_create(wanted.kind, wanted.name.encode(), *sizes, ctypes.byref(options))
    return _check(created, f"the map {wanted.name} cannot be created")


class _ProgramOptions(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf's bpf.h, as of libbpf 1.0."""

    _fields_: ClassVar[Sequence[tuple[str, type]]] = [
        ("size", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("attach_kind", ctypes.c_uint32),
        ("btf_descriptor", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("interface", ctypes.c_uint32),
        ("kernel_version", ctypes.c_uint32),
        ("attach_btf", ctypes.c_uint32),
        ("attach_program", ctypes.c_uint32),
        ("attach_btf_object", ctypes.c_uint32),
        ("descriptors", ctypes.c_void_p),
        ("functions", ctypes.c_void_p),
        ("functions_number", ctypes.c_uint32),
        ("functions_size", ctypes.c_uint32),
        ("lines", ctypes.c_void_p),
        ("lines_number", ctypes.c_uint32),
        ("lines_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log", ctypes.c_void_p),
    ]


def load_program(name: str, kind: int, code: bytes) -> int:
    """Return the descriptor of a program made from instructions; `kind` is an enum bpf_prog_type.

    Raises:
        OSError: the verifier refuses it, and its last words are in the text; or it is not allowed.
    """
    log = mmap.mmap(-1, _LOG_BYTES)  # written by a second attempt, after the first has failed
    place = ctypes.addressof(ctypes.c_char.from_buffer(log))
    options = _ProgramOptions(size=ctypes.sizeof(_ProgramOptions), log_size=_LOG_BYTES, log=place)
    number = ctypes.c_size_t(len(code) // _INSTRUCTION_BYTES)
    loaded = _libbpf().bpf_prog_load(kind, name.encode(), _LICENSE, code, number, ctypes.byref(options))
    said = log[: log.find(b"\0")].decode("utf-8", "replace").strip().splitlines()[-3:]
    return _check(loaded, " ".join([f"{name} cannot be loaded:", *said]).rstrip(":"))


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


def store(map_descriptor: int, key: bytes | None, value: bytes) -> None:
    """Set the value of a key; a queue has no keys, and takes the value as its last.

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
    return _info(program, "cannot identify a program")[1]  # struct bpf_prog_info begins: type, id


def _info(descriptor: int, what: str) -> memoryview:
    """Return what the kernel says of a map or program, as 32-bit words."""
    info = memoryview(bytearray(256)).cast("I")
    length = ctypes.c_uint32(info.nbytes)
    place = ctypes.c_uint32.from_buffer(info)
    _check(_libbpf().bpf_obj_get_info_by_fd(descriptor, ctypes.byref(place), ctypes.byref(length)), what)
    return info


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
