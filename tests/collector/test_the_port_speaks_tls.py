import datetime
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from certificates import Issuer
from collector_harness import Command, Daemon, Events, eventually
from cryptography import x509
from peerwatch import wire
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc

from collector.access.authority import Authority
from collector.access.publishing import Publisher
from collector.errors import UnavailableError

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "issuer")


def asked(address: str, ca: Path) -> query_pb2.GetStatusResponse:
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(ca.read_bytes())) as channel:
        return query_pb2_grpc.QueryServiceStub(channel).GetStatus(query_pb2.GetStatusRequest(), timeout=10)


def trusts(address: str, ca: Path) -> bool:
    try:
        return asked(address, ca).version != ""
    except grpc.RpcError as error:
        return error.code() is not grpc.StatusCode.UNAVAILABLE


def test_a_certificate_that_is_replaced_is_shown_from_the_next_connection_on(
    daemons: Callable[..., Daemon], issuer: Issuer, tmp_path: Path
) -> None:
    certificate, key = issuer.issue("tls")
    daemon = daemons("--tls-cert", str(certificate), "--tls-key", str(key))
    assert trusts(daemon.address, issuer.ca)

    other = Issuer(tmp_path / "other")
    for new, old in zip(other.issue("tls"), (certificate, key), strict=True):
        new.replace(old)
    assert trusts(daemon.address, other.ca)
    assert not trusts(daemon.address, issuer.ca)

    key.write_text("half of a key")
    assert trusts(daemon.address, other.ca)
    assert "stays in use" in daemon.log()
    assert "half of a key" not in daemon.log()


def test_what_is_no_tls_costs_the_port_nothing(daemons: Callable[..., Daemon], issuer: Issuer, peerwatch: Command) -> None:
    certificate, key = issuer.issue("tls")
    daemon = daemons("--tls-cert", str(certificate), "--tls-key", str(key))
    host, port = daemon.address.split(":")
    strangers = [socket.create_connection((host, int(port))) for _ in range(50)]
    for number, stranger in enumerate(strangers):
        stranger.sendall(os.urandom(10_000) if number % 2 else b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    done = peerwatch("status", "--server", daemon.address)
    assert (done.returncode, "--ca FILE" in done.stderr) == (3, True)
    assert trusts(daemon.address, issuer.ca)
    for stranger in strangers:
        stranger.close()


def test_a_key_of_another_certificate_is_an_error_that_names_the_files(
    issuer: Issuer, peerwatch: Command, tmp_path: Path
) -> None:
    certificate, other_key = issuer.issue("tls")[0], issuer.issue("other")[1]
    options = ["--listen", "127.0.0.1:0", "--data", tmp_path / "d", "--tls-cert", certificate, "--tls-key", other_key]
    done = peerwatch("collector", *options)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(certificate) in done.stderr
    assert str(other_key) in done.stderr


@pytest.fixture
def own(daemons: Callable[..., Daemon], tmp_path: Path) -> Daemon:
    return daemons("--own-ca", str(tmp_path / "own"), "--tls-name", "collector.example", "--socket", str(tmp_path / "socket"))


def test_an_own_authority_needs_no_more_than_a_folder_and_a_socket_no_more_than_a_path(
    own: Daemon, peerwatch: Command, tmp_path: Path
) -> None:
    keys = sorted((tmp_path / "own").glob("*.key"))
    assert [stat.S_IMODE(each.stat().st_mode) for each in (*keys, tmp_path / "socket")] == [0o600] * 3
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    for options in (("--server", own.address, "--ca", tmp_path / "own/ca.crt"), ("--server", f"unix:{tmp_path / 'socket'}")):
        assert peerwatch("status", *options).stdout.startswith("collector ")

    authority = (tmp_path / "own/ca.crt").read_bytes()
    own.end()
    assert not (tmp_path / "socket").exists()
    own.start()
    assert (tmp_path / "own/ca.crt").read_bytes() == authority
    own.end(signal.SIGKILL)
    own.start()  # over the socket that was left behind
    assert peerwatch("status", "--server", f"unix:{tmp_path / 'socket'}").returncode == 0


def names(folder: Path) -> list[str]:
    certificate = x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in found]


