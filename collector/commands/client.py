"""Asks a running collector: the channel of the commands, and what its failures mean to the person who called."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from peerwatch.v1 import query_pb2_grpc

from collector.errors import InputError, PeerwatchError, UnavailableError

__all__ = ["DEFAULT_SERVER", "TIMEOUT_S", "asking", "check_address", "connected"]

DEFAULT_SERVER = "127.0.0.1:7443"

TIMEOUT_S = 30.0
"""How long one answer may take; a stream that follows or replays has no such bound."""

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


@contextmanager
def connected(server: str) -> Iterator[grpc.Channel]:
    """Give a channel to a collector.

    Raises:
        UnavailableError: it cannot be reached, or cannot answer now.
        InputError: it says that the question is wrong.
    """
    check_address(server, "--server")
    with grpc.insecure_channel(server, options=OPTIONS) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            raise _meaning(server, error) from error


@contextmanager
def asking(server: str) -> Iterator[query_pb2_grpc.QueryServiceStub]:
    """Give the stub of a collector that answers questions; raises as `connected`."""
    with connected(server) as channel:
        yield query_pb2_grpc.QueryServiceStub(channel)


def _meaning(server: str, error: grpc.RpcError) -> PeerwatchError:
    call: Any = error  # what a call raises is its own grpc.Call, too; the types do not say so
    code, details = call.code(), call.details() or ""
    if code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}:
        return InputError(f"the collector at {server} says: {details}")
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
        return UnavailableError(
            f"the collector at {server} cannot be reached: {details or code.name};"
            " check that it runs, or name another with --server HOST:PORT or PEERWATCH_SERVER"
        )
    return UnavailableError(f"the collector at {server} cannot answer now ({code.name}): {details}")
