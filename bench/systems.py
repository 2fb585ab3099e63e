"""The systems that are compared: peerwatch's agent with and without folding, execsnoop, bpftrace, and nothing.

Each is started for one run and removed after it: process, programs, maps and pins. All are asked the same questions.
"""

import contextlib
import functools
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from harness.world import World
from loads import STRESS_USER
from measure import BpfObjects, Memory, Ran, children_cpu_ns, cpu_ns, memory, process_tree
from receiver import Collecting, Counting, Delivered, Receiver

__all__ = ["SYSTEMS", "Place", "Running", "Start", "absent", "start"]

AGENT = Path(sys.executable).parent / "peerwatch-agent"

STARTING_S = 60
"""Until a system is attached; all take under 2 s on an idle machine."""

STOPPING_S = 30

LOST = re.compile(rb"[Ll]ost (\d+) events")
"""How execsnoop and bpftrace say it, on stderr."""

SYSTEMS = ("none", "peerwatch", "peerwatch-full", "execsnoop", "bpftrace")


@dataclass(frozen=True)
class Place:
    """Where systems run: the world with its containers, whose pods they are told, a folder on a disk, who receives."""

    world: World
    pods_file: Path
    folder: Path
    collector: str
    """`counting` or `real`."""


@dataclass(frozen=True)
class Start:
    """What it took until the probes were attached."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the process and the children that it waited for."""
    child_peak: int = 0
    """Most resident memory that any child had, bytes: the loader's."""


@dataclass
class Running:
    """A system that is attached; without a process it is nothing, at no cost."""

    pid: int = 0
    objects: BpfObjects = field(default_factory=lambda: BpfObjects([]))
    receiver: Receiver | None = None
    output: Path | None = None
    errors: Path | None = None
    started: Start = field(default_factory=Start)

    def cpu_ns(self) -> int:
        """Return the CPU time of its processes."""
        return cpu_ns(self.pid) if self.pid else 0

    def ran(self) -> Ran:
        """Return what its BPF programs did."""
        return self.objects.ran()

    def memory(self) -> Memory:
        """Return what its process holds."""
        return memory(self.pid) if self.pid else Memory(0, 0, 0)

    def delivered(self) -> Delivered:
        """Return what arrived; of a tool that prints, the losses that it told, and if they were kept, how many lines."""
        if self.receiver:
            return self.receiver.delivered()
        seen = Delivered()
        if self.errors:
            seen.lost["told on stderr"] = sum(map(int, LOST.findall(self.errors.read_bytes())))
        if self.output:
            seen.events["", "line", ""] = _lines(self.output)
        return seen

    def settle(self, quiet_s: float, patience_s: float = 300) -> None:
        """Wait until it has worked off what it holds: for a while it uses next to no CPU and nothing arrives.

        Longer than a second, because that is how often folded counts go out.
        """
        step = 0.25 if self.receiver is None or self.receiver.exact else 1.0  # asking the real collector takes half a second
        begin = quiet = time.monotonic()
        before = (self.cpu_ns(), -1)
        while self.pid and time.monotonic() - quiet < quiet_s and time.monotonic() - begin < patience_s:
            time.sleep(step)
            now = (self.cpu_ns(), sum(self.delivered().events.values()))
            if now[1] != before[1] or now[0] - before[0] > 0.04 * step * 1e9:
                quiet = time.monotonic()
            before = now


def _lines(output: Path) -> int:
    """Return how many execs execsnoop or bpftrace printed: lines with a process id; arguments may hold new lines."""
    pattern = re.compile(rb"^(?:\d+ |.{16} +\d+ +\d+ +\d+ )", re.MULTILINE)
    return len(pattern.findall(output.read_bytes()))


def absent(system: str) -> str:
    """Return why a system cannot be measured here, or nothing."""
    if system == "peerwatch" and not _agent_has("--full"):
        return "this agent does not fold"
    if system in PACKAGES and shutil.which(system) is None:
        return f"it is not installed; on Debian: apt-get install {PACKAGES[system]}"
    return ""


PACKAGES = {"execsnoop": "libbpf-tools", "bpftrace": "bpftrace"}


