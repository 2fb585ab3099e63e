"""Every event of every kind of pod carries the identity that Kubernetes gave it: known numbers of execs and connects."""

import json
import os
from collections import Counter
from collections.abc import Iterator

import pytest
from harness.agents import Agent, Collector
from peerwatch.v1 import event_pb2

from cluster.configuration import NODE
from cluster.conftest import CLUSTER
from cluster.manifests import (
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    STATEFUL_SET,
    Object,
    container,
    controller,
    pod,
    work_arguments,
)
from cluster.node import Node
from cluster.scene import Scene, is_ready
from cluster.truth import Told

pytestmark = pytest.mark.timeout(300)  # a CronJob's pod comes with the next full minute

NAMESPACE = f"every-kind-{os.getpid()}"
Kind = event_pb2.Container.Kind


class Everything:
    """What was deployed, what it did in truth (execs, connects), and what was told of it in the end."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.execs: Counter[tuple[str, str]] = Counter()
        self.connects: Counter[tuple[str, str]] = Counter()
        self.told = Told()

    def expect(self, pod_name: str, container_name: str, execs: int, connects: int) -> None:
        self.execs[f"{NAMESPACE}/{pod_name}", container_name] += execs
        self.connects[f"{NAMESPACE}/{pod_name}", container_name] += connects

    @property
    def names(self) -> set[str]:
        """The pods that were expected to do something; a CronJob's next one may come while others look."""
        return {name.removeprefix(f"{NAMESPACE}/") for name, _ in self.execs}

    def of(self, prefix: str) -> dict[str, Object]:
        return {name: each for name, each in self.scene.pods.by_name().items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def everything(node: Node, agent: Agent, collector: Collector) -> Iterator[Everything]:
    assert agent.process.poll() is None
    static = node.manifests / "static.json"
    with Scene(node, collector, cluster=CLUSTER, namespace=NAMESPACE) as scene:
        try:
            found = Everything(scene)
            manifest = pod("static", container("app", execs=29, connects=31))
            manifest["metadata"]["namespace"] = NAMESPACE
            static.write_text(json.dumps(manifest))
            _deploy(found)
            found.told = scene.told(
                lambda told: (
                    told.execs == found.execs
                    and told.connects == found.connects
                    # No status names a pause container, so its exec waits for a few seconds.
                    and found.names <= told.pauses.keys()
                )
            )
            yield found
        finally:
            static.unlink(missing_ok=True)


def _deploy(found: Everything) -> None:
    scene = found.scene
    never = {"restartPolicy": "Never"}
    scene.create(
        controller(CRON_JOB, pod("tick", container("app", execs=2, connects=3, seconds=0), **never)),
        controller(DEPLOYMENT, pod("cart", container("app", execs=7, connects=11)), replicas=5),
        controller(STATEFUL_SET, pod("db", container("app", execs=5, connects=13)), replicas=2),
        controller(DAEMON_SET, pod("each", container("app", execs=17, connects=3))),
        controller(JOB, pod("once", container("app", execs=19, connects=2, seconds=0), **never)),
        pod("bare", container("app", execs=23, connects=5)),
        pod("probed", container("app", execs=3, connects=2, startupProbe=_probe(13))),
        pod(
            "many",
            container("app", execs=11, connects=3),
            initContainers=[
                container("first", execs=5, connects=7, seconds=0),
                container("beside", execs=13, connects=2, restartPolicy="Always"),
            ],
        ),
    )
    scene.pods.until(lambda pods: len(_settled(pods)) == 13 and any(_is_tick(each) for each in pods), 240)
    scene.api.patch(scene.path(CRON_JOB, "tick"), {"spec": {"suspend": True}})  # the next minute's would come at any time
    scene.pods.until(lambda pods: all(is_ready(each) for each in pods))
    uid = found.of("bare")["bare"]["metadata"]["uid"]
    scene.kubectl(
        "debug", "bare", "--image=localhost/work:1", "--image-pull-policy=Never", "--container=debugger", "--",
        *work_arguments(uid, f"{NAMESPACE}/bare", "debugger", execs=37, connects=5),
    )  # fmt: skip
    scene.kubectl("exec", "bare", "--", *work_arguments(uid, f"{NAMESPACE}/bare", "app/exec", execs=41, connects=7))
    scene.pods.until(lambda pods: any(_has_debugged(each) for each in pods))
    for prefix, name, execs, connects in (
        ("cart-", "app", 7, 11),
        ("db-", "app", 5, 13),
        ("each-", "app", 17, 3),
        ("once-", "app", 19, 2),
        ("bare", "app", 23, 5),
        ("bare", "debugger", 37, 5),
        ("bare", "app", 41, 7),
        ("probed", "app", 3, 2),
        ("probed", "app", 13, 0),
        ("many", "app", 11, 3),
        ("many", "first", 5, 7),
        ("many", "beside", 13, 2),
        ("static-", "app", 29, 31),
        ("tick-", "app", 2, 3),
    ):
        for pod_name in found.of(prefix):
            found.expect(pod_name, name, execs, connects)


def _probe(execs: int) -> Object:
    """Return a probe that succeeds the first time, and is not asked again."""
    command = work_arguments("-", "-", "app/probe", execs=execs)
    return {"exec": {"command": command}, "periodSeconds": 1, "failureThreshold": 60, "timeoutSeconds": 30}


def _is_tick(each: Object) -> bool:
    return bool(each["metadata"]["name"].startswith("tick-")) and is_ready(each)


def _settled(pods: list[Object]) -> list[str]:
    return [each["metadata"]["name"] for each in pods if is_ready(each) and not _is_tick(each)]


def _has_debugged(each: Object) -> bool:
    return any("terminated" in status["state"] for status in each["status"].get("ephemeralContainerStatuses", ()))


def test_no_event_is_told_to_be_somebody_else_s(everything: Everything) -> None:
    assert everything.told.wrong == []
    assert everything.told.unresolved + everything.told.partial == Counter()


def test_every_exec_and_connect_is_told_of_who_made_it(everything: Everything) -> None:
    assert everything.told.execs == everything.execs
    assert everything.told.connects == everything.connects
    assert len(everything.execs) == 5 + 2 + 1 + 1 + 2 + 1 + 3 + 1 + len(everything.of("tick-"))


@pytest.mark.parametrize(
    ("prefix", "count", "kind", "name"),
    [
        ("cart-", 5, DEPLOYMENT, "cart"),
        ("db-", 2, STATEFUL_SET, "db"),
        ("each-", 1, DAEMON_SET, "each"),
        ("once-", 1, JOB, "once"),
        ("tick-", None, CRON_JOB, "tick"),
        ("bare", 1, "Pod", "bare"),
        ("static-", 1, "Pod", f"static-{NODE}"),
    ],
)
def test_the_workload_is_what_a_person_deployed(
    everything: Everything, prefix: str, count: int | None, kind: str, name: str
) -> None:
    pods = everything.of(prefix)
    assert pods
    assert count in {None, len(pods)}
    events = [event for pod_name in pods for event in everything.told.events[f"{NAMESPACE}/{pod_name}", "app"]]
    assert {(event.pod.workload.kind, event.pod.workload.name) for event in events} == {(kind, name)}


@pytest.mark.parametrize(
    ("prefix", "label"),
    [("cart-", "pod-template-hash"), ("db-", "controller-revision-hash"), ("each-", "controller-revision-hash")],
)
def test_the_revision_is_that_of_the_template(everything: Everything, prefix: str, label: str) -> None:
    for pod_name, each in everything.of(prefix).items():
        told = {event.pod.revision for event in everything.told.events[f"{NAMESPACE}/{pod_name}", "app"]}
        assert told == {each["metadata"]["labels"][label]}


@pytest.mark.parametrize(
    ("pod_name", "container_name", "kind"),
    [
        ("many", "app", Kind.APP),
        ("many", "first", Kind.INIT),
        ("many", "beside", Kind.SIDECAR),
        ("bare", "debugger", Kind.EPHEMERAL),
        ("bare", "app", Kind.APP),
    ],
)
def test_the_kind_of_container_is_told(everything: Everything, pod_name: str, container_name: str, kind: int) -> None:
    events = everything.told.events[f"{NAMESPACE}/{pod_name}", container_name]
    assert {event.container.kind for event in events} == {kind}


def test_id_image_digest_and_address_are_those_of_the_status(everything: Everything) -> None:
    for pod_name, each in everything.scene.pods.by_name().items():
        status = each["status"]
        for state in status["containerStatuses"]:
            told = {
                (event.container.id, event.container.image, event.container.image_digest, event.pod.ip)
                for event in everything.told.events[f"{NAMESPACE}/{pod_name}", state["name"]]
            }
            digest = "sha256:" + state["imageID"].rpartition("sha256:")[2]
            addresses = {"", status.get("podIP", "")}  # the first events may be told before it is known
            wanted = (state["containerID"].partition("://")[2], "localhost/work:1", digest)
            assert {fields[:3] for fields in told} == {wanted}
            assert {fields[3] for fields in told} <= addresses


def test_what_comes_from_outside_of_the_container_is_marked(everything: Everything) -> None:
    injected = {who: count for who, count in everything.told.injected.items() if count}
    assert injected == {(f"{NAMESPACE}/bare", "app"): 41, (f"{NAMESPACE}/probed", "app"): 13}


def test_pause_containers_carry_their_pod(everything: Everything) -> None:
    pauses = everything.told.pauses
    assert {name: pauses[name] for name in everything.names} == dict.fromkeys(everything.names, 1)
    assert pauses.keys() <= everything.scene.pods.by_name().keys()
