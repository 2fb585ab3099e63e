from pathlib import Path
from typing import Any

import pytest
from collector_harness import Command
from peerwatch.addresses import is_loopback

from collector.access.settings import AccessSettings
from collector.commands.client import Server
from collector.errors import InputError

ALL, TLS = "0.0.0.0:7443", {"own_ca": Path("ca")}


@pytest.mark.parametrize(
    ("listen", "settings"),
    [
        ("127.0.0.1:7443", {}),
        ("[::1]:7443", {}),
        ("localhost:0", {}),
        (ALL, {"insecure": True}),
        (ALL, TLS | {"agents": "anyone", "users": "anyone"}),
        (ALL, TLS | {"agents": "kubernetes:peerwatch/peerwatch-agent", "users": "kubernetes"}),
        (ALL, TLS | {"agents": "certificates:ca.pem", "users": "kubernetes", "publish_ca": "peerwatch/ca"}),
        (ALL, {"tls_cert": Path("c"), "tls_key": Path("k"), "agents": "anyone", "users": "kubernetes"}),
        (ALL, TLS | {"agents": "anyone", "users": "anyone", "tls_names": ("a.example", "*.svc", "10.0.0.1", "::1")}),
    ],
)
def test_these_may_be(listen: str, settings: dict[str, Any]) -> None:
    AccessSettings(**settings).check(listen)


@pytest.mark.parametrize(
    ("listen", "settings", "words"),
    [
        (ALL, {}, ["--listen 0.0.0.0:7443", "--own-ca", "--tls-cert", "--insecure"]),
        ("collector.example:7443", {"agents": "anyone", "users": "anyone"}, ["--own-ca"]),
        ("127.0.0.1.example:7443", {}, ["--own-ca"]),
        (ALL, TLS, ["--agents", "kubernetes:NAMESPACE/SERVICEACCOUNT"]),
        (ALL, TLS | {"agents": "anyone"}, ["--users kubernetes"]),
        ("127.0.0.1:1", {"agents": "kubernetes:peerwatch-agent"}, ["--agents", "kubernetes:NAMESPACE/SERVICEACCOUNT"]),
        ("127.0.0.1:1", {"agents": "kubernetes:a.b/c"}, ["--agents"]),
        ("127.0.0.1:1", {"agents": "certificates:"}, ["--agents"]),
        ("127.0.0.1:1", {"agents": "nobody"}, ["--agents", "anyone"]),
        ("127.0.0.1:1", {"agents": "certificates:ca.pem"}, ["TLS", "--own-ca"]),
        ("127.0.0.1:1", {"users": "certificates"}, ["--users"]),
        ("127.0.0.1:1", {"tls_cert": Path("c")}, ["--tls-cert", "--tls-key"]),
        ("127.0.0.1:1", TLS | {"tls_cert": Path("c"), "tls_key": Path("k")}, ["--own-ca", "--tls-cert"]),
        ("127.0.0.1:1", {"publish_ca": "a/b"}, ["--publish-ca", "--own-ca"]),
        ("127.0.0.1:1", TLS | {"publish_ca": "../secrets/a"}, ["--publish-ca", "NAMESPACE/CONFIGMAP"]),
        ("127.0.0.1:1", TLS | {"tls_names": ("a b",)}, ["--tls-name", "a b"]),
        ("127.0.0.1:1", {"socket": Path("/" + "x" * 200)}, ["--socket", "shorter"]),
    ],
)
def test_these_are_refused_with_what_to_do(listen: str, settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        AccessSettings(**settings).check(listen)
    assert "\n" not in str(raised.value)
    for word in words:
        assert word in str(raised.value)


def test_the_command_says_it_in_one_line_before_it_touches_anything(peerwatch: Command, tmp_path: Path) -> None:
    done = peerwatch("collector", "--listen", ALL, "--data", tmp_path / "data")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("address", ["127.0.0.2:1", "[::1]:1", "localhost:1"])
def test_loopback_is_known_by_its_address(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["10.0.0.1:1", "[::]:1", "0.0.0.0:1", "localhost.example:1", "127.0.0.1.nip.io:1", ":1"])
def test_what_is_no_loopback_is_not_taken_for_it(address: str) -> None:
    assert not is_loopback(address)


@pytest.fixture
def token(tmp_path: Path) -> str:
    (tmp_path / "token").write_text("secret-token\n")
    return str(tmp_path / "token")


def test_a_command_sends_no_token_in_the_clear(token: str) -> None:
    for address in ("127.0.0.1:1", "unix:/nowhere"):
        Server(address, token=token).channel().close()
    with pytest.raises(InputError, match="--ca FILE"):
        Server("collector.example:7443", token=token).channel()


@pytest.mark.parametrize("text", ["", " \n", "two words", "line\nline", "ünï", "x\x00"])
def test_a_file_without_a_token_is_named_and_not_quoted(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(InputError) as raised:
        Server(token=str(tmp_path / "token")).channel()
    assert str(tmp_path / "token") in str(raised.value)
    assert not text.strip() or text.strip() not in str(raised.value)
