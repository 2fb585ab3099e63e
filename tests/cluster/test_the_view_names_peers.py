"""The collector's view on the real node: what every way to a destination is called, and whose the events are."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from collector_harness import eventually
from harness.agents import Agent, Collector
from peerwatch.columns import ColumnsBuilder
from peerwatch.subjects import Container, Pod, Subject
from peerwatch.v1 import event_pb2, ingest_pb2

from agent.capture.probes import Probes, uninstall
from agent.errors import UnsupportedError
from cluster.configuration import NODE
from cluster.faults import Proxy, status
from cluster.manifests import Object, controller, pod
from cluster.node import Node
from cluster.pki import kubeconfig

CLUSTER = f"viewed-{os.getpid()}"
NAMESPACE = f"view-{os.getpid()}"
PINS = Path(f"/sys/fs/bpf/peerwatch-view-{os.getpid()}")
RULES = [
    {"apiGroups": [""], "resources": ["pods", "services", "nodes", "namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list", "watch"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list", "watch"]},
]
"""All that a collector with a view may do; an agent may do less."""


class Viewer(Collector):
    """A collector that watches the cluster."""

    def start(self) -> "Viewer":
        super(Collector, self).start()  # with its options
        return self


def _busybox(**more: object) -> Object:
    return {"name": "app", "image": "localhost/busybox:1", "imagePullPolicy": "Never", "command": ["sleep", "100000"], **more}


def _service(name: str, ports: dict[int, int], **spec: object) -> Object:
    listed = [{"name": f"p{port}", "port": port, "targetPort": target} for port, target in ports.items()]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": listed, **spec}}


def _token(node: Node, name: str, rules: list[Object]) -> str:
    full = f"{NAMESPACE}-{name}"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": full}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
    node.api.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": name}})
    for plural, body in (("clusterroles", {"rules": rules}), ("clusterrolebindings", {"roleRef": role, "subjects": subjects})):
        node.api.post(f"/apis/rbac.authorization.k8s.io/v1/{plural}", {"metadata": {"name": full}, **body})
    asked = node.api.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}/token", {"spec": {"expirationSeconds": 7200}})
    return str(asked["status"]["token"])


@dataclass
class Viewed:
    """What is deployed, and who sees it."""

    node: Node
    collector: Viewer
    way: Proxy
    """Between the collector and the API server; the agent has its own."""
    pods: dict[str, Object]

    def call(self, who: str, address: str, port: int) -> None:
        """Connect from a pod; whether anybody answers does not matter."""
        command = f"nc -w 1 {address} {port}; true"  # what fails now is the way into the pod
        self.node.kubectl(f"--namespace={NAMESPACE}", "exec", who, "--", "sh", "-c", command, text="")

    def service(self, name: str) -> str:
        return str(self.node.api.get(f"/api/v1/namespaces/{NAMESPACE}/services/{name}")["spec"]["clusterIP"])

    def ip(self, prefix: str) -> str:
        return next(str(each["status"]["podIP"]) for name, each in self.pods.items() if name.startswith(prefix))

    def connects(self) -> list[event_pb2.Event]:
        return [each for each in self.collector.events(CLUSTER) if each.HasField("connect")]

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until a condition holds, or say what there is instead."""
        try:
            eventually(condition, seconds)
        except AssertionError as error:
            events = Counter(
                (each.WhichOneof("kind"), each.pod.name or each.pod.uid) for each in self.collector.events(CLUSTER)
            )
            error.add_note(f"events: {dict(events)}\nstatus: {self.collector.status()}\nlog: {self.collector.log()[-2000:]}")
            raise

    def seen(self, who: str, address: str, port: int) -> event_pb2.Event:
        """Return the event of this call, once it is there."""

        def found() -> list[event_pb2.Event]:
            return [
                each
                for each in self.connects()
                if (each.pod.name, each.connect.address, each.connect.port) == (who, address, port)
            ]

        self.until(found, 40)
        return found()[0]


