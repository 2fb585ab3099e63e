"""The HTTP server: what it answers, and what slow, silent, wrong and many clients cannot do to it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from agent import metrics
from agent.errors import ConfigError
from agent.metrics import MAX_HEAD, MOST_CONNECTIONS, MetricsServer
from agent.readings import Readings

NOTHING = Readings(version="0.1.0")


def _serve(
    body: Callable[[MetricsServer], Awaitable[None]],
    *,
    address: str = "127.0.0.1:0",
    read: Callable[[], Readings] = lambda: NOTHING,
) -> None:
    async def run() -> None:
        server = MetricsServer(address, read)
        await server.start()
        try:
            await asyncio.wait_for(body(server), 30)
        finally:
            await server.stop()

    asyncio.run(run())


async def _ask(server: MetricsServer, request: bytes, host: str = "127.0.0.1") -> tuple[bytes, bytes]:
    """Return the head and the body of the answer."""
    reader, writer = await asyncio.open_connection(host, server.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_metrics_are_text_that_says_its_format_and_length() -> None:
    async def body(server: MetricsServer) -> None:
        head, text = await _ask(server, _get("/metrics"))
        lines = head.decode().split("\r\n")
        assert lines[0] == "HTTP/1.1 200 OK"
        assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in lines
        assert f"Content-Length: {len(text)}" in lines
        assert b'peerwatch_agent_build_info{version="0.1.0"} 1.0\n' in text

    _serve(body)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (_get("/healthz"), "200 OK"),
        (_get("/metrics?x=1"), "200 OK"),
        (b"GET /metrics HTTP/1.0\r\n\r\n", "200 OK"),
        (_get("/"), "404 Not Found"),
        (_get("/metrics/../etc/passwd"), "404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "405 Method Not Allowed"),
        (b"HEAD /healthz HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"GET /metrics HTTP/2.0\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x02\x00 TLS\r\n\r\n", "400 Bad Request"),
        (b"\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\n" + b"x" * MAX_HEAD, "400 Bad Request"),
    ],
)
def test_there_are_two_pages_and_one_method(request_: bytes, status: str) -> None:
    async def body(server: MetricsServer) -> None:
        head, _ = await _ask(server, request_)
        assert head.split(b"\r\n")[0].decode() == f"HTTP/1.1 {status}"

    _serve(body)


def test_a_request_may_come_in_pieces() -> None:
    async def body(server: MetricsServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for byte in _get("/healthz"):
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.read()).endswith(b"\r\n\r\nok\n")
        writer.close()

    _serve(body)


def test_a_client_that_takes_its_time_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "TIMEOUT_S", 0.05)

    async def body(server: MetricsServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /metrics HT")
        assert await reader.read() == b""
        writer.close()

    _serve(body)


def test_silent_clients_keep_nobody_out() -> None:
    async def body(server: MetricsServer) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2 * MOST_CONNECTIONS + 1)]
        head, _ = await _ask(server, _get("/healthz"))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await silent[0][0].read() == b""  # the oldest had to go
        for _, writer in silent:
            writer.close()

    _serve(body)


def test_a_client_that_goes_away_at_once_changes_nothing() -> None:
    async def body(server: MetricsServer) -> None:
        for _ in range(3):
            client = socket.create_connection(("127.0.0.1", server.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing it resets the connection
            client.close()
        head, _ = await _ask(server, _get("/healthz"))
        assert head.startswith(b"HTTP/1.1 200 ")

    _serve(body)


def test_many_questions_in_a_moment_are_one_reading() -> None:
    calls = []

    def read() -> Readings:
        calls.append(1)
        return NOTHING

    async def body(server: MetricsServer) -> None:
        answers = [await _ask(server, _get("/metrics")) for _ in range(7)]
        assert len({text for _, text in answers}) == 1
        assert len(calls) == 1

    _serve(body, read=read)


def test_a_bug_in_a_reading_is_an_error_of_its_page_only(caplog: pytest.LogCaptureFixture) -> None:
    def read() -> Readings:
        raise KeyError("bug")

    async def body(server: MetricsServer) -> None:
        head, _ = await _ask(server, _get("/metrics"))
        assert head.startswith(b"HTTP/1.1 500 ")
        head, _ = await _ask(server, _get("/healthz"))
        assert head.startswith(b"HTTP/1.1 200 ")

    _serve(body, read=read)
    assert caplog.messages == ["metrics cannot be read"]


@pytest.mark.parametrize("address", ["[::1]:0", "::1:0"])
def test_an_ipv6_address_needs_no_brackets_since_a_pod_s_comes_without(address: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")

    async def body(server: MetricsServer) -> None:
        head, _ = await _ask(server, _get("/healthz"), host="::1")
        assert head.startswith(b"HTTP/1.1 200 ")

    _serve(body, address=address)


@pytest.mark.parametrize("address", ["", "7444", ":7444", "host:", "host:x", "host:65536", "host:-1"])
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MetricsServer(address, lambda: NOTHING)

    assert str(caught.value) == f"--metrics must be HOST:PORT, for example 127.0.0.1:7444; got {address!r}"


def test_a_port_in_use_is_said_in_one_line() -> None:
    async def run(address: str) -> None:
        await MetricsServer(address, lambda: NOTHING).start()

    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught:
            asyncio.run(run(address))

    assert str(caught.value) == f"--metrics {address} is used by another program; give another address, or stop what is there"


def test_an_address_of_another_machine_is_said_in_one_line() -> None:
    async def run() -> None:
        await MetricsServer("192.0.2.1:7444", lambda: NOTHING).start()

    with pytest.raises(ConfigError, match=r"^--metrics 192\.0\.2\.1:7444 cannot be used: Cannot assign requested address; "):
        asyncio.run(run())


def test_after_the_end_nobody_listens_and_no_client_waits() -> None:
    async def run() -> None:
        server = MetricsServer("127.0.0.1:0", lambda: NOTHING)
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await _ask(server, _get("/healthz"))  # so the connection before it was taken, too
        await server.stop()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)

    asyncio.run(run())
