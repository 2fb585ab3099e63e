"""A collector that asks a real API server who calls, with no more rights of its own than the chart gives it."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from collector_harness import Command, Daemon, Events, eventually
from peerwatch import wire
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc

from cluster.api import Api, ApiError
from cluster.configuration import NODE
from cluster.faults import Proxy
from cluster.node import Node
from cluster.pki import kubeconfig

AUDIENCE = "peerwatch-collector"
RBAC = "rbac.authorization.k8s.io"


def account(namespace: str, name: str) -> dict[str, str]:
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


class Place:
    """A namespace with service accounts, roles, and a pod whose token is bound to it."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace
        self.core = f"/api/v1/namespaces/{namespace}"
        self._cluster_wide: list[str] = []

    def make(self) -> None:
        self.api.make_namespace(self.namespace)
        for name in ("agent", "other", "alice", "collector"):
            self.api.post(f"{self.core}/serviceaccounts", {"metadata": {"name": name}})
        self.api.post(f"{self.core}/configmaps", {"metadata": {"name": "ca"}})
        self.allow("collector", ["authentication.k8s.io"], ["tokenreviews"], ["create"])
        self.allow("collector", ["authorization.k8s.io"], ["subjectaccessreviews"], ["create"])
        self.allow("collector", [""], ["configmaps"], ["get", "update"], within=self.namespace)
        for name in ("agent", "other"):
            self.api.post(f"{self.core}/pods", self._pod(name))

    def _pod(self, name: str) -> dict[str, object]:
        container = {"name": "c", "image": "localhost/busybox:1", "command": ["sleep", "100000"]}
        spec = {"serviceAccountName": name, "nodeName": NODE, "terminationGracePeriodSeconds": 0, "containers": [container]}
        return {"metadata": {"name": name}, "spec": spec}

    def allow(self, who: str, groups: list[str], resources: list[str], verbs: list[str], *, within: str = "") -> None:
        """Give a service account rights, in a namespace or everywhere."""
        kind = "Role" if within else "ClusterRole"
        where = f"/apis/{RBAC}/v1/namespaces/{within}" if within else f"/apis/{RBAC}/v1"
        name = f"{self.namespace}-{who}-{resources[0]}"
        rule = {"apiGroups": groups, "resources": resources, "verbs": verbs}
        self.api.post(f"{where}/{kind.lower()}s", {"metadata": {"name": name}, "rules": [rule]})
        binding = {"roleRef": {"apiGroup": RBAC, "kind": kind, "name": name}, "subjects": [account(self.namespace, who)]}
        self.api.post(f"{where}/{kind.lower()}bindings", {"metadata": {"name": name}, **binding})
        if not within:
            self._cluster_wide += [f"{where}/clusterroles/{name}", f"{where}/clusterrolebindings/{name}"]

    def token(self, name: str, *, audience: str = AUDIENCE, pod: bool = False, seconds: int = 3600) -> str:
        spec: dict[str, object] = {"expirationSeconds": seconds}
        if audience:
            spec["audiences"] = [audience]
        if pod:
            uid = self.api.get(f"{self.core}/pods/{name}")["metadata"]["uid"]
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}
        return str(self.api.post(f"{self.core}/serviceaccounts/{name}/token", {"spec": spec})["status"]["token"])

    def remove(self) -> None:
        for path in (*self._cluster_wide, f"/api/v1/namespaces/{self.namespace}"):
            self.api.delete(path)


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def peerwatch() -> Command:
    return Command()


@pytest.fixture(scope="module")
def place(node: Node) -> Iterator[Place]:
    place = Place(node.api, f"trust-{os.getpid()}")
    place.make()
    yield place
    place.remove()


@dataclass
class Site:
    daemon: Daemon
    place: Place
    ca: bytes
    socket: Path

    def channel(self) -> grpc.Channel:
        return grpc.secure_channel(self.daemon.address, grpc.ssl_channel_credentials(self.ca))

    def stream(self, token: str, *requests: ingest_pb2.StreamRequest) -> tuple[list[int], grpc.StatusCode | None]:
        """Send requests as an agent with this token; return the acknowledgements and how it was refused."""
        heard: list[int] = []
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        with self.channel() as channel:
            try:
                call = ingest_pb2_grpc.IngestServiceStub(channel).Stream(iter(requests), timeout=20, metadata=metadata)
                heard.extend(response.acknowledged for response in call)
            except grpc.RpcError as error:
                return heard, error.code()
        return heard, None

    def status(self) -> query_pb2.GetStatusResponse:
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            return query_pb2_grpc.QueryServiceStub(channel).GetStatus(query_pb2.GetStatusRequest(), timeout=10)


