"""The agent's HTTP server: `/metrics` for Prometheus, `/healthz` for the kubelet, and nothing else.

It runs in the agent's event loop, so an answer from `/healthz` proves that the loop turns, and readings need no locks. Whoever
may connect cannot hurt what matters: few connections at a time, the oldest of which gives way, a pause between them, one short
request each, an end to each wait, and a text that is made at most once a second.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import time
from collections.abc import Callable

from agent.errors import ConfigError
from agent.exposition import CONTENT_TYPE, Exposition
from agent.readings import Readings

__all__ = ["MetricsServer"]

_log = logging.getLogger(__name__)

MOST_CONNECTIONS = 8
"""Connections at a time: a few scrapers and the kubelet. With one more, the oldest is closed: whoever only connects and says
nothing keeps nobody out."""

PAUSE_S = 0.02
"""After each connection: 50 a second are many more than anyone needs, and cost 2 % of a core. Others wait in the kernel's
queue."""

TIMEOUT_S = 5.0
"""How long a connection may take from its first byte to its last."""

MAX_HEAD = 8192
"""Largest request that is read, bytes: a scraper's has some 400."""

FRESH_S = 1.0
"""How long a text is used again, seconds: making one costs 0.6 ms."""


class MetricsServer:
    """Serves on one address. Belongs to one event loop; start it once the agent does its work: answering means ready."""

    def __init__(self, address: str, read: Callable[[], Readings]) -> None:
        """`address` is HOST:PORT; `read` is called when somebody asks, from the event loop.

        Raises:
            ConfigError: the address is none.
        """
        self._address = address
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ConfigError(f"--metrics must be HOST:PORT, for example 127.0.0.1:7444; got {address!r}")
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)
        self._exposition = Exposition(read)
        self._text = b""
        self._text_until = -1.0
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: dict[asyncio.Task[None], socket.socket] = {}  # the oldest first

    @property
    def port(self) -> int:
        """The port that it listens on: another than asked for when that was 0."""
        return self._port

    async def start(self) -> None:
        """Listen and answer from now on.

        Raises:
            ConfigError: the address cannot be used.
        """
        try:
            self._socket = _listen(self._host, self._port)
        except OSError as error:
            why = "is used by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise ConfigError(f"--metrics {self._address} {why}; give another address, or stop what is there") from None
        self._port = self._socket.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept(self._socket))

    async def stop(self) -> None:
        """Close everything."""
        tasks = [*self._serving, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket:
            self._socket.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # no more descriptors, or a client that is gone already
                _log.debug("no connection: %s", error)
            else:
                if len(self._serving) >= MOST_CONNECTIONS:
                    next(iter(self._serving)).cancel()
                task = asyncio.create_task(self._serve(connection))
                self._serving[task] = connection
                task.add_done_callback(self._ended)
            await asyncio.sleep(PAUSE_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._serving.pop(task).close()

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                head = b""
                while b"\r\n\r\n" not in head and len(head) <= MAX_HEAD:
                    chunk = await loop.sock_recv(connection, MAX_HEAD)
                    if not chunk:
                        return
                    head += chunk
                await loop.sock_sendall(connection, self._answer(head))

    def _answer(self, head: bytes) -> bytes:
        """Return the whole response to a request."""
        words = head.partition(b"\r\n")[0].split(b" ")
        if b"\r\n\r\n" not in head or len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request")
        method, target, _ = words
        path = target.partition(b"?")[0]
        if path not in {b"/metrics", b"/healthz"}:
            return _response("404 Not Found")
        if method != b"GET":
            return _response("405 Method Not Allowed", fields="Allow: GET\r\n")
        if path == b"/healthz":
            return _response("200 OK", b"ok\n")
        try:
            return _response("200 OK", self._metrics(), f"Content-Type: {CONTENT_TYPE}\r\n")
        except Exception:  # noqa: BLE001 — a bug in a reading must not end the server, which the kubelet asks as well
            _log.exception("metrics cannot be read")
            return _response("500 Internal Server Error")

    def _metrics(self) -> bytes:
        now = time.monotonic()
        if now >= self._text_until:
            self._text = self._exposition.text()
            self._text_until = now + FRESH_S
        return self._text


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restarted agent need not wait for TIME_WAIT
        listening.bind(address)
        listening.listen(MOST_CONNECTIONS)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _response(status: str, body: bytes = b"", fields: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode("ascii") + body
