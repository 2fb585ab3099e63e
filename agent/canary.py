"""The canary: an exec and a connect of the agent's own, each minute, that prove capture from the kernel to the agent's hand.

The probes mark what the agent does itself (`ProcessFlag.CANARY`), hand it over one by one and also outside of containers, and
nobody learns from it. Here these events are made and looked for in what comes back: an agent whose canary is missing says so,
instead of being silent like one on a quiet node.
"""

import asyncio
import contextlib
import errno
import logging
import os
import platform
import secrets
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
from peerwatch.columns import EventColumns, EventKind, ProcessFlag

from agent.errors import UnsupportedError
from agent.readings import CanaryReading

__all__ = ["NAME", "Canary", "Program", "connect_nowhere", "elf"]

_log = logging.getLogger(__name__)

NAME = "peerwatch-canary"
"""First argument of the program; the second is what it is recognised by."""

PERIOD_S = 60.0
PATIENCE_S = 10.0
"""How long an event may take: longer than a node's worst second, shorter than the period."""

Kind = Literal["exec", "connect"]

_MARK = np.uint32(1 << ProcessFlag.CANARY)

# Machine → number in the ELF header (include/uapi/linux/elf-em.h) and the instructions for exit(0).
_MACHINES = {
    "x86_64": (62, bytes.fromhex("31ff b83c000000 0f05")),  # xor edi, edi; mov eax, 60 (exit); syscall
    "aarch64": (183, bytes.fromhex("000080d2 a80b80d2 010000d4")),  # mov x0, 0; mov x8, 93 (exit); svc 0
}

_MFD_EXEC = 0x10  # include/uapi/linux/memfd.h, since 6.3 (105ff5339f49); Python 3.11 has no name for it


def elf(machine: str = platform.machine()) -> bytes:
    """Return a program that does nothing but end, an ELF file with three instructions: the agent's image holds none to run.

    Raises:
        UnsupportedError: it is not known how a program ends on this machine.
    """
    if machine not in _MACHINES:
        raise UnsupportedError(f"there is no canary for {machine}")
    number, code = _MACHINES[machine]
    base, header, segment = 0x400000, 64, 56
    start = header + 2 * segment
    size = start + len(code)
    return b"".join(
        (
            # ELF, 64 bit, little endian; an executable with its entry behind the headers, two segments, no sections.
            struct.pack("<4s5B7x", b"\x7fELF", 2, 1, 1, 0, 0),
            struct.pack("<HHIQQQIHHHHHH", 2, number, 1, base + start, header, 0, 0, header, segment, 2, 0, 0, 0),
            # The whole file, read and execute (5), on pages of up to 64 KiB; and a stack that is not executable (6).
            struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000),
            struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16),
            code,
        )
    )


class Program:
    """The program in memory, one running at a time. Belongs to one event loop, which reaps it."""

    def __init__(self) -> None:
        """Nothing is there until the first run."""
        self._file: int | None = None
        self._child: int | None = None

    def run(self, word: str) -> None:
        """Execute it with `word` as its argument; returns once the new image is there.

        Raises:
            OSError: this machine does not execute what is only in memory.
            UnsupportedError: there is no program for this machine.
        """
        self._reap()  # the one before, if somebody has stopped it on its way
        if self._file is None:
            self._file = _in_memory(elf())
        # A vfork: what the agent holds in memory does not make it slower.
        child = os.posix_spawn(f"/proc/self/fd/{self._file}", [NAME, word], {})
        try:
            self._child = os.pidfd_open(child)
        except OSError:
            os.waitpid(child, 0)
            raise
        asyncio.get_running_loop().add_reader(self._child, self._reap)

    def close(self) -> None:
        """Let go of the file, and of a program that still runs."""
        self._reap()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _reap(self) -> None:
        if self._child is None:
            return
        asyncio.get_running_loop().remove_reader(self._child)
        signal.pidfd_send_signal(self._child, signal.SIGKILL)  # it has ended, or does now
        os.waitid(os.P_PIDFD, self._child, os.WEXITED)
        os.close(self._child)
        self._child = None


def connect_nowhere() -> int:
    """Connect to a loopback port on which nobody listens; return the port.

    Raises:
        OSError: there are no sockets left.
    """
    # A port that is bound and not listening refuses, and is nobody else's.
    with socket.socket() as closed, socket.socket() as client:
        closed.bind(("127.0.0.1", 0))
        client.setblocking(False)
        client.connect_ex(closed.getsockname())
        port: int = closed.getsockname()[1]
        return port


