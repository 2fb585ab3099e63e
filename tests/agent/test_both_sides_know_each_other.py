"""The sender with real TLS: what it shows, what it waits for, and that a renewed token is shown before the old one ends."""

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from certificates import Issuer
from harness.ingest import free_port, until
from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.subjects import Subject
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc
from typing_extensions import override

from agent.credentials import Credentials, NotReadyError, Shown
from agent.errors import ConfigError
from agent.pace import Pace
from agent.step import Step
from agent.stream import Sender

FAST = Pace(retry_first_s=0.02, retry_cap_s=0.1, hello_s=2, renewal_s=0.05)


def table(start: int) -> EventColumns:
    builder = ColumnsBuilder()
    subject = builder.subject(Subject("c", "n"))
    for time in range(start, start + 10):
        builder.exec(time, subject, builder.process(pid=time, exe="/bin/true"))
    return builder.build()


class Ingest(ingest_pb2_grpc.IngestServiceServicer):
    """Acknowledges, and remembers what each connection showed."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.uris: list[bytes] = []
        self.received: list[int] = []

    @override
    async def Stream(
        self, request_iterator: AsyncIterator[ingest_pb2.StreamRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[ingest_pb2.StreamResponse]:
        self.shown += [str(value) for key, value in context.invocation_metadata() or () if key == "authorization"]
        self.uris += context.auth_context().get("peer_uri", [])
        last = max(self.received, default=0)
        async for request in request_iterator:
            if request.WhichOneof("message") == "batch":
                self.received.append(request.batch.sequence)
                last = max(last, request.batch.sequence)
            yield ingest_pb2.StreamResponse(acknowledged=last)


@contextlib.asynccontextmanager
async def listening(ingest: Ingest, port: int, issuer: Issuer, *, mutual: bool = False) -> AsyncIterator[None]:
    certificate, key = issuer.issue("server")
    clients = issuer.ca.read_bytes() if mutual else None
    trust = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())], clients, require_client_auth=mutual)
    server = grpc.aio.server()
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
    server.add_secure_port(f"127.0.0.1:{port}", trust)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def sending(credentials: Credentials, port: int) -> AsyncIterator[Sender]:
    sender = Sender(f"127.0.0.1:{port}", cluster="c", node="n", session="s", version="1", pace=FAST, credentials=credentials)
    run = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        await sender.close(0.5)
        await run


def write(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "issuer")


@pytest.fixture
def token(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first.token\n")
    return tmp_path / "token"


def test_events_go_to_the_collector_of_the_authority_with_the_token_of_the_pod(issuer: Issuer, token: Path) -> None:
    ingest = Ingest()

    async def main() -> None:
        port = free_port()
        async with listening(ingest, port, issuer), sending(Credentials(ca=str(issuer.ca), token=str(token)), port) as sender:
            await sender.put(Step([table(0)]))
            assert await sender.close(10) == 0

    asyncio.run(main())
    assert (ingest.shown, ingest.received) == (["Bearer first.token"], [1])


def test_nothing_is_shown_to_a_collector_of_another_authority(
    issuer: Issuer, token: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ingest = Ingest()

    async def main() -> None:
        port = free_port()
        other = Issuer(tmp_path / "other")
        async with listening(ingest, port, other), sending(Credentials(ca=str(issuer.ca), token=str(token)), port) as sender:
            await sender.put(Step([table(0)]))
            await until(lambda: "is not reachable" in caplog.text)
            assert sender.held_events == 10

    with caplog.at_level(logging.INFO, "agent"):
        asyncio.run(main())
    assert (ingest.shown, ingest.received) == ([], [])
    assert "first.token" not in caplog.text


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_an_authority_that_is_not_there_yet_is_waited_for_and_that_is_said_once(
    content: str | None,
    issuer: Issuer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ingest, ca, read = Ingest(), tmp_path / "mounted.crt", Credentials.read
    tries = []

    def counted(credentials: Credentials) -> Shown:
        tries.append(1)
        return read(credentials)

    monkeypatch.setattr(Credentials, "read", counted)
    if content is not None:
        ca.write_text(content)

    async def main() -> None:
        port = free_port()
        async with listening(ingest, port, issuer), sending(Credentials(ca=str(ca)), port) as sender:
            await sender.put(Step([table(0)]))
            await until(lambda: len(tries) > 5)
            issuer.ca.replace(ca)
            await until(lambda: ingest.received)
            assert await sender.close(10) == 0

    with caplog.at_level(logging.INFO, "agent"):
        asyncio.run(main())
    told = [record.getMessage() for record in caplog.records if record.name.startswith("agent")]
    assert len(told) == 2, told
    assert str(ca) in told[0]
    assert "is back" in told[1]


def test_a_renewed_token_is_shown_with_the_next_connection_and_nothing_is_sent_twice(issuer: Issuer, token: Path) -> None:
    ingest = Ingest()

    async def main() -> None:
        port = free_port()
        async with listening(ingest, port, issuer), sending(Credentials(ca=str(issuer.ca), token=str(token)), port) as sender:
            await sender.put(Step([table(0)]))
            await until(lambda: ingest.received)
            write(token, "second.token\n")
            await until(lambda: len(ingest.shown) == 2)
            await sender.put(Step([table(10)]))
            write(token, "")  # half written: the connection stays
            await until(lambda: len(ingest.received) == 2)
            assert await sender.close(10) == 0

    asyncio.run(main())
    assert (ingest.shown, ingest.received) == (["Bearer first.token", "Bearer second.token"], [1, 2])


def test_an_agent_shows_the_certificate_that_names_its_node(issuer: Issuer) -> None:
    ingest = Ingest()
    cert, key = issuer.issue("agent", uris=["peerwatch://node/n"])

    async def main() -> None:
        port = free_port()
        shown = Credentials(ca=str(issuer.ca), cert=str(cert), key=str(key))
        async with listening(ingest, port, issuer, mutual=True), sending(shown, port) as sender:
            await sender.put(Step([table(0)]))
            assert await sender.close(10) == 0

    asyncio.run(main())
    assert (set(ingest.uris), ingest.received) == ({b"peerwatch://node/n"}, [1])


@pytest.mark.parametrize("text", ["", "two words", "line\nline", "x" * 20_000, "\x00"])
def test_what_is_no_token_is_neither_sent_nor_quoted(text: str, token: Path) -> None:
    token.write_text(text)
    with pytest.raises(NotReadyError) as raised:
        Credentials(token=str(token)).read()
    assert str(raised.value) == f"--token {token} holds no token"


def test_what_is_shown_is_in_no_representation(issuer: Issuer, token: Path) -> None:
    cert, key = issuer.issue("agent")
    shown = Credentials(ca=str(issuer.ca), token=str(token), cert=str(cert), key=str(key)).read()

    assert shown.metadata == (("authorization", "Bearer first.token"),)
    assert repr(shown) == "Shown()"


@pytest.mark.parametrize(
    ("collector", "given", "words"),
    [
        ("collector.example:7443", {}, ["collector.example:7443", "--ca FILE", "--insecure"]),
        ("10.0.0.1:7443", {"token": "t"}, ["--token", "--ca FILE"]),
        ("10.0.0.1:7443", {"token": "t", "insecure": True}, ["--token", "--ca FILE"]),
        ("10.0.0.1:7443", {"ca": "c", "insecure": True}, ["--ca", "--insecure"]),
        ("127.0.0.1:7443", {"cert": "c"}, ["--cert", "--key"]),
        ("127.0.0.1:7443", {"cert": "c", "key": "k"}, ["--cert", "--ca FILE"]),
    ],
)
def test_an_agent_that_would_send_in_the_clear_is_not_started(
    collector: str, given: dict[str, str | bool], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        Credentials(**given).check(collector)  # type: ignore[arg-type]  # parametrised
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("collector", "given"),
    [
        ("127.0.0.1:7443", {}),
        ("localhost:7443", {"token": "t"}),
        ("[::1]:7443", {}),
        ("10.0.0.1:7443", {"insecure": True}),
        ("10.0.0.1:7443", {"ca": "c", "token": "t"}),
        ("10.0.0.1:7443", {"ca": "c", "cert": "c", "key": "k"}),
    ],
)
def test_these_agents_are_started(collector: str, given: dict[str, str | bool]) -> None:
    Credentials(**given).check(collector)  # type: ignore[arg-type]  # parametrised


def test_the_command_line_says_so_in_one_line_before_anything_is_started() -> None:
    program = Path(sys.executable).with_name("peerwatch-agent")
    done = subprocess.run(
        [program, "run", "--collector", "collector.example:7443"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "--ca FILE" in done.stderr
