"""The demo's world: a Deployment `cart` that serves customers, and a quiet `db` behind it."""

import contextlib
import http.client
import random
import socket
import threading
import time
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from harness import Program, World

__all__ = ["CART_PORT", "NAMESPACE", "NODE", "SERVICES", "Shop", "Way", "get"]

NAMESPACE = "shop"
NODE = "demo-node"
CART_PORT = 8080
SERVICES = Path(__file__).parent / "services"
START_LIMIT_S = 20.0
"""How long the services may take until they answer; usually half a second."""


class Way(Protocol):
    """How a stranger comes to the shop."""

    def connect(self, address: str, port: int, timeout: float = 5) -> socket.socket:
        """Return a connection to an address of the shop."""


def get(way: Way, address: str, path: str, timeout: float = 5) -> str:
    """Ask a replica over HTTP, as a stranger on the cluster's network."""
    connection = http.client.HTTPConnection(address, CART_PORT, timeout=timeout)
    connection.sock = way.connect(address, CART_PORT, timeout)
    with contextlib.closing(connection):
        connection.request("GET", urllib.parse.quote(path, safe="/?="))
        return connection.getresponse().read().decode()


class Shop:
    """The two deployments in a world, and customers while it is open."""

    def __init__(self, world: World, replicas: int, dice: random.Random) -> None:
        self.world = world
        self.customers = 0
        self._dice = dice
        self._closed = threading.Event()
        self._crowd = threading.Thread(target=self._shopping, name="customers", daemon=True)
        self.db = world.deploy("db", namespace=NAMESPACE, replicas=2, program=_program("db"))
        databases = {f"db-{number}": replica.ip for number, replica in enumerate(self.db.replicas)}
        self.cart = world.deploy(
            "cart", namespace=NAMESPACE, replicas=replicas, program=_program("cart", databases), hosts=databases
        )

    def __enter__(self) -> Self:
        """Wait until every replica answers, then let customers in."""
        deadline = time.monotonic() + START_LIMIT_S
        for replica in self.cart.replicas:
            while True:
                try:
                    get(self.world.network, replica.ip, "/cart")
                except OSError as error:
                    if time.monotonic() > deadline:
                        words = replica.container.log.read_text()[-500:]
                        raise RuntimeError(f"{replica.name} does not answer: {error}; it says: {words}") from None
                    time.sleep(0.1)
                else:
                    break
        self._crowd.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Send the customers home; the world removes the rest."""
        self._closed.set()
        self._crowd.join(10)

    def _shopping(self) -> None:
        while not self._closed.wait(self._dice.uniform(0.1, 0.5)):
            with contextlib.suppress(OSError):
                get(self.world.network, self._dice.choice(self.cart.replicas).ip, "/cart")
                self.customers += 1


def _program(name: str, databases: dict[str, str] | None = None) -> Program:
    path = f"/app/{name}.py"
    return Program(
        argv=("/usr/bin/python3", path),
        files={path: (SERVICES / f"{name}.py").read_text()},
        environment={"DATABASES": ",".join(databases or {}), "PYTHONDONTWRITEBYTECODE": "1"},
        image=f"{NAMESPACE}/{name}:1.4.2",
    )
