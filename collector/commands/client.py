"""Asks a running collector: the channel of the commands, and what its failures mean to the person who called."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from peerwatch.addresses import is_loopback
from peerwatch.v1 import query_pb2_grpc
from typing_extensions import override

from collector.errors import InputError, PeerwatchError, UnavailableError

__all__ = ["DEFAULT_SERVER", "TIMEOUT_S", "Server", "asking", "check_address", "connected"]

DEFAULT_SERVER = "127.0.0.1:7443"

TIMEOUT_S = 30.0
"""How long one answer may take; a stream that follows or replays has no such bound."""

FILE_MAX = 1 << 20
"""Of a certificate or a token, bytes; they have some thousands."""

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)

OPTIONS = (
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.keepalive_time_ms", 30_000),  # the collector permits one each 10 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_http_proxy", 0),  # the collector is inside the cluster
)


def check_address(address: str, option: str) -> str:
    """Return a HOST:PORT that is one.

    Raises:
        InputError: it is not.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise InputError(f"{option} must be HOST:PORT, not {address!r}; example: {option} {DEFAULT_SERVER}")
    return address


@dataclass(frozen=True, slots=True)
class Server:
    """A collector, how to know that it is the right one, and how it is to know who asks. Empty: not given."""

    address: str = DEFAULT_SERVER
    """HOST:PORT or unix:PATH."""
    ca: str = ""
    token: str = ""
    """Files."""

    def channel(self) -> grpc.Channel:
        """Return a channel to it.

        Raises:
            InputError: what was given is of no use, or would tell a secret to who listens.
        """
        local = self.address.startswith("unix:")
        if not local:
            check_address(self.address, "--server")
        if self.token and not self.ca and not local and not is_loopback(self.address):
            raise InputError(f"--token would be sent to {self.address} unencrypted: give --ca FILE, too")
        token = _read("--token", self.token).decode("ascii", "replace").strip() if self.token else ""
        if self.token and not _TOKEN.fullmatch(token):
            raise InputError(f"--token {self.token} holds no token; make one with kubectl create token")
        if self.ca and not local:
            trust = grpc.ssl_channel_credentials(_read("--ca", self.ca))
            channel = grpc.secure_channel(self.address, trust, options=OPTIONS)
        else:
            channel = grpc.insecure_channel(self.address, options=OPTIONS)
        return grpc.intercept_channel(channel, _Bearer(token)) if token else channel


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Sends a token with each call."""

    def __init__(self, token: str) -> None:
        self._metadata = ("authorization", f"Bearer {token}")

    @override
    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_token(client_call_details), request)

    @override
    def intercept_unary_stream(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_token(client_call_details), request)

    def _with_token(self, call: grpc.ClientCallDetails) -> _Details:
        metadata = (*(call.metadata or ()), self._metadata)
        return _Details(call.method, call.timeout, metadata, call.credentials, call.wait_for_ready, call.compression)


def _read(option: str, name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            data = file.read(FILE_MAX)
    except OSError as error:
        raise InputError(f"{option} {name}: {error.strerror}") from error
    if not data.strip():
        raise InputError(f"{option} {name} is empty")
    return data


@contextmanager
def connected(server: Server) -> Iterator[grpc.Channel]:
    """Give a channel to a collector.

    Raises:
        UnavailableError: it cannot be reached, or cannot answer now.
        InputError: it says that the question is wrong.
    """
    with server.channel() as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            raise _meaning(server, error) from error


@contextmanager
def asking(server: Server) -> Iterator[query_pb2_grpc.QueryServiceStub]:
    """Give the stub of a collector that answers questions; raises as `connected`."""
    with connected(server) as channel:
        yield query_pb2_grpc.QueryServiceStub(channel)


def _meaning(at: Server, error: grpc.RpcError) -> PeerwatchError:
    server = at.address
    call: Any = error  # what a call raises is its own grpc.Call, too; the types do not say so
    code, details = call.code(), call.details() or ""
    if code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}:
        return InputError(f"the collector at {server} says: {details}")
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
        return UnavailableError(
            f"the collector at {server} cannot be reached: {details or code.name};"
            " check that it runs, or name another with --server HOST:PORT or PEERWATCH_SERVER;"
            f" {_trust(at)}"
        )
    if code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
        return UnavailableError(f"the collector at {server} refuses this: {details}")
    return UnavailableError(f"the collector at {server} cannot answer now ({code.name}): {details}")


def _trust(server: Server) -> str:
    if server.address.startswith("unix:"):
        return "the socket must be this user's"
    return "its certificate must be for this name and of --ca" if server.ca else "if it speaks TLS, give --ca FILE"
