"""The loads: programs that run in a real container and say themselves what they did; the kernel says it where they cannot.

All wait for a sign before they begin and are there until they are told to end, so that counters are read with nothing else
under way. The programs are in programs/*.c.
"""

import contextlib
import ctypes
import json
import os
import platform
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.containers import Container
from harness.rootfs import compile_c

__all__ = ["LOADS", "STRESS_USER", "Load", "Operations", "Waiting", "programs"]

SOURCES = Path(__file__).parent / "programs"

GATED = ("exec", "connect", "getppid", "pairs", "stamps")
"""Loads of gate.h; each is put behind it."""

STRESS_USER = 65533
"""stress-ng runs as this user, whom nobody else is; execsnoop and bpftrace are told to show only theirs."""

STARTING_S = 30


@dataclass(frozen=True)
class Operations:
    """What a load did."""

    count: int
    elapsed_ns: int
    cpu_ns: int = 0
    """CPU time of the load itself: what runs in its context is in it, BPF programs and the kernel's way to them included."""


class Waiting(Protocol):
    """A load that waits for its sign."""

    def go(self) -> Operations:
        """Let it run to its end."""


@dataclass(frozen=True)
class Load:
    """One load, what it makes, and who is measured under it."""

    name: str
    unit: str
    program: str
    kind: str = ""
    """Kind of the events that it makes; empty: none."""
    exe: str = ""
    """File that the events are of; empty: any."""
    systems: tuple[str, ...] = ("none", "peerwatch", "peerwatch-full", "execsnoop", "bpftrace")
    user: int = 0
    workers: int = 0
    """0: one for each CPU."""
    longest_s: float = 3600.0
    """What needs no more time than this gets no more."""

    @contextlib.contextmanager
    def begin(
        self, container: Container, seconds: float, *parameters: str, workers: int = 0, most: int = 0
    ) -> Iterator[Waiting]:
        """Start it in a container; it waits until `go`."""
        if self.name == "stress":
            with _stress(container, seconds, workers or os.cpu_count() or 1) as waiting:
                yield waiting
            return
        count = self.workers or workers or os.cpu_count() or 1
        command = container.exec_command(f"/app/{self.program}", str(seconds), str(count), str(most), *parameters)
        with _process(command) as process:
            yield _Gated(process, seconds)


PEERWATCH = ("peerwatch", "peerwatch-full")

LOADS: Mapping[str, Load] = {
    load.name: load
    for load in (
        Load("tiny", "exec", "exec", "exec", "/app/tiny"),
        Load("conn", "connect", "connect", "connect", "/app/connect", ("none", *PEERWATCH, "bpftrace")),
        Load("getppid", "call", "getppid", systems=("none", "peerwatch", "execsnoop", "bpftrace"), longest_s=3),
        Load("stress", "exec", "wait", "exec", systems=(*PEERWATCH, "execsnoop", "bpftrace"), user=STRESS_USER),
        Load("latency", "exec", "stamps", "exec", "/app/tiny", PEERWATCH, workers=1),
        Load("pairs", "connect", "pairs", "connect", "/app/pairs", ("peerwatch",), workers=1),
    )
}  # fmt: skip


def programs() -> dict[str, Path]:
    """Return the files of a container that loads run in, compiled."""
    gate = (SOURCES / "gate.h").read_text()
    files = {f"/app/{name}": compile_c(gate + (SOURCES / f"{name}.c").read_text()) for name in GATED}
    files |= {f"/app/{name}": compile_c((SOURCES / f"{name}.c").read_text()) for name in ("short", "quiet", "wait")}
    return files | {"/app/tiny": compile_c((SOURCES / "tiny.c").read_text(), "-nostdlib")}


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a load until it says "ready"; close its stdin at the end, and wait for it."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if line != "ready\n":
                errors.seek(0)
                raise RuntimeError(f"{command[-4:]} did not start: {line!r}: {errors.read()[-500:].strip()}")
            yield process
            process.stdin.close()
            process.wait(STARTING_S)
        finally:
            process.stdin.close()
            process.stdout.close()
            process.kill()  # `runc exec`; what runs in the container ends with stdin, or with the container
            process.wait()


class _Gated:
    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._process = process
        self._seconds = seconds

    def go(self) -> Operations:
        """Let it run; it says itself what it did."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("g")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a load ended before it said what it did")
        answer = json.loads(line)
        return Operations(answer["operations"], answer["elapsed_ns"], answer["cpu_ns"])


class _Stress:
    def __init__(self, process: subprocess.Popen[str], execs: "_ExecCounter") -> None:
        self._process = process
        self._execs = execs

    def go(self) -> Operations:
        """Let stress-ng run; the kernel says how many execs succeeded."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        begin = time.monotonic_ns()
        self._process.stdin.write("g")
        self._process.stdin.flush()
        self._process.stdout.read()
        self._process.wait(STARTING_S)
        if self._process.returncode:
            raise RuntimeError(f"stress-ng ended with {self._process.returncode}")
        return Operations(self._execs.read(), time.monotonic_ns() - begin)


@contextlib.contextmanager
def _stress(container: Container, seconds: float, workers: int) -> Iterator[_Stress]:
    # --temp-path: its own folder is not writable for it.
    stress = ["stress-ng", "--exec", str(workers), "--timeout", f"{max(1, round(seconds))}s", "--temp-path", "/tmp", "--quiet"]  # noqa: S108 — in the container
    command = container.exec_command("/app/wait", *stress)
    with tempfile.TemporaryDirectory() as folder:
        pid_file = Path(folder) / "pid"
        at = command.index("exec") + 1
        with (
            _process([*command[:at], "--pid-file", str(pid_file), *command[at:]]) as process,
            contextlib.closing(_ExecCounter(_written(pid_file))) as execs,
        ):
            yield _Stress(process, execs)


def _written(pid_file: Path) -> int:
    """Return the process id that runc writes once the process runs: it may be "ready" before."""
    end = time.monotonic() + STARTING_S
    while not (text := pid_file.read_text() if pid_file.exists() else ""):
        if time.monotonic() > end:
            raise RuntimeError(f"runc wrote no process id in {STARTING_S} s")
        time.sleep(0.001)
    return int(text)


class _ExecCounter:
    """The kernel's own count of sched_process_exec in a process and all that descend from it: a perf event, no BPF.

    It counts what the tracepoint fires for, which is an exec that succeeded, whoever else looks.
    """

    SYSCALL = {"x86_64": 298, "aarch64": 241}  # noqa: RUF012 — perf_event_open(2), by machine; never changed

    def __init__(self, pid: int) -> None:
        number = int(Path("/sys/kernel/tracing/events/sched/sched_process_exec/id").read_text())
        # struct perf_event_attr, its first version of 64 bytes: type PERF_TYPE_TRACEPOINT, size, config; flags at 40: inherit.
        attributes = struct.pack("<IIQQQQQ16x", 2, 64, number, 0, 0, 0, 1 << 1)
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.syscall(self.SYSCALL[platform.machine()], attributes, pid, -1, -1, ctypes.c_ulong(0))
        if self._handle < 0:
            raise OSError(ctypes.get_errno(), f"cannot count execs with perf: {os.strerror(ctypes.get_errno())}")

    def read(self) -> int:
        """Return the count."""
        return int.from_bytes(os.read(self._handle, 8), "little")

    def close(self) -> None:
        """End."""
        os.close(self._handle)
