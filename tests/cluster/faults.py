"""A proxy in front of the API server that passes everything on, and breaks what a test tells it to break, over real TLS."""

import contextlib
import http.client
import http.server
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.api import Api

__all__ = ["CUT", "EXPIRED", "STALL", "Fault", "Proxy", "status"]


@dataclass(frozen=True)
class Fault:
    """What happens to one request: the answer ends, or stays silent, after so many bytes; or it is another one."""

    name: str
    after: int = 0
    """Bytes of the server's own answer that are passed on before."""
    answer: int = 0
    """HTTP status, instead of the server's answer."""
    headers: tuple[tuple[str, str], ...] = ()
    ending: bytes = b""
    """What the server does not say, but a client hears, as the last line."""
    silent: bool = False


def status(code: int, **headers: str) -> Fault:
    """Return a refusal; `retry_after="1"` becomes a header."""
    return Fault(f"HTTP {code}", answer=code, headers=tuple((name.replace("_", "-"), text) for name, text in headers.items()))


def CUT(after: int) -> Fault:  # noqa: N802 — reads like the constants beside it
    """Return an answer that ends in the middle."""
    return Fault(f"cut after {after} bytes", after=after)


def STALL(after: int) -> Fault:  # noqa: N802 — reads like the constants beside it
    """Return an answer that falls silent in the middle, its connection open."""
    return Fault(f"silent after {after} bytes", after=after, silent=True)


_GONE = b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}'
EXPIRED = Fault("expired", ending=_GONE + b"\n")
"""A watch that ends at once, because its resource version is too old."""


class Proxy:
    """Listens on loopback; `url` is where. Each request takes the next fault of `plan`, if there is one."""

    def __init__(self, api: Api, pki: Path) -> None:
        """`pki`: the certificate that it shows is the API server's own. Who asks is the client's to say, by a token."""
        self.plan: deque[Fault] = deque()
        self.met: list[str] = []
        """What happened to requests, by the names of the faults."""
        self.asked: list[tuple[float, str]] = []
        """When each request came, monotonic, and its path."""
        self.api = api.with_token("")
        self._open: set[_Handler] = set()
        self._lock = threading.Lock()
        self._healed = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        self._server = _Server(self, context)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    @property
    def lists(self) -> int:
        """How many lists were asked for."""
        return sum("watch=true" not in path for _, path in list(self.asked))

    @property
    def watched(self) -> bool:
        """Whether a watch is under way."""
        with self._lock:
            return any("watch=true" in handler.path for handler in self._open)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.shutdown()
        self.heal()
        self._server.server_close()

    def break_off(self) -> None:
        """End every answer that is under way: whoever listened must ask again."""
        with self._lock:
            for handler in self._open:
                handler.hang_up()

    def heal(self) -> None:
        """Forget all faults, and end what they hold."""
        self.plan.clear()
        self._healed.set()
        self.break_off()

    @contextlib.contextmanager
    def serving(self, handler: "_Handler") -> Iterator[Fault | None]:
        with self._lock:
            self.asked.append((time.monotonic(), handler.path))
            fault = self.plan.popleft() if self.plan else None
            if fault is not None:
                self.met.append(fault.name)
                self._healed.clear()
            self._open.add(handler)
        try:
            yield fault
        finally:
            with self._lock:
                self._open.discard(handler)

    def hold(self) -> None:
        """Wait until faults are forgotten."""
        self._healed.wait(120)


Request = socket.socket | tuple[bytes, socket.socket]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxy: Proxy, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy, self.context = proxy, context

    def finish_request(self, request: Request, client_address: object) -> None:
        # The handshake belongs to the connection's own thread: who does not shake hands must not stop the others.
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)

    def handle_error(self, request: Request, client_address: object) -> None:
        """Say nothing: clients that leave are what this is for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    _upstream: http.client.HTTPConnection | None = None

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def hang_up(self) -> None:
        """End this answer, from any thread: its connection breaks."""
        upstream = self._upstream.sock if self._upstream is not None else None
        for end in (self.connection, upstream):
            if end is not None:
                with contextlib.suppress(OSError):
                    # Not TLS's own: that would pull the connection away under the thread that reads it.
                    socket.socket.shutdown(end, socket.SHUT_RDWR)

    def _serve(self) -> None:
        self.close_connection = True
        proxy = self.server.proxy
        with proxy.serving(self) as fault:
            if fault is not None and fault.answer:
                self._refuse(fault)
                return
            headers = {name: text for name, text in self.headers.items() if name.lower() not in {"host", "connection"}}
            length = int(self.headers.get("Content-Length", 0))
            with contextlib.closing(self.server.proxy.api.connect(600)) as self._upstream:
                try:
                    self._upstream.request(self.command, self.path, self.rfile.read(length) if length else None, headers)
                    response = self._upstream.getresponse()
                except (OSError, http.client.HTTPException):
                    return  # no server, no answer
                with response:
                    self._pass_on(response, fault)

    def _refuse(self, fault: Fault) -> None:
        self.send_response(fault.answer)
        for name, text in (*fault.headers, ("Content-Length", "0"), ("Connection", "close")):
            self.send_header(name, text)
        self.end_headers()

    def _pass_on(self, response: http.client.HTTPResponse, fault: Fault | None) -> None:
        self.send_response(response.status)
        for name in ("Content-Encoding", "Content-Type", "Retry-After"):
            if response.headers.get(name):
                self.send_header(name, response.headers[name])
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")  # said, since it is done: a request on its way would be lost
        self.end_headers()
        left = fault.after if fault is not None else None
        while left is None or left > 0:
            try:
                part = response.read1(1 << 16)
            except (OSError, http.client.HTTPException):
                return  # it was cut off there: here, too
            if not part:
                break
            if left is not None:
                part = part[:left]
                left -= len(part)
            self._chunk(part)
        if fault is not None and fault.ending:
            self._chunk(fault.ending)
        if fault is None or fault.ending:
            self._chunk(b"")  # the end, in order
        elif fault.silent:
            self.server.proxy.hold()

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()