@functools.cache
def _agent_help() -> str:
    command = [AGENT, "run", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"}).stdout


def _agent_has(option: str) -> bool:
    return re.search(rf"(?<![\w-]){option}(?![\w-])", _agent_help()) is not None


def start(system: str, load: str, place: Place) -> contextlib.AbstractContextManager[Running]:
    """Start a system for a load."""
    if system == "none":
        return contextlib.nullcontext(Running())
    if system in {"peerwatch", "peerwatch-full"}:
        return _peerwatch(place, full=system == "peerwatch-full")
    is_connect = load in {"conn", "getppid"}  # getppid: what slows it are probes on system calls
    own = f" /uid == {STRESS_USER}/" if load == "stress" else ""
    if system == "execsnoop":
        # By lines where they are counted: into a file it would write by pages, and keep the last one.
        command = ["stdbuf", "-oL", "execsnoop", "--uid", str(STRESS_USER)] if own else ["execsnoop"]
        return _printing(command, place, _execute, keep=load == "stress")
    program = (
        f'tracepoint:syscalls:sys_enter_connect{own} {{ printf("%d %s %d\\n", pid, comm, args->fd); }}'
        if is_connect
        else f'tracepoint:sched:sched_process_exec{own} {{ printf("%d %s %s\\n", pid, comm, str(args->filename)); }}'
    )
    return _printing(["bpftrace", "-e", program], place, _connect if is_connect else _execute, keep=load == "stress")


@contextlib.contextmanager
def _peerwatch(place: Place, *, full: bool) -> Iterator[Running]:
    pins = place.world.session.pins
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place.folder)))
        stack.callback(shutil.rmtree, pins, ignore_errors=True)
        receiver: Receiver = Counting() if place.collector == "counting" else Collecting(folder / "data")
        stack.callback(receiver.close)
        command = [AGENT, "run", "--collector", receiver.address, "--pods", place.pods_file, "--node", place.world.node]
        command += ["--pin-dir", pins]
        command += ["--full"] if full and _agent_has("--full") else []
        command += ["--spool", folder / "spool"] if _agent_has("--spool") else []
        errors = folder / "errors"
        begin = time.monotonic()
        with errors.open("wb") as stream:
            process = stack.enter_context(_process(command, place, subprocess.DEVNULL, stream))
        child_peak = 0
        while b"capturing" not in errors.read_bytes():
            _check(process, begin, errors)
            child_peak = max([child_peak, *_peaks(process_tree(process.pid)[1:])])
            time.sleep(0.01)
        started = Start(time.monotonic() - begin, (cpu_ns(process.pid) + children_cpu_ns(process.pid)) / 1e9, child_peak)
        objects = stack.enter_context(contextlib.closing(BpfObjects([process.pid], pins)))
        yield Running(process.pid, objects, receiver, errors=errors, started=started)


@contextlib.contextmanager
def _printing(command: list[str], place: Place, provoke: Callable[[], None], *, keep: bool) -> Iterator[Running]:
    """Run a tool that prints. `provoke` does what it looks for: when its programs ran, it is attached."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place.folder)))
        errors, output = folder / "errors", folder / "output"
        begin = time.monotonic()
        with errors.open("wb") as stream, (output if keep else Path("/dev/null")).open("wb") as out:
            process = stack.enter_context(_process(command, place, out, stream))
        while True:
            _check(process, begin, errors)
            objects = stack.enter_context(contextlib.closing(BpfObjects(process_tree(process.pid))))
            provoke()
            if objects.ran().runs:
                break
            objects.close()
            time.sleep(0.02)
        started = Start(time.monotonic() - begin, cpu_ns(process.pid) / 1e9)
        yield Running(process.pid, objects, output=output if keep else None, errors=errors, started=started)


@contextlib.contextmanager
def _process(
    command: list[object], place: Place, output: BinaryIO | int, errors: BinaryIO
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that ends with this block, and with the benchmark however that ends."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,  # Ctrl-C is for the benchmark, which ends what it started in order
    )
    place.world.session.on_exit(process.kill)  # when a second Ctrl-C interrupts the end
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOPPING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _check(process: subprocess.Popen[bytes], begin: float, errors: Path) -> None:
    words = errors.read_text(errors="replace").strip()[-500:]
    if process.poll() is not None:
        raise RuntimeError(f"{process.args[3:]} ended with {process.returncode} before it was attached: {words}")
    if time.monotonic() - begin > STARTING_S:
        raise RuntimeError(f"{process.args[3:]} was not attached in {STARTING_S} s: {words}")


def _peaks(pids: list[int]) -> Iterator[int]:
    for pid in pids:
        with contextlib.suppress(OSError):  # gone meanwhile
            yield memory(pid).peak


def _execute() -> None:
    subprocess.run(["setpriv", f"--reuid={STRESS_USER}", "--clear-groups", "true"], check=True)


def _connect() -> None:
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", 9))
