"""A watch against a server of loopback: long lists, lists that break off, and what is asked for."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from cluster_objects import Cluster, pod
from collector_harness import eventually
from peerwatch.kubernetes import reflector as module
from peerwatch.kubernetes.connection import ApiServer
from peerwatch.kubernetes.errors import ExpiredError, ServerError

from collector.cluster.watching import ClusterWatch

PAGE = 2
EMPTY = {"metadata": {"resourceVersion": "7"}, "items": None}
GONE = {"kind": "Status", "code": 410, "message": "The provided continue parameter is too old"}

FIXED: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/broken": (200, {}, b"<html>"),
    "/elsewhere": (302, {"Location": "http://127.0.0.1:1/"}, b""),
    "/large": (200, {}, b'"' + b"x" * (9 << 20) + b'"'),
}


class Server:
    """An API server with pods, which it lists two at a time; `failures` are answers that come first to second pages."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = [pod(f"p{number}") for number in range(5)]
        self.failures: list[tuple[int, dict[str, str]]] = []
        self.asked: list[tuple[str, dict[str, list[str]], str]] = []
        self.tokens: list[str | None] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"] or 0))  # what is unread would become a reset
                parts = urlsplit(self.path)
                query = parse_qs(parts.query)
                server.asked.append((parts.path, query, self.headers["Accept"]))
                server.tokens.append(self.headers["Authorization"])
                status, headers, body = server.answer(parts.path, query)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 — the base class's name

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.api = ApiServer(
            f"http://127.0.0.1:{self.http.server_port}", urllib3.PoolManager(), lambda: {"authorization": "Bearer secret"}
        )

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        if path in FIXED:
            return FIXED[path]
        if "watch" in query:
            return 200, {}, b""
        if path != "/api/v1/pods":
            return 200, {}, json.dumps(EMPTY).encode()
        begin = int(query.get("continue", ["0"])[0])
        if begin and self.failures:
            status, headers = self.failures.pop(0)
            return status, headers, json.dumps(GONE).encode()
        end = begin + PAGE
        metadata = {"resourceVersion": "7"} | ({"continue": str(end)} if end < len(self.pods) else {})
        return 200, {}, json.dumps({"metadata": metadata, "items": self.pods[begin:end]}).encode()

    def lists(self) -> int:
        """Return how often a list of pods was begun."""
        return sum(path == "/api/v1/pods" and not {"watch", "continue"} & query.keys() for path, query, _ in self.asked)

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.02)
    started = Server()
    yield started
    started.close()


def followed(server: Server, cluster: Cluster) -> ClusterWatch:
    watch = ClusterWatch(cluster.view, server.api)
    watch.start()
    eventually(lambda: watch.synced)
    return watch


def test_a_long_list_is_read_page_by_page(server: Server) -> None:
    cluster = Cluster()
    watch = followed(server, cluster)
    watch.stop()

    assert sorted(cluster.view.pods.keys()) == [f"uid-p{number}" for number in range(5)]
    assert server.lists() == 1


@pytest.mark.parametrize("status", [410, 500, 429])
def test_a_list_that_breaks_off_takes_nothing_away_and_begins_anew(server: Server, status: int) -> None:
    cluster = Cluster()
    cluster.pod("p4")
    cluster.pod("gone")
    server.failures.append((status, {"Retry-After": "0"}))
    watch = ClusterWatch(cluster.view, server.api)
    seen: list[set[str]] = []
    delete = cluster.view.delete_pod
    watch.reflectors[0].store._delete = lambda *said: (seen.append(set(cluster.view.pods.keys())), delete(*said))  # noqa: SLF001 — looks on
    watch.start()
    eventually(lambda: watch.synced)
    watch.stop()

    assert seen == [{"uid-gone", *(f"uid-p{number}" for number in range(5))}]  # only once all pages were there
    assert sorted(cluster.view.pods.keys()) == [f"uid-p{number}" for number in range(5)]
    assert server.lists() == 2


def test_only_metadata_is_asked_for_where_nothing_else_is_used(server: Server) -> None:
    watch = followed(server, Cluster())
    eventually(lambda: all(each.synced.is_set() for each in watch.reflectors))
    watch.stop()

    slim = {path for path, _, accept in server.asked if "as=PartialObjectMetadata" in accept}
    assert slim == {"/apis/apps/v1/replicasets", "/apis/batch/v1/jobs", "/api/v1/namespaces"}


def test_a_request_says_what_went_wrong_and_never_what_was_sent(server: Server) -> None:
    server.failures.append((410, {}))
    with pytest.raises(ExpiredError) as expired:
        server.api.request("GET", "/api/v1/pods", query={"continue": "2"})
    assert expired.value.status == 410
    for path, text in (
        ("/broken", "its answer is no JSON object"),
        ("/elsewhere", "HTTP 302: no message"),
        ("/large", "an answer is larger than 8 MiB"),
    ):
        with pytest.raises(ServerError) as raised:
            server.api.request("POST", path, body={"token": "secret"})
        assert str(raised.value) == text
    gone = ApiServer("http://127.0.0.1:1", urllib3.PoolManager(), lambda: {"authorization": "Bearer secret"})
    with pytest.raises(ServerError) as refused:
        gone.request("GET", "/")
    assert refused.value.status == 0
    assert "secret" not in str(refused.value)
    assert set(server.tokens) == {"Bearer secret"}


def test_a_token_that_cannot_be_read_is_an_error_like_any_other(server: Server) -> None:
    def credentials() -> dict[str, str]:
        raise FileNotFoundError("/var/run/token")

    broken = ApiServer(server.api.url, urllib3.PoolManager(), credentials)
    with pytest.raises(ServerError, match="no credentials: /var/run/token"):
        broken.request("GET", "/")
    assert server.asked == []
