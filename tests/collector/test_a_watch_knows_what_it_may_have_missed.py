"""A watch that breaks says until when all is known, and takes what it is told first, when it is back, for what it missed."""

import http.server
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from cluster_objects import Cluster, pod
from collector_harness import eventually
from peerwatch.addresses import pack_address
from peerwatch.kubernetes import reflector as module
from peerwatch.kubernetes.connection import ApiServer

from collector.cluster import watching
from collector.cluster.history import FOREVER
from collector.cluster.watching import ClusterWatch

CATCH_UP_S = 0.4
CUT = "cut"
DB = pod("db-0", ips=["10.1.0.9"], owner=("StatefulSet", "db"))


class Server:
    """Lists one pod, and keeps watches of pods open: what is put into `lines` is sent, `CUT` breaks the connection off."""

    def __init__(self) -> None:
        self.lines: queue.Queue[Any] = queue.Queue()
        self.refuses = False
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if server.refuses:
                    self.send_error(503)
                elif "watch=true" in self.path:
                    self.watch(server.lines if self.path.startswith("/api/v1/pods") else server.closing)
                else:
                    items = [DB] if self.path.startswith("/api/v1/pods") else []
                    body = json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}).encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def watch(self, lines: "queue.Queue[Any]") -> None:
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.flush()
                while (line := lines.get()) is not CUT:
                    data = json.dumps(line).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.flush()
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.closing: queue.Queue[Any] = queue.Queue()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.api = ApiServer(f"http://127.0.0.1:{self.http.server_port}", urllib3.PoolManager(), dict)

    def close(self) -> None:
        for _ in range(20):
            self.lines.put(CUT)
            self.closing.put(CUT)
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(module, "RETRY_CAP_S", 0.1)
    monkeypatch.setattr(module, "CATCH_UP_S", CATCH_UP_S)
    started = Server()
    yield started
    started.close()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def watch(server: Server, cluster: Cluster) -> Iterator[ClusterWatch]:
    watch = ClusterWatch(cluster.view, server.api)
    assert watch.heard() == 0  # nothing at all is known
    watch.start()
    yield watch
    watch.stop()


def ends(cluster: Cluster) -> list[int]:
    return [span.end for span in cluster.view.pods.addresses.spans(pack_address("10.1.0.9"))]


def event(kind: str, raw: dict[str, Any], version: int) -> dict[str, Any]:
    return {"type": kind, "object": raw | {"metadata": raw["metadata"] | {"resourceVersion": str(version)}}}


def test_as_long_as_it_is_watched_all_is_known(server: Server, cluster: Cluster, watch: ClusterWatch) -> None:
    eventually(lambda: watch.heard() == FOREVER)
    assert ends(cluster) == [FOREVER]
    before = time.time_ns()
    server.lines.put(event("DELETED", DB, 8))
    eventually(lambda: ends(cluster) != [FOREVER])
    assert ends(cluster)[0] >= before  # it was there until now


def test_what_a_watch_tells_when_it_is_back_happened_at_no_time_that_is_known(
    server: Server, cluster: Cluster, watch: ClusterWatch
) -> None:
    eventually(lambda: watch.heard() == FOREVER)
    server.lines.put(event("MODIFIED", DB, 8))
    eventually(lambda: watch.version == 2)
    cut = time.time_ns()
    server.refuses = True
    server.lines.put(CUT)
    eventually(lambda: watch.heard() != FOREVER)
    heard = watch.heard()
    assert cut - 2 * 10**9 < heard <= cut
    time.sleep(CATCH_UP_S)
    assert watch.heard() == heard  # the same all the time
    server.lines.put(event("DELETED", DB, 9))
    server.refuses = False
    eventually(lambda: ends(cluster) != [FOREVER])
    assert ends(cluster)[0] <= cut
    eventually(lambda: watch.heard() == FOREVER)


def test_every_kind_that_says_who_has_an_address_counts(server: Server, watch: ClusterWatch) -> None:
    kinds = [each.store for each in watch.reflectors[: watching.OF_ADDRESSES]]
    assert len(kinds) == 4
    eventually(lambda: watch.heard() == FOREVER)
    server.refuses = True
    for _ in range(5):
        server.closing.put(CUT)  # services, slices, nodes and the owners; pods go on
    eventually(lambda: watch.heard() != FOREVER)
    assert watch.reflectors[0].behind_s() == 0