def test_a_certificate_of_an_own_authority_is_renewed_in_time(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "own", ["a.example", "10.0.0.1"])
    renewed = [authority.renew(NOW + days * DAY) for days in (0, 0, 59, 60, 61, 119, 120)]

    assert renewed == [True, False, False, True, False, False, True]
    assert names(tmp_path / "own") == ["a.example", "10.0.0.1", "localhost", "127.0.0.1", "::1"]


def test_another_name_is_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    first = Authority(tmp_path / "own", ["a.example"])
    assert first.renew(NOW)
    trusted = first.certificate
    second = Authority(tmp_path / "own", ["b.example"])

    assert second.renew(NOW)
    assert (second.certificate, names(tmp_path / "own")[0]) == (trusted, "b.example")


@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
def test_a_damaged_certificate_is_replaced(tmp_path: Path, name: str) -> None:
    authority = Authority(tmp_path / "own", [])
    authority.renew(NOW)
    (tmp_path / "own" / name).write_bytes(b"torn")

    assert authority.renew(NOW)
    assert not authority.renew(NOW)


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
def test_a_damaged_authority_is_told_and_not_replaced(tmp_path: Path, name: str) -> None:
    authority = Authority(tmp_path / "own", [])
    authority.renew(NOW)
    (tmp_path / "own" / name).write_bytes(b"torn")

    with pytest.raises(UnavailableError, match="restore them"):
        authority.renew(NOW)
    assert (tmp_path / "own" / name).read_bytes() == b"torn"