@pytest.fixture
def own_way(node: Node) -> Iterator[Proxy]:
    with Proxy(node.api, node.folder / "pki") as proxy:
        yield proxy


@pytest.fixture
def site(node: Node, own_way: Proxy, place: Place, tmp_path: Path) -> Iterator[Site]:
    rights = {"token": place.token("collector", audience="")}
    (tmp_path / "kubeconfig").write_text(kubeconfig(own_way.url, node.folder / "pki/ca.crt", rights))
    options = {
        "--own-ca": tmp_path / "own",
        "--publish-ca": f"{place.namespace}/ca",
        "--agents": f"kubernetes:{place.namespace}/agent",
        "--users": "kubernetes",
        "--socket": tmp_path / "socket",
        "--kubeconfig": tmp_path / "kubeconfig",
    }
    daemon = Daemon(tmp_path / "data", tuple(str(word) for pair in options.items() for word in pair)).start()
    yield Site(daemon, place, (tmp_path / "own/ca.crt").read_bytes(), tmp_path / "socket")
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.end()


def hello(node: str = NODE, session: str = "s") -> ingest_pb2.StreamRequest:
    return ingest_pb2.StreamRequest(hello=ingest_pb2.Hello(cluster="test", node=node, session=session))


def batch(events: Events, sequence: int = 1, node: str = NODE, namespace: str = "shop") -> ingest_pb2.StreamRequest:
    columns = wire.encode(events.table(node=node, namespace=namespace))
    return ingest_pb2.StreamRequest(batch=ingest_pb2.EventBatch(sequence=sequence, columns=columns))


def forged(token: str, **claims: object) -> str:
    """Return a token with other claims under the old signature."""
    head, middle, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(middle + "==")) | claims
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip('=')}.{signature}"


def test_an_agent_is_heard_with_the_token_of_its_pod_and_nobody_else_is(site: Site, events: Events) -> None:
    place = site.place
    good = place.token("agent", pod=True)
    assert site.stream(good, hello(), batch(events)) == ([0, 1], None)

    refused = {
        "no_token": "",
        "bad_token": "garbage",
        "foreign_audience": place.token("agent", pod=True, audience="elsewhere"),
        "foreign_account": place.token("other", pod=True),
        "no_node": place.token("agent"),
        "token_refused": forged(good, sub=f"system:serviceaccount:{place.namespace}:agent", jti="another"),
    }
    for reason, token in refused.items():
        heard, code = site.stream(token, hello(session=reason), batch(events))
        assert (reason, heard) == (reason, [])
        assert code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
    assert site.stream(good, hello("node-2"), batch(events, node="node-2")) == ([], grpc.StatusCode.PERMISSION_DENIED)

    status = site.status()
    assert [(agent.node, agent.events) for agent in status.agents] == [(NODE, events.of_a_table)]
    assert dict(status.refused) == dict.fromkeys((*refused, "hello_of_another_node"), 1)
    log = site.daemon.log()
    assert not any(token in log for token in (good, *refused.values()) if token)


def test_replayed_batches_and_events_of_another_node_move_nothing(site: Site, events: Events) -> None:
    token = site.place.token("agent", pod=True)
    assert site.stream(token, hello(), batch(events), batch(events, 2, "node-2")) == ([0, 1, 2], None)
    assert site.stream(token, hello(), batch(events), batch(events)) == ([2, 2, 2], None)

    status = site.status()
    assert status.events == events.of_a_table
    assert (status.refused["duplicate_batch"], status.refused["foreign_node"]) == (2, events.of_a_table + 1)