@pytest.fixture(scope="module")
def between(node: Node) -> Iterator[Proxy]:
    with Proxy(node.api, node.folder / "pki") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def viewed(node: Node, way: Proxy, between: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    try:
        with Probes(PINS):
            pass
    except UnsupportedError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("viewed")
    api, path = node.api, f"/api/v1/namespaces/{NAMESPACE}"
    api.make_namespace(NAMESPACE)
    try:
        for name, rules, url in (("collector", RULES, between.url), ("agent", RULES[:1], way.url)):
            token = _token(node, name, rules)
            (folder / f"{name}.kubeconfig").write_text(kubeconfig(url, node.folder / "pki/ca.crt", {"token": token}))
        replicas = controller("Deployment", pod("cart", _busybox()), replicas=2)
        api.post(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", replicas)
        on_the_node = _busybox(ports=[{"containerPort": 9101, "hostPort": 9101}])
        for each in (pod("caller", _busybox()), pod("exporter", on_the_node, hostNetwork=True)):
            api.post(f"{path}/pods", each)
        behind = {"app": "cart"}
        for each in (
            _service("front", {80: 8080}, selector=behind),
            _service("everybody", {8080: 8080, 9090: 9090}, selector=behind, clusterIP="None"),
        ):
            api.post(f"{path}/services", each)
        options = ("--cluster-view", CLUSTER, "--kubeconfig", str(folder / "collector.kubeconfig"))
        words = {
            "--kubeconfig": str(folder / "agent.kubeconfig"),
            "--node": NODE,
            "--cluster": CLUSTER,
            "--pin-dir": str(PINS),
            "--spool": str(folder / "spool"),
            "--canary": "0",
        }
        with Viewer(folder / "data", options).start() as collector:
            given = [word for pair in (words | {"--collector": collector.address}).items() for word in pair]
            with Agent(given) as agent:
                agent.until("capturing on node")
                viewed = Viewed(node, collector, between, {})

                def ready() -> bool:
                    viewed.pods = {each["metadata"]["name"]: each for each in api.get(f"{path}/pods")["items"]}
                    return len(viewed.pods) == 4 and all(
                        each["status"]["phase"] == "Running" and each["status"].get("podIP") for each in viewed.pods.values()
                    )

                eventually(ready, 90)
                yield viewed
    finally:
        uninstall(PINS)
        api.delete(f"/api/v1/namespaces/{NAMESPACE}")
        for name in ("collector", "agent"):
            for plural in ("clusterroles", "clusterrolebindings"):
                api.delete(f"/apis/rbac.authorization.k8s.io/v1/{plural}/{NAMESPACE}-{name}")


NOBODY = "//"


def _said(event: event_pb2.Event) -> str:
    peer = event.connect.peer
    return f"{peer.namespace.removeprefix(NAMESPACE)}/{peer.workload.kind}/{peer.workload.name}"


def test_every_way_to_a_destination_has_its_name(viewed: Viewed) -> None:
    api_server = str(viewed.node.api.get("/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"])
    host = viewed.ip("exporter")
    ways = {
        (viewed.service("front"), 80): "/Service/front",
        (viewed.ip("cart-"), 8080): "/Service/front",
        (viewed.ip("cart-"), 9090): "/Service/everybody",
        (viewed.ip("cart-"), 7): "/Deployment/cart",
        (api_server, 443): "/apiserver/kubernetes",
        (host, 6443): "/apiserver/kubernetes",
        (host, 9101): "/Pod/exporter",
        (host, 9): f"/Node/{NODE}",
        ("169.254.169.254", 80): "/metadata-service/metadata-service",
        ("169.254.20.10", 53): "kube-system/Service/kube-dns",
    }
    with ThreadPoolExecutor(len(ways)) as pool:  # most of them wait for an answer that does not come
        list(pool.map(lambda way: viewed.call("caller", *way), ways))

    def said() -> dict[tuple[str, int], str]:
        calls = [each for each in viewed.connects() if each.pod.name == "caller"]
        named = {(each.connect.address, each.connect.port): _said(each) for each in reversed(calls)}
        return {way: named[way] for way in ways if way in named}

    viewed.until(lambda: said().keys() == ways.keys(), 40)
    # In the first seconds of a watch nobody is named until it is known that nothing was missed.
    viewed.until(lambda: NOBODY not in said().values(), 20)
    assert said() == ways


def test_a_pod_on_its_node_s_network_calls_under_its_own_name(viewed: Viewed) -> None:
    viewed.call("exporter", viewed.service("front"), 80)

    event = viewed.seen("exporter", viewed.service("front"), 80)
    assert (event.pod.workload.kind, event.pod.workload.name) == ("Pod", "exporter")
    # In the first seconds of a watch nobody is named until it is known that nothing was missed.
    viewed.until(lambda: _said(viewed.seen("exporter", viewed.service("front"), 80)) == "/Service/front", 20)


def test_every_event_is_the_view_s_and_none_was_refused(viewed: Viewed) -> None:
    name = next(each for each in viewed.pods if each.startswith("cart-"))
    refused = viewed.collector.status().refused.get("foreign_pod", 0)  # by what another test has told, perhaps
    viewed.call(name, viewed.service("front"), 80)

    event = viewed.seen(name, viewed.service("front"), 80)
    assert (event.pod.namespace, event.pod.workload.kind, event.pod.workload.name) == (NAMESPACE, "Deployment", "cart")
    assert (event.container.name, event.container.image) == ("app", "localhost/busybox:1")
    assert event.pod.uid == viewed.pods[name]["metadata"]["uid"]
    assert viewed.collector.status().refused.get("foreign_pod", 0) == refused


def test_while_the_api_server_is_away_nobody_is_taken_for_another_and_names_follow(viewed: Viewed) -> None:
    viewed.way.plan.extend([status(503)] * 10_000)
    viewed.way.break_off()
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    viewed.node.api.post(path, pod("late", _busybox()))
    viewed.until(lambda: viewed.node.api.get(f"{path}/late")["status"]["phase"] == "Running", 60)
    uid = str(viewed.node.api.get(f"{path}/late")["metadata"]["uid"])
    front = viewed.service("front")
    viewed.call("late", front, 80)
    viewed.call("caller", front, 77)

    def of_late() -> list[event_pb2.Event]:
        return [each for each in viewed.connects() if each.pod.uid == uid and each.connect.address == front]

    viewed.until(of_late, 60)
    assert {(each.pod.name, each.pod.workload.name, each.container.name) for each in of_late()} == {("", "", "")}
    called = viewed.seen("caller", front, 77)
    assert called.pod.workload.name == "caller"
    # It may be another's address by now.
    assert {_said(each) for each in (*of_late(), called)} == {NOBODY}

    viewed.way.heal()
    viewed.until(lambda: {each.pod.name for each in of_late()} == {"late"}, 60)
    viewed.until(lambda: {_said(each) for each in (*of_late(), viewed.seen("caller", front, 77))} == {"/Service/front"}, 60)
    assert {(each.pod.namespace, each.container.name) for each in of_late()} == {(NAMESPACE, "app")}
    viewed.until(lambda: viewed.collector.status().refused.get("named_late", 0), 20)


def test_another_node_that_speaks_of_this_one_s_pods_is_refused(viewed: Viewed) -> None:
    truth = viewed.pods["caller"]
    reference = truth["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    builder = ColumnsBuilder()
    subject = builder.subject(
        Subject(CLUSTER, "node-66", Pod(NAMESPACE, "caller", truth["metadata"]["uid"]), Container("app", id=reference))
    )
    builder.exec(time.time_ns(), subject, builder.process(pid=1, start_time=1, exe="/bin/evil"))
    liar = viewed.collector.agent(hello=False)
    liar.send(ingest_pb2.StreamRequest(hello=ingest_pb2.Hello(cluster=CLUSTER, node="node-66", session="liar")))
    liar.wait(0)
    liar.store(1, builder.build())

    assert viewed.collector.status().refused["foreign_pod"] == 1
    assert {each.node for each in viewed.collector.events(CLUSTER)} <= {NODE}  # none yet, if this test is the first
