"""Who owns what on this host, and its removal: at the end, after an error or a signal, and after a killed run.

Everything a harness makes outside its own memory is found by name: `pw-<pid>-<start>-<n>` is a tmpfs under `/run`, the
prefix of network namespaces, and the folder for pins of eBPF objects (`Session.pins`). pid and start time together tell a
dead owner from a new process with its old pid.
Knows nothing of what containers and networks look like inside; it runs what they ask it to at the end.
"""

import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["CGROUPS", "CGROUP_PARENT", "Session", "missing", "remove_cgroups", "run", "shared_cgroups", "sweep"]

RUN = Path("/run")
NETNS = Path("/run/netns")
BPFFS = Path("/sys/fs/bpf")
CGROUPS = Path("/sys/fs/cgroup")
CGROUP_PARENT = Path("kubelet/kubepods/burstable")
"""Where containers go. As kind does it: a running kubelet ends what it does not know under its own `/kubepods`."""

CAP_SYS_ADMIN = 21  # include/uapi/linux/capability.h
TOOLS = ("runc", "ip", "mount", "umount", "nsenter")

_numbers = itertools.count()


def missing() -> str:
    """Return a sentence that says why containers cannot be started here, or nothing if they can."""
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    if not int(effective.split()[1], 16) >> CAP_SYS_ADMIN & 1:  # a root without capabilities is none
        return "needs root to make containers and network namespaces"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"needs {', '.join(absent)}; on Debian: apt-get install runc iproute2 util-linux"
    if not CGROUPS.is_dir():
        return f"needs cgroups mounted at {CGROUPS}"
    return ""


def run(*argv: str, text: str | None = None, timeout: float = 30) -> str:
    """Run a program to its end and return its output.

    Raises:
        RuntimeError: it failed; the text holds what it wrote to stderr.
    """
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip()[:2000]}")
    return done.stdout


def _start_time(pid: int) -> str:
    """Return when a process started, in ticks since boot, or nothing if there is none (a zombie is none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


class Session:
    """One owner's share of the host: a name, a directory, and what has to be undone, newest first."""

    def __init__(self) -> None:
        self.name = f"pw-{os.getpid()}-{_start_time(os.getpid())}-{next(_numbers)}"
        self.path = RUN / self.name
        self.pins = BPFFS / self.name
        self._stack = contextlib.ExitStack()
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Remove what killed owners left, then take the name and make signals unwind the stack."""
        sweep()
        self._catch_signals()
        try:
            self.path.mkdir(mode=0o755)
            self.on_exit(lambda: _remove_directory(self.path))
            self.on_exit(lambda: shutil.rmtree(self.pins, ignore_errors=True))
            run("mount", "-t", "tmpfs", "-o", "mode=0755", self.name, str(self.path))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Undo everything; a second Ctrl-C does not interrupt it."""
        main = threading.current_thread() is threading.main_thread()
        if main:
            for caught in (signal.SIGINT, signal.SIGTERM):
                self._handlers.setdefault(caught, signal.getsignal(caught))
                signal.signal(caught, signal.SIG_IGN)
        try:
            self._stack.close()
        finally:
            if main:
                for number, handler in self._handlers.items():
                    signal.signal(number, handler)

    def on_exit(self, undo: Callable[[], object]) -> None:
        """Have something undone at the end, whatever else fails."""
        self._stack.callback(undo)

    def _catch_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._handlers[signal.SIGTERM] = signal.signal(signal.SIGTERM, _unwind)


def _unwind(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def shared_cgroups(lock: int = fcntl.LOCK_SH) -> Iterator[None]:
    """Hold the parents of all containers' cgroups: shared while one is made, exclusively while empty ones are removed."""
    handle = os.open(CGROUPS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, lock)
        yield
    finally:
        os.close(handle)


def remove_cgroups(pod_uids: Iterable[str], *, kill: bool = False) -> None:
    """Remove the cgroups of pods in every hierarchy, then their parents as far as they are empty.

    A container that still has processes is another of the same pod and stays, unless they are to be killed.
    """
    hierarchies = [each for each in (CGROUPS, *CGROUPS.iterdir()) if each.is_dir() and not each.is_symlink()]
    parents = [CGROUP_PARENT, *CGROUP_PARENT.parents][:-1]
    with shared_cgroups(fcntl.LOCK_EX):
        for uid in pod_uids:
            for pod in [hierarchy / CGROUP_PARENT / f"pod{uid}" for hierarchy in hierarchies]:
                for container in [each for each in pod.iterdir() if each.is_dir()] if pod.is_dir() else []:
                    _remove_cgroup(container, kill=kill)
                with contextlib.suppress(OSError):  # absent, or not empty
                    pod.rmdir()
        for hierarchy in hierarchies:
            for parent in parents:
                with contextlib.suppress(OSError):  # absent, or another's
                    (hierarchy / parent).rmdir()


def _remove_cgroup(path: Path, *, kill: bool) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            path.rmdir()
        try:
            processes = (path / "cgroup.procs").read_text().split()
        except OSError:
            return  # gone
        if processes and not kill:
            return
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        time.sleep(0.01)  # the kernel lets go of a cgroup a moment after its last process


def _remove_directory(path: Path) -> None:
    """End containers below a session's directory, unmount it and remove it: also what a killed owner did not get to."""
    state = path / "runc"
    containers = [each.name for each in state.iterdir() if each.is_dir()] if state.is_dir() else []
    for container in containers:
        subprocess.run(["runc", "--root", str(state), "delete", "--force", container], capture_output=True, check=False)
    pods = path / "pods"
    remove_cgroups([each.name for each in pods.iterdir()] if pods.is_dir() else [], kill=True)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([each for each in mounts if Path(each) == path or path in Path(each).parents]):
        for options in ([], ["-l"]):  # lazily only when something still holds it
            if subprocess.run(["umount", *options, mount], capture_output=True, check=False).returncode == 0:
                break
    shutil.rmtree(path, ignore_errors=True)


def sweep() -> list[str]:
    """Remove what owners that are dead left behind, and return the names of those sessions."""
    names, spaces, pins = ({each.name for each in parent.glob("pw-*")} for parent in (RUN, NETNS, BPFFS))
    swept = set()
    for name in sorted(names | spaces | pins):
        parts = name.split("-")
        if len(parts) < 4 or not all(part.isdigit() for part in parts[1:4]) or _start_time(int(parts[1])) == parts[2]:
            continue
        if name in names:
            _remove_directory(RUN / name)
        if name in spaces:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        shutil.rmtree(BPFFS / name, ignore_errors=True)
        swept.add("-".join(parts[:4]))
    return sorted(swept)
