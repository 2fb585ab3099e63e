"""Attaches a program to a kernel tracepoint so that it can be pinned.

bcc's own attach binds the program to a file descriptor of this process; a link made by hand outlives it.
"""

import ctypes
import os
import platform
import struct
from pathlib import Path

from agent.capture.libbpf import link_tracepoint
from agent.errors import UnsupportedError

__all__ = ["TRACEFS", "attach_tracepoint"]

TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

_PERF_TYPE_TRACEPOINT = 2
_PERF_FLAG_FD_CLOEXEC = 8
# perf_event_open(2) has no wrapper in libc.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
# struct perf_event_attr up to PERF_ATTR_SIZE_VER0: type, size, config, sample_period, then zeros.
_ATTRIBUTES = struct.Struct("<IIQQ40x")


def attach_tracepoint(program: int, tracepoint: str) -> int:
    """Attach to `category/name` and return the link's file descriptor.

    Raises:
        UnsupportedError: no tracefs, no such tracepoint, or not allowed; the text says which.
    """
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise UnsupportedError(f"{platform.machine()} is not supported: x86_64 and aarch64 are")
    attributes = _ATTRIBUTES.pack(_PERF_TYPE_TRACEPOINT, _ATTRIBUTES.size, _tracepoint_id(tracepoint), 1)
    libc = ctypes.CDLL(None, use_errno=True)
    # One event on one CPU is enough: the program is attached to the tracepoint itself and runs on all.
    event = libc.syscall(number, attributes, -1, 0, -1, _PERF_FLAG_FD_CLOEXEC)
    if event < 0:
        raise UnsupportedError(f"cannot open tracepoint {tracepoint}: {os.strerror(ctypes.get_errno())}; CAP_PERFMON is needed")
    try:
        return link_tracepoint(program, event)
    except OSError as error:
        raise UnsupportedError(f"tracepoint {tracepoint}: {error.strerror}; Linux 5.15 or later is needed") from None
    finally:
        os.close(event)


def _tracepoint_id(tracepoint: str) -> int:
    for root in TRACEFS:
        try:
            return int((root / "events" / tracepoint / "id").read_text())
        except OSError:
            continue
    raise UnsupportedError(
        f"tracepoint {tracepoint} is not readable: mount -t tracefs tracefs {TRACEFS[0]}; CONFIG_FTRACE_SYSCALLS=y is needed"
    )
