"""Where a node's processes run: namespaces and cgroups of their own, so that ending them all is one act.

One idle process holds a network namespace and a mount namespace; every component joins both. What Kubernetes writes outside its
configured folders (/var/lib/kubelet, /var/log/pods, /run/containerd, /etc/cni, …) lands in memory, over folders that are the
host's below. When the last process is dead, networks, mounts and those files are gone; only cgroups are left to be removed.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Confinement", "inside_network"]

CGROUPS = Path("/sys/fs/cgroup")
COVERED = ("/etc", "/opt", "/run", "/usr/libexec", "/var/lib", "/var/log")
"""Folders in which the components write without being asked."""
SETTINGS = ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom")
"""Of the whole kernel, which a kubelet sets to what a server should have: it gets copies of its own."""

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_LIBC = ctypes.CDLL(None, use_errno=True)
# A process enters a cgroup before it is the program that was asked for, and is no child of whoever asked.
_SPAWN = 'echo $$ > "$0"; setsid "$@" < /dev/null >&2 & echo $!'


@contextlib.contextmanager
def inside_network(path: Path) -> Iterator[None]:
    """Have this thread make its sockets in a network namespace; they stay there, the thread comes back."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _join_network(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _join_network(home)
    finally:
        os.close(home)


def _join_network(handle: int) -> None:
    if _LIBC.setns(handle, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Confinement:
    """The namespaces and cgroups of one node. `root` is the cgroup below which the kubelet puts its pods."""

    def __init__(self, name: str, folder: Path) -> None:
        """`folder` is the node's own; it must not be below one of `COVERED`."""
        self.root = f"/peerwatch-{name}"
        self._holder = folder / "holder.pid"
        self._scratch = folder / "scratch"
        unified = [each for each in (CGROUPS, CGROUPS / "unified") if (each / "cgroup.controllers").exists()]
        self._own = (unified or [CGROUPS / "pids"])[0] / self.root[1:] / "system"

    @property
    def alive(self) -> bool:
        """Whether the namespaces exist."""
        return self._pid() != 0

    @property
    def network(self) -> Path:
        """The network namespace."""
        return Path(f"/proc/{self._pid()}/ns/net")

    def create(self, address: str) -> None:
        """Make everything; `address`, with its prefix length, becomes the node's."""
        for hierarchy in _hierarchies():
            (hierarchy / self.root[1:]).mkdir(exist_ok=True)
        self._own.mkdir(exist_ok=True)
        pid = self._spawn(Path("/dev/null"), "unshare", "--net", "--mount", "--propagation", "private", "sleep", "infinity")
        while not _is_namespaced(pid):
            time.sleep(0.002)
        self._holder.write_text(str(pid))
        self._scratch.mkdir()
        steps = [f"mount -t tmpfs -o mode=755 scratch {self._scratch}"]
        for number, path in enumerate(COVERED):
            upper, work = f"{self._scratch}/{number}", f"{self._scratch}/{number}-work"
            steps.append(f"mkdir {upper} {work}")
            steps.append(f"mount -t overlay -o lowerdir={path},upperdir={upper},workdir={work} scratch {path}")
        for name in SETTINGS:
            copy = f"{self._scratch}/{name.replace('/', '-')}"
            steps += [f"cat /proc/sys/{name} > {copy}", f"mount --bind {copy} /proc/sys/{name}"]
        steps += [
            # Shared, as a host's mounts are: what the kubelet mounts for a pod must reach its containers.
            "mount --make-rshared /",
            "ip link set lo up",
            "ip link add node0 type bridge",  # a bridge without ports: the dummy driver is not everywhere
            f"ip address add {address} dev node0",
            "ip link set node0 up",
            "ip route add default dev node0",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        ]
        subprocess.run([*self._all(), "sh", "-ec", "\n".join(steps)], check=True)

    def spawn(self, log: Path, *argv: str) -> int:
        """Start a program in all of it, and return its process id; it is not this process's child."""
        return self._spawn(log, *self._all(), *argv)

    def enter(self, *argv: str) -> list[str]:
        """Return what runs a program in the network namespace only, with the host's files and cgroups."""
        return ["nsenter", "-t", str(self._pid()), "-n", "--", *argv]

    def has(self, pid: int) -> bool:
        """Return whether this process is one of the node's components: pids are used again."""
        with contextlib.suppress(OSError):
            return str(pid) in (self._own / "cgroup.procs").read_text().split()
        return False

    def remove(self) -> None:
        """End every process and remove every cgroup.

        Raises:
            TimeoutError: a process does not end.
        """
        deadline = time.monotonic() + 30
        # Again from the root each time: a component makes new cgroups until it is dead itself.
        while folders := [each for hierarchy in _hierarchies() for each in _tree(hierarchy / self.root[1:])]:
            for pid in {pid for folder in folders for pid in _processes(folder)}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for folder in folders:
                with contextlib.suppress(OSError):  # not empty yet
                    folder.rmdir()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{folders[0]} does not become empty")
            time.sleep(0.02)

    def _all(self) -> list[str]:
        return ["nsenter", "-t", str(self._pid()), "-m", "-n", "--"]

    def _spawn(self, log: Path, *argv: str) -> int:
        with log.open("ab") as file:
            command = ["sh", "-c", _SPAWN, str(self._own / "cgroup.procs"), *argv]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=file, text=True, check=True)
        return int(done.stdout)

    def _pid(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._holder.read_text())
            if self.has(pid):
                return pid
        return 0


def _is_namespaced(pid: int) -> bool:
    command = Path(f"/proc/{pid}/comm").read_text()  # gone, if no namespaces can be made here
    return command == "sleep\n"


def _hierarchies() -> list[Path]:
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [each for each in CGROUPS.iterdir() if each.is_dir() and not each.is_symlink()]


def _tree(folder: Path) -> list[Path]:
    """Return a folder and all below it, the deepest first."""
    return [Path(path) for path, _, _ in os.walk(folder, topdown=False)]


def _processes(folder: Path) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    return []
