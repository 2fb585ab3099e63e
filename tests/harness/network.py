"""A network that ends in this machine: every pod has a namespace and an address, and nothing it sends gets out.

A namespace of its own holds a bridge, the pods' gateway and the whole of three documentation ranges (RFC 5737), so that a
connect to such an address is a real connect with a real answer: accepted where `listen` was called, refused elsewhere. What
is meant for any other address is answered as unreachable. No interface, address or route is added to the host, so several
networks with the same addresses can exist at once.
"""

import contextlib
import ctypes
import os
import shlex
import socket
import subprocess
import threading
from pathlib import Path

from harness.session import NETNS, Session, run

__all__ = ["Network"]

PREFIX = "10.213.0"
DOCUMENTATION = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
CLONE_NEWNET = 0x40000000
SYSCTL = "/proc/sys/net/ipv4"


class Network:
    """One bridge and the pods' namespaces on it, for as long as its session."""

    def __init__(self, session: Session) -> None:
        self.gateway = f"{PREFIX}.1"
        self._session = session
        self._prefix = session.name
        self._taken = 1
        self._lock = threading.Lock()
        self._inside = self._space("net")
        name = self._inside.name
        run(
            "ip", "-netns", name, "-batch", "-",
            text="\n".join((
                "link set lo up",
                "link add pw0 type bridge forward_delay 0 mcast_snooping 0",
                f"address add {self.gateway}/24 dev pw0",
                "link set pw0 up",
                *(f"route add local {each} dev lo" for each in DOCUMENTATION),
                "route add unreachable default",
            )),
        )  # fmt: skip
        # Forwarding makes the kernel answer for addresses it has no way to; there is no way out, so nothing is forwarded.
        self.run("sh", "-c", f"echo 1 > {SYSCTL}/ip_forward; echo 0 > {SYSCTL}/conf/all/rp_filter")

    def pod(self, label: str) -> tuple[Path, str]:
        """Give a pod a namespace and an address on the bridge."""
        with self._lock:
            self._taken += 1
            number = self._taken
        if number > 254:
            raise RuntimeError(f"all addresses of {PREFIX}.0/24 are taken")
        space = self._space(label)
        address = f"{PREFIX}.{number}"
        port = f"pw{number}"
        run(
            "ip", "-batch", "-",
            text=f"link add name eth0 netns {space.name} type veth peer name {port} netns {self._inside.name}\n",
        )  # fmt: skip
        run("ip", "-netns", self._inside.name, "-batch", "-", text=f"link set {port} master pw0 up\n")
        run(
            "ip", "-netns", space.name, "-batch", "-",
            text=f"link set lo up\naddress add {address}/24 dev eth0\nlink set eth0 up\n"
            f"route add default via {self.gateway}\n",
        )  # fmt: skip
        return space, address

    def release(self, space: Path) -> None:
        """Remove a pod's namespace, and with it its interface; its address is not given again."""
        subprocess.run(["ip", "netns", "delete", space.name], capture_output=True, check=False)

    def run(self, *argv: str, timeout: float = 30) -> str:
        """Run a program of the host beside the bridge (not `ip netns exec`, which hides the cgroups)."""
        return run("nsenter", f"--net={self._inside}", "--", *argv, timeout=timeout)

    def make_socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Return an IPv4 socket beside the bridge: a socket stays in the namespace in which it was made."""
        made: list[socket.socket] = []
        errors: list[OSError] = []

        def make() -> None:
            # In a thread of its own: only that thread changes its namespace, and it ends.
            handle = os.open(self._inside, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
                    number = ctypes.get_errno()
                    raise OSError(number, f"setns {self._inside}: {os.strerror(number)}")  # noqa: TRY301 — passed to the caller
                made.append(socket.socket(socket.AF_INET, kind))
            except OSError as error:
                errors.append(error)
            finally:
                os.close(handle)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return made[0]

    def listen(self, address: str, port: int) -> socket.socket:
        """Return a listening TCP socket on the gateway or on any documentation address."""
        listener = self.make_socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(64)
        except BaseException:
            listener.close()
            raise
        return listener

    def connect(self, address: str, port: int, timeout: float = 5) -> socket.socket:
        """Return a TCP connection to a pod, as from another machine of the cluster's network."""
        connection = self.make_socket()
        try:
            connection.settimeout(timeout)
            connection.connect((address, port))
        except BaseException:
            connection.close()
            raise
        return connection

    def _space(self, label: str) -> Path:
        name = f"{self._prefix}-{label}"
        if shlex.quote(name) != name or len(name) > 200:
            raise ValueError(f"not usable as the name of a network namespace: {name!r}")
        run("ip", "netns", "add", name)
        path = NETNS / name
        self._session.on_exit(lambda: self._delete(path))
        return path

    def _delete(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            if path.exists():
                self.release(path)