def test_a_message_of_100_mb_ends_its_stream_and_nothing_else(site: Site, events: Events) -> None:
    token = site.place.token("agent", pod=True)
    large = ingest_pb2.StreamRequest(batch=ingest_pb2.EventBatch(sequence=1))
    large.batch.columns.strings.append("x" * (100 << 20))
    assert site.stream(token, hello(), large) == ([0], grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert site.stream(token, hello(), batch(events)) == ([0, 1], None)


def test_the_cluster_s_rbac_says_who_may_look_and_who_may_decide_where(
    site: Site, events: Events, peerwatch: Command, tmp_path: Path
) -> None:
    place = site.place
    hers = batch(events, namespace=place.namespace)
    assert site.stream(place.token("agent", pod=True), hello(), hers, batch(events, 2)) == ([0, 1, 2], None)
    (tmp_path / "token").write_text(place.token("alice"))
    as_alice = ("--server", site.daemon.address, "--ca", tmp_path / "own/ca.crt", "--token", tmp_path / "token")

    def reject(namespace: str, *options: object) -> subprocess.CompletedProcess[str]:
        what = ("--container", "app", "--unseen", "--author", "mallory", "--reason", "no use for it")
        return peerwatch("baseline", "reject", f"{namespace}/cart", "/usr/bin/nc", *what, *options)

    done = peerwatch("alerts", *as_alice)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert f"system:serviceaccount:{place.namespace}:alice may not get incidents.peerwatch.dev" in done.stderr

    place.allow("alice", ["peerwatch.dev"], ["incidents", "baselines"], ["get"])
    place.allow("alice", ["peerwatch.dev"], ["baselines"], ["update"], within=place.namespace)
    eventually(lambda: peerwatch("alerts", *as_alice).returncode == 0, 60)  # a refusal is remembered for 10 s
    done = reject("shop", *as_alice)
    assert (done.returncode, "may not update baselines.peerwatch.dev in namespace shop" in done.stderr) == (3, True)
    done = reject(place.namespace, *as_alice)
    assert done.returncode == 0, done.stderr

    # In the pod, through the socket, nobody is asked, and what was said is kept as it was said.
    socket = ("--server", f"unix:{site.socket}")
    assert reject("shop", *socket).returncode == 0
    authors = [
        json.loads(peerwatch("baseline", "log", f"{namespace}/cart", "-o", "json", *socket).stdout)["author"]
        for namespace in (place.namespace, "shop")
    ]
    assert authors == [f"system:serviceaccount:{place.namespace}:alice", "mallory"]


def test_the_authority_is_published_for_agents_and_published_again(site: Site) -> None:
    path = f"{site.place.core}/configmaps/ca"
    eventually(lambda: site.place.api.get(path).get("data", {}).get("ca.crt") == site.ca.decode())


def test_while_the_api_server_is_away_known_agents_go_on_and_unknown_ones_are_told_to_come_back(
    site: Site, events: Events, own_way: Proxy
) -> None:
    known, unknown = (site.place.token("agent", pod=True, seconds=seconds) for seconds in (3600, 3700))
    assert site.stream(known, hello(), batch(events)) == ([0, 1], None)
    own_way.__exit__(None, None, None)
    assert site.stream(unknown, hello(session="u"), batch(events)) == ([], grpc.StatusCode.UNAVAILABLE)
    assert site.stream(known, hello(), batch(events, 2)) == ([1, 2], None)
    assert site.status().refused["reviews_unavailable"] == 1


def test_the_token_of_a_pod_that_is_gone_is_worth_nothing(site: Site, events: Events) -> None:
    place = site.place
    place.api.post(f"{place.core}/pods", {**place._pod("agent"), "metadata": {"name": "gone"}})  # noqa: SLF001 — this file's own
    uid = place.api.get(f"{place.core}/pods/gone")["metadata"]["uid"]
    spec = {"audiences": [AUDIENCE], "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "gone", "uid": uid}}
    made = place.api.post(f"{place.core}/serviceaccounts/agent/token", {"spec": spec})
    place.api.delete(f"{place.core}/pods/gone")
    eventually(lambda: is_gone(place, "gone"), 60)

    heard = site.stream(str(made["status"]["token"]), hello(), batch(events))
    assert heard == ([], grpc.StatusCode.UNAUTHENTICATED)


def is_gone(place: Place, name: str) -> bool:
    try:
        place.api.get(f"{place.core}/pods/{name}")
    except ApiError as error:
        return error.status == 404
    return False