def _in_memory(content: bytes) -> int:
    """Return a descriptor of a file without a folder: the agent's file system is read only."""
    try:
        descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC)  # a kernel before 6.3, on which every such file is executable
    os.write(descriptor, content)
    return descriptor


@dataclass(slots=True)
class _Bird:
    """What is known of one kind of event. `awaited`: by what the one under way is recognised."""

    awaited: str = ""
    sent: int = 0
    missed: int = 0
    is_missing: bool = False
    seen_at: float | None = None
    latency_s: float | None = None
    worst_s: float | None = None


class Canary:
    """Makes its events in `run`, finds them in `observe`. Belongs to one event loop.

    The probes must know the process before (`Probes`); each table must pass `observe` before it goes anywhere else.
    """

    def __init__(
        self,
        *,
        period_s: float = PERIOD_S,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        program: Program | None = None,
        connect: Callable[[], int] = connect_nowhere,
    ) -> None:
        """`period_s`: from one pair of events to the next. `patience_s`: after which an event counts as missed.

        `program` and `connect` make the events; `connect` returns to which port.
        """
        self._period_s = period_s
        self._patience_s = patience_s
        self._clock = clock
        self._birds: dict[Kind, _Bird] = {"exec": _Bird(), "connect": _Bird()}
        self._all_seen = asyncio.Event()
        self._program = program or Program()
        self._connect = connect

    def readings(self) -> dict[str, CanaryReading]:
        """Return what is known of each kind of event."""
        now = self._clock()
        return {
            kind: CanaryReading(
                sent=bird.sent,
                missed=bird.missed,
                age_s=None if bird.seen_at is None else now - bird.seen_at,
                latency_s=bird.latency_s,
                worst_s=bird.worst_s,
            )
            for kind, bird in self._birds.items()
        }

    async def run(self) -> NoReturn:
        """Make events at once and then each period, until cancelled."""
        try:
            while True:
                await self._round()
                await asyncio.sleep(self._period_s)
        finally:
            self._program.close()

    def observe(self, table: EventColumns, now_ns: int) -> None:
        """Look for the events under way in a table that has just been read; `now_ns` is the wall clock."""
        marked = (table.processes.flags & _MARK) != 0
        if not marked.any():
            return
        execs = table.rows_of(EventKind.EXEC)
        for row in execs[marked[table.process[execs]]].tolist():
            arguments = table.string_list(int(table.processes.args[table.process[row]]))
            if arguments[:1] == [NAME]:
                self._came_back("exec", arguments[-1], now_ns - int(table.time[row]))
        connects = table.rows_of(EventKind.CONNECT)
        own = marked[table.process[connects]]
        for row, port in zip(connects[own].tolist(), table.connects.port[own].tolist(), strict=True):
            self._came_back("connect", str(port), now_ns - int(table.time[row]))

    def _came_back(self, kind: Kind, word: str, latency_ns: int) -> None:
        bird = self._birds[kind]
        if not bird.awaited or word != bird.awaited:
            return
        bird.awaited = ""
        bird.seen_at = self._clock()
        bird.latency_s = max(0.0, latency_ns / 1e9)  # the wall clock may have been set back in between
        bird.worst_s = max(bird.latency_s, bird.worst_s or 0.0)
        if not any(each.awaited for each in self._birds.values()):
            self._all_seen.set()

    async def _round(self) -> None:
        """Make one event of each kind and wait for both."""
        self._all_seen.clear()
        problems = {kind: self._send(kind) for kind in self._birds}
        if any(bird.awaited for bird in self._birds.values()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):  # wait_for() would swallow a cancellation at that moment
                    await self._all_seen.wait()
        for kind, bird in self._birds.items():
            if bird.awaited:
                bird.awaited = ""
                problems[kind] = f"did not come back within {self._patience_s:g} s"
            if problems[kind]:
                bird.missed += 1
                if not bird.is_missing:
                    _log.warning(
                        "the canary's %s %s: this node may not be watched; `peerwatch-agent check` looks for the reason",
                        kind,
                        problems[kind],
                    )
            elif bird.is_missing:
                _log.info("the canary's %s came back", kind)
            bird.is_missing = bool(problems[kind])

    def _send(self, kind: Kind) -> str:
        """Make an event; return why that failed, or an empty text."""
        bird = self._birds[kind]
        bird.sent += 1
        try:
            # No table is looked at before this returns, so the event cannot come back before it is awaited.
            if kind == "exec":
                bird.awaited = secrets.token_hex(8)
                self._program.run(bird.awaited)
            else:
                bird.awaited = str(self._connect())
        except (OSError, UnsupportedError) as error:
            bird.awaited = ""
            return f"cannot be made ({error})"
        return ""
