"""From inside a pod: address from the environment, token and certificate authority from two files, over real TLS."""

import functools
import http.server
import json
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peerwatch.kubernetes import connection
from peerwatch.kubernetes.connection import from_kubeconfig, from_pod
from peerwatch.kubernetes.errors import NoServerError, ServerError

from agent.identity import kubernetes
from agent.identity.index import PodIndex
from agent.identity.kubernetes import KubernetesPods

POD = {"metadata": {"name": "cart-1", "namespace": "shop", "uid": "7e0c"}, "spec": {}, "status": {}}


class Server:
    """An API server that knows one pod, answers over TLS and notes the tokens it was shown."""

    def __init__(self, folder: Path) -> None:
        self.tokens: list[str | None] = []
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x"
        files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "ca.crt"]
        subprocess.run([*make.split(), *files], check=True, capture_output=True)
        (folder / "token").write_text("first\n")
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.tokens.append(self.headers["Authorization"])
                body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": [POD]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(0 if "watch=true" in self.path else len(body)))
                self.end_headers()
                if "watch=true" not in self.path:  # a watch that ends at once
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ca.crt", folder / "key")
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    started = Server(tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(started.http.server_port))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # a proxy for the world outside is none for the cluster
    monkeypatch.setattr(kubernetes, "from_pod", functools.partial(from_pod, folder=tmp_path))
    yield started
    started.close()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_pods_come_over_tls_and_a_renewed_token_is_used(server: Server, tmp_path: Path) -> None:
    index = PodIndex("c", "n")
    source = KubernetesPods(index, "n")
    source.start()
    try:
        _until(lambda: bool(server.tokens))
        (tmp_path / "token").write_text("second\n")
        _until(lambda: "Bearer second" in server.tokens)
    finally:
        source.stop()

    assert server.tokens[0] == "Bearer first"
    assert len(index) == 1


def test_a_renewed_token_is_used_where_a_kubeconfig_names_its_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TOKEN_FILE_S", 0.0)
    monkeypatch.delenv("HTTPS_PROXY")  # this file is for people's machines, where a proxy may be the way
    url = f"https://127.0.0.1:{server.http.server_port}"
    where = {"server": url, "certificate-authority": str(tmp_path / "ca.crt")}
    config = {
        "clusters": [{"name": "c", "cluster": where}],
        "users": [{"name": "u", "user": {"tokenFile": "token"}}],  # beside the kubeconfig
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    api = from_kubeconfig(str(tmp_path / "kubeconfig"))
    api.request("GET", "/api/v1/pods")
    (tmp_path / "token").write_text("second\n")
    api.request("GET", "/api/v1/pods")
    (tmp_path / "token").unlink()
    with pytest.raises(ServerError, match=r"no credentials: .*token"):
        api.request("GET", "/api/v1/pods")

    assert server.tokens == ["Bearer first", "Bearer second"]


def test_a_server_with_another_authority_is_not_believed(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Server(other).close()
    shutil.copy(other / "ca.crt", tmp_path / "ca.crt")
    index = PodIndex("c", "n")
    source = KubernetesPods(index, "n")
    source.start()
    try:
        _until(lambda: bool(caplog.records))
    finally:
        source.stop()

    assert "certificate verify failed" in caplog.records[0].getMessage()
    assert server.tokens == []  # the token was not shown to it
    assert len(index) == 0


@pytest.mark.parametrize("absent", ["token", "ca.crt"])
def test_a_pod_without_a_service_account_is_told_what_is_missing(tmp_path: Path, absent: str) -> None:
    for name in {"token", "ca.crt"} - {absent}:
        (tmp_path / name).write_text("x")

    with pytest.raises(NoServerError) as caught:
        from_pod({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)

    assert str(caught.value) == (f"no service account here: {tmp_path / absent}: No such file or directory")


def test_an_ipv6_address_is_put_into_brackets(tmp_path: Path) -> None:
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("x")

    server = from_pod({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)

    assert server.url == "https://[fd00::1]:443"


PROGRAM = """
import pathlib, sys
from peerwatch.kubernetes.connection import from_pod
from_pod({"KUBERNETES_SERVICE_HOST": "h", "KUBERNETES_SERVICE_PORT": "1"}, pathlib.Path(sys.argv[1]))
print("kubernetes" in sys.modules)
"""


def test_a_pod_does_not_load_the_client_library(tmp_path: Path) -> None:
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("x")

    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