def test_the_end_of_an_authority_is_told_a_year_before_and_removing_it_makes_a_new_one(
    daemons: Callable[..., Daemon], peerwatch: Command, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    Authority(own, []).renew(datetime.datetime.now(datetime.UTC) - 3_300 * DAY)
    daemon = daemons("--own-ca", str(own))
    said = peerwatch("status", "--server", daemon.address, "--ca", own / "ca.crt").stdout
    ends = x509.load_pem_x509_certificate((own / "ca.crt").read_bytes()).not_valid_after_utc
    assert f"the collector's authority ends on {ends:%Y-%m-%dT%H:%M:%SZ}: " in said
    assert f"the authority in {own} ends on {ends}" in daemon.log()

    daemon.end()
    former = (own / "ca.crt").rename(tmp_path / "former.crt")
    for name in ("ca.key", "tls.crt", "tls.key"):
        (own / name).unlink()
    daemon.start()
    assert "authority ends" not in peerwatch("status", "--server", daemon.address, "--ca", own / "ca.crt").stdout
    assert not trusts(daemon.address, former)


class ConfigMap:
    """Stands for an API server that has one, and for somebody who changes it meanwhile."""

    def __init__(self) -> None:
        self.value: dict[str, object] = {"metadata": {"resourceVersion": "1"}}
        self.puts = 0

    def request(self, method: str, path: str, *, body: object = None, timeout_s: float) -> object:
        assert (path, timeout_s > 0) == ("/api/v1/namespaces/peerwatch/configmaps/ca", True)
        if method == "PUT":
            assert isinstance(body, dict)
            self.value = body
            self.puts += 1
        return self.value


def test_an_authority_is_published_again_when_something_else_is_there() -> None:
    place, certificates = ConfigMap(), ["first", "first", "first", "second"]
    publisher = Publisher(place, "peerwatch/ca", lambda: certificates[0])  # type: ignore[arg-type]  # as much as it needs

    assert publisher.publish()
    assert publisher.publish()
    assert place.puts == 1
    place.value = {"metadata": {"resourceVersion": "9"}, "data": {"ca.crt": "of a stranger", "other": "kept"}}
    assert publisher.publish()
    assert place.value == {"metadata": {"resourceVersion": "9"}, "data": {"ca.crt": "first", "other": "kept"}}


@pytest.fixture
def mutual(daemons: Callable[..., Daemon], issuer: Issuer, tmp_path: Path) -> Daemon:
    return daemons(
        *("--own-ca", str(tmp_path / "own"), "--agents", f"certificates:{issuer.ca}", "--socket", str(tmp_path / "socket"))
    )


def stream(
    daemon: Daemon, own: Path, files: tuple[Path, Path] | None, *requests: ingest_pb2.StreamRequest
) -> tuple[list[int], grpc.StatusCode | None]:
    """Send requests as an agent with this certificate; return the acknowledgements and how it was refused."""
    key, certificate = (None, None) if files is None else (files[1].read_bytes(), files[0].read_bytes())
    trust = grpc.ssl_channel_credentials((own / "ca.crt").read_bytes(), key, certificate)
    heard: list[int] = []
    with grpc.secure_channel(daemon.address, trust) as channel:
        try:
            responses = ingest_pb2_grpc.IngestServiceStub(channel).Stream(iter(requests), timeout=20)
            heard.extend(response.acknowledged for response in responses)
        except grpc.RpcError as error:
            return heard, error.code()
    return heard, None


def test_an_agent_with_a_certificate_speaks_for_the_node_in_it_and_for_no_other(
    mutual: Daemon, issuer: Issuer, tmp_path: Path, events: Events
) -> None:
    def hello(node: str) -> ingest_pb2.StreamRequest:
        return ingest_pb2.StreamRequest(hello=ingest_pb2.Hello(cluster="test", node=node, session="s"))

    own = tmp_path / "own"
    batch = ingest_pb2.StreamRequest(batch=ingest_pb2.EventBatch(sequence=1, columns=wire.encode(events.table())))
    good = issuer.issue("good", uris=["peerwatch://node/node-1", "spiffe://example/node"], common_name="node-2")
    assert stream(mutual, own, good, hello("node-1"), batch) == ([0, 1], None)
    assert stream(mutual, own, good, hello("node-1"), batch) == ([1, 1], None)  # replayed, and not stored again

    assert stream(mutual, own, good, hello("node-2"), batch) == ([], grpc.StatusCode.PERMISSION_DENIED)
    for number, uris in enumerate(([], ["peerwatch://node/"], ["peerwatch://node/a", "peerwatch://node/b"])):
        bad = issuer.issue(f"bad{number}", uris=uris, common_name="node-1")
        assert stream(mutual, own, bad, hello("node-1"), batch) == ([], grpc.StatusCode.UNAUTHENTICATED)
    foreign = Issuer(tmp_path / "foreign").issue("agent", uris=["peerwatch://node/node-1"])
    for files in (foreign, None):
        assert stream(mutual, own, files, hello("node-1"), batch) == ([], grpc.StatusCode.UNAVAILABLE)

    with grpc.insecure_channel(f"unix:{tmp_path / 'socket'}") as channel:
        status = query_pb2_grpc.QueryServiceStub(channel).GetStatus(query_pb2.GetStatusRequest(), timeout=10)
    assert [(agent.node, agent.events) for agent in status.agents] == [("node-1", events.of_a_table)]
    assert (status.refused["hello_of_another_node"], status.refused["no_node"], status.refused["duplicate_batch"]) == (1, 3, 1)
    assert mutual.log().count("says that it is node 'node-2'") == 1


def is_heard(daemon: Daemon, session: str) -> bool:
    try:
        return daemon.agent(session=session).acknowledged == 0
    except grpc.RpcError as error:
        return error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_node_that_opens_streams_without_end_has_a_few(daemon: Daemon, events: Events) -> None:
    kept = [daemon.agent(session=f"s{number}") for number in range(8)]
    stranger = daemon.agent(hello=False)
    stranger.send(ingest_pb2.StreamRequest(hello=ingest_pb2.Hello(cluster="test", node="node-1", session="more")))
    with pytest.raises(grpc.RpcError) as raised:
        next(stranger.responses)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    daemon.agent(node="node-2").store(1, events.table(node="node-2"))  # another node does not suffer

    kept[0].close()
    eventually(lambda: is_heard(daemon, "again"))
    assert daemon.status().refused["too_many_streams"] >= 1


def test_garbage_in_a_stream_ends_it_and_is_counted(daemon: Daemon, events: Events) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        call = channel.stream_stream("/peerwatch.v1.IngestService/Stream")
        hello = ingest_pb2.StreamRequest(hello=ingest_pb2.Hello(cluster="test", node="node-1", session="s"))
        with pytest.raises(grpc.RpcError) as raised:
            list(call(iter([hello.SerializeToString(), b"\xff" * 1000]), timeout=20))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert daemon.status().refused["bad_message"] == 1
    daemon.agent().store(1, events.table())
