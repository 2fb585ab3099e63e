"""One container, as a container runtime on a node would start it: runc, overlayfs, its pod's cgroup and network namespace.

Knows nothing of Kubernetes save the shape of the cgroup path, which is what a kernel-side observer reads.
"""

import json
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.rootfs import PATH, Base, Layers, Program
from harness.session import CGROUP_PARENT, Session, remove_cgroups, run, shared_cgroups

__all__ = ["Container"]

CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID",
    "CAP_SYS_CHROOT",
)  # fmt: skip
MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware")
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Container:
    """A runc container in the cgroup of its pod and the network namespace that it is given."""

    def __init__(
        self,
        session: Session,
        layers: Layers,
        program: Program,
        *,
        pod_uid: str,
        network: Path,
        hostname: str = "container",
        hosts: Mapping[str, str] | None = None,
        pids: Path | None = None,
    ) -> None:
        """`pids`: the pid namespace that it joins, as with shareProcessNamespace or hostPID; None: its own."""
        self.id = secrets.token_hex(32)
        self.pod_uid = pod_uid
        self.program = program
        self.pid = 0
        self.started_at = 0.0
        self.cgroup = "/" + str(CGROUP_PARENT / f"pod{pod_uid}" / self.id)
        self._session = session
        self._layers = layers
        self._network = network
        self._hostname = hostname
        self._hosts = dict(hosts or {})
        self._pids = pids
        self._path = session.path / "containers" / self.id
        self._state = session.path / "runc"
        self.rootfs = self._path / "rootfs"
        self.upper = self._path / "upper"
        self.log = self._path / "log"

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Remove it."""
        self.delete()

    def start(self) -> Self:
        """Mount its files and start its first process.

        Raises:
            RuntimeError: runc refused; the text holds its words.
        """
        for path in (self.rootfs, self.upper, self._path / "work"):
            path.mkdir(parents=True)
        # By this a sweep knows which cgroups were this session's.
        (self._session.path / "pods" / self.pod_uid).mkdir(parents=True, exist_ok=True)
        lower = ":".join(map(str, self._layers.of(self.program)))
        options = f"lowerdir={lower},upperdir={self.upper},workdir={self._path / 'work'}"
        run("mount", "-t", "overlay", "overlay", "-o", options, str(self.rootfs))
        (self._path / "hosts").write_text(
            "".join(f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **self._hosts}.items())
        )
        (self._path / "config.json").write_text(json.dumps(self._config()))
        pid_file = self._path / "pid"
        command = ["run", "--detach", "--bundle", str(self._path), "--pid-file", str(pid_file), self.id]
        # Not through pipes: the container's processes inherit them and would keep them open.
        with self.log.open("wb") as log, shared_cgroups():
            done = subprocess.run(
                ["runc", "--root", str(self._state), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
        if done.returncode:
            raise RuntimeError(f"runc cannot start {self.program.argv}: {self.log.read_text()[-2000:].strip()}")
        self.started_at = time.time()
        self.pid = int(pid_file.read_text())
        return self

    def exec(
        self, *argv: str, text: str | None = None, timeout: float = 30, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in it to its end, as `kubectl exec` does: not a child of the container's first process.

        Raises:
            RuntimeError: it failed and `check` was asked for.
        """
        done = subprocess.run(
            self.exec_command(*argv), input=text, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip()[:2000]}")
        return done

    def exec_command(self, *argv: str) -> list[str]:
        """Return the command on the host that runs a program in it, for callers that want to hold its process."""
        environment = [f"--env={name}={value}" for name, value in self._environment().items()]
        user = f"--user={self.program.user}:{self.program.user}"
        return ["runc", "--root", str(self._state), "exec", user, *environment, self.id, *argv]

    def running(self) -> bool:
        """Return whether its first process lives."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to its first process."""
        run("runc", "--root", str(self._state), "kill", self.id, str(int(number)))

    def delete(self) -> None:
        """End all its processes and remove its mounts, files and cgroups; harmless if it is gone."""
        if (self._state / self.id).exists():
            run("runc", "--root", str(self._state), "delete", "--force", self.id)
        if self.rootfs.is_mount():
            run("umount", str(self.rootfs))
        shutil.rmtree(self._path, ignore_errors=True)
        remove_cgroups([self.pod_uid])

    def _environment(self) -> dict[str, str]:
        return {"PATH": PATH, "HOME": "/root", "HOSTNAME": self._hostname, **self.program.environment}

    def _config(self) -> dict[str, Any]:
        capabilities = list(CAPABILITIES)
        return {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": False,
                "user": {"uid": self.program.user, "gid": self.program.user},
                "args": list(self.program.argv),
                "env": [f"{name}={value}" for name, value in self._environment().items()],
                "cwd": self.program.cwd,
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            },
            "root": {"path": str(self.rootfs), "readonly": False},
            "hostname": self._hostname,
            "mounts": [*_mounts(self.program.base), *self._files()],
            "linux": {
                "cgroupsPath": self.cgroup,
                "namespaces": [
                    *({"type": name} for name in ("mount", "ipc", "uts")),
                    {"type": "pid"} | ({} if self._pids is None else {"path": str(self._pids)}),
                    {"type": "network", "path": str(self._network)},
                ],
                "resources": {"devices": [{"allow": False, "access": "rwm"}]},
                "maskedPaths": list(MASKED),
                "readonlyPaths": list(READ_ONLY),
            },
        }

    def _files(self) -> list[dict[str, Any]]:
        """Mount over the image what a kubelet mounts over it."""
        hosts = self._path / "hosts"
        return [_mount("/etc/hosts", "bind", str(hosts), ("bind", "ro"))]


def _mount(destination: str, kind: str, source: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _mounts(base: Base) -> list[dict[str, Any]]:
    mounts = [
        _mount("/proc", "proc", "proc", ()),
        _mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        _mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")),
        _mount("/dev/shm", "tmpfs", "shm", ("nosuid", "nodev", "mode=1777", "size=16m")),
        _mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
        _mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ]
    if base is Base.HOST:
        mounts.append(_mount("/usr", "bind", "/usr", ("bind", "ro", "nodev")))
    return mounts
