"""Slices name pods, and what is behind a service is known by its pods' workload: so the view must know those first."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import urllib3
from cluster_objects import Cluster, endpoint_slice, owned, pod, service
from collector_harness import eventually
from peerwatch.addresses import pack_address
from peerwatch.kubernetes import reflector
from peerwatch.kubernetes.connection import ApiServer

from collector.cluster import services
from collector.cluster.watching import ClusterWatch

NAMES = [f"web-{number}" for number in range(7)]
OBJECTS = {
    "/api/v1/pods": [
        pod(name, ips=[f"10.1.0.{number}"], owner=("ReplicaSet", f"{name}-5d9c")) for number, name in enumerate(NAMES)
    ],
    "/api/v1/services": [service(name, ips=[f"10.9.0.{number}"]) for number, name in enumerate(NAMES)],
    "/apis/discovery.k8s.io/v1/endpointslices": [endpoint_slice(name, pods=[f"uid-{name}"]) for name in NAMES],
    # Of a kind that no pod's name or label tells.
    "/apis/apps/v1/replicasets": [owned(f"{name}-5d9c", ("Rollout", name)) for name in NAMES],
}


class Server:
    """Lists objects of one path after the other; `answers` says what a list of a path is answered with, and may wait."""

    def __init__(self, answers: Callable[[str], int]) -> None:
        self.ended = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                if "watch=true" in self.path:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.flush()
                    server.ended.wait()
                    self.close_connection = True
                    return
                body = json.dumps({"metadata": {"resourceVersion": "7"}, "items": OBJECTS.get(path, [])}).encode()
                self.send_response(answers(path))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.api = ApiServer(f"http://127.0.0.1:{self.http.server_port}", urllib3.PoolManager(), dict)

    def close(self) -> None:
        self.ended.set()
        self.http.shutdown()
        self.http.server_close()


Started = Callable[[Callable[[str], int]], tuple[ClusterWatch, Cluster]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """Starts a view of a server that answers so."""
    monkeypatch.setattr(reflector, "RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(reflector, "RETRY_CAP_S", 0.1)
    monkeypatch.setattr(services, "WAITING_MAX", 2)  # fewer than there are pods, as in a cluster of more than 20,000
    ends: list[Callable[[], None]] = []

    def start(answers: Callable[[str], int]) -> tuple[ClusterWatch, Cluster]:
        server, cluster = Server(answers), Cluster()
        watch = ClusterWatch(cluster.view, server.api)
        ends.extend((watch.stop, server.close))
        watch.start()
        return watch, cluster

    yield start
    for end in ends:
        end()


def named(cluster: Cluster) -> list[str]:
    """Return what port 8080 of each pod is called."""
    found = [cluster.view.spans(pack_address(f"10.1.0.{number}"), 8080) for number in range(len(NAMES))]
    return [f"{spans[-1].who.workload.kind} {spans[-1].who.workload.name}" for spans in found]


@pytest.mark.parametrize("late", ["/api/v1/pods", "/apis/apps/v1/replicasets"])
def test_all_pods_have_their_service_s_name_whichever_list_comes_last(started: Started, late: str) -> None:
    go, asked = threading.Event(), list[str]()

    def answers(path: str) -> int:
        asked.append(path)
        if path == late:
            go.wait(10)
        return 200

    watch, cluster = started(answers)
    eventually(lambda: sum(each.synced.is_set() for each in watch.reflectors) >= len(watch.reflectors) - 2)
    go.set()
    eventually(lambda: watch.synced)
    assert named(cluster) == [f"Service {name}" for name in NAMES]
    assert len(asked) == len(set(asked)) == len(watch.reflectors)


@pytest.mark.parametrize("status", [403, 404])
def test_what_the_collector_may_not_list_keeps_nobody_waiting(started: Started, status: int) -> None:
    watch, cluster = started(lambda path: status if path.endswith("replicasets") else 200)
    eventually(lambda: len(cluster.view.slices) == len(NAMES))
    assert not watch.synced


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_waited_for(started: Started, status: int) -> None:
    asked: list[str] = []

    def answers(path: str) -> int:
        asked.append(path)
        return status if path == "/api/v1/pods" and asked.count(path) < 5 else 200

    watch, cluster = started(answers)
    eventually(lambda: watch.synced)
    assert named(cluster) == [f"Service {name}" for name in NAMES]
    assert asked[-1] == "/apis/discovery.k8s.io/v1/endpointslices"
