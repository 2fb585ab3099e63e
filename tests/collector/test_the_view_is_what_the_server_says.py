"""Pods and containers: whatever order news come in, nobody is taken for somebody else, and a list sets everything right."""

import pytest
from cluster_objects import Cluster, at, container_id, node, owned, pod, service
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from peerwatch.kubernetes.connection import ApiServer
from peerwatch.kubernetes.fields import MalformedError
from peerwatch.subjects import Subject, Workload

from collector.cluster.objects import parse_node, parse_owned, parse_pod_of_cluster, parse_service, parse_slice
from collector.cluster.pods import Pods
from collector.cluster.view import ClusterView, Unnamed
from collector.cluster.watching import ClusterWatch

APP = container_id("uid-web-1app")


@pytest.mark.parametrize(
    ("kind", "name", "owner", "workload"),
    [
        ("ReplicaSet", "web-5d9c", ("Deployment", "web"), Workload("Deployment", "web")),
        ("ReplicaSet", "web-5d9c", ("Rollout", "web"), Workload("Rollout", "web")),
        ("ReplicaSet", "web-5d9c", ("Fleet", "blue"), Workload("Fleet", "blue")),
        ("ReplicaSet", "web-5d9c", None, Workload("ReplicaSet", "web-5d9c")),
        ("Job", "backup-29922462", ("CronJob", "backup"), Workload("CronJob", "backup")),
        ("Job", "by-hand", ("CronJob", "backup"), Workload("CronJob", "backup")),
        ("Job", "by-hand", None, Workload("Job", "by-hand")),
    ],
)
@pytest.mark.parametrize("owner_first", [True, False])
def test_the_owner_s_owner_is_what_a_person_deploys(
    kind: str, name: str, owner: tuple[str, str] | None, workload: Workload, *, owner_first: bool
) -> None:
    cluster = Cluster()
    if owner_first:
        cluster.owned(kind, name, owner)
    cluster.pod("web-1", owner=(kind, name))
    if not owner_first:
        cluster.owned(kind, name, owner)

    found = cluster.view.subject("node-1", "uid-web-1", APP, final=False)
    assert isinstance(found, Subject)
    assert found.pod.workload == workload


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "CloneSet"])
def test_any_other_controller_is_taken_as_it_is(kind: str) -> None:
    cluster = Cluster()
    cluster.pod("web-1", owner=(kind, "web"))

    found = cluster.view.subject("node-1", "uid-web-1", APP, final=False)
    assert isinstance(found, Subject)
    assert found.pod.workload == Workload(kind, "web")


def test_a_deleted_pod_keeps_its_workload_when_the_owner_is_deleted_too() -> None:
    cluster = Cluster()
    cluster.owned("Job", "by-hand", ("CronJob", "backup"))
    cluster.pod("web-1", owner=("Job", "by-hand"))
    cluster.view.delete_pod("uid-web-1", at(5), at(5))
    cluster.view.delete_owned("Job", "owned-by-hand")

    found = cluster.view.subject("node-1", "uid-web-1", APP, final=False)
    assert isinstance(found, Subject)
    assert found.pod.workload == Workload("CronJob", "backup")


def test_a_job_that_is_made_again_keeps_its_owner_when_the_former_is_deleted() -> None:
    cluster = Cluster()
    cluster.owned("Job", "by-hand", ("CronJob", "former"))
    again = owned("by-hand", ("CronJob", "backup"))
    again["metadata"]["uid"] = "another"
    cluster.view.apply_owned("Job", parse_owned(again))
    cluster.view.delete_owned("Job", "owned-by-hand")
    cluster.pod("web-1", owner=("Job", "by-hand"))

    found = cluster.view.subject("node-1", "uid-web-1", APP, final=False)
    assert isinstance(found, Subject)
    assert found.pod.workload == Workload("CronJob", "backup")


def test_a_deleted_pod_is_known_for_an_hour() -> None:
    cluster = Cluster()
    cluster.pod("web-1")
    cluster.view.delete_pod("uid-web-1", at(5), at(5))
    cluster.pod("web-2", now=3600)
    assert isinstance(cluster.view.subject("node-1", "uid-web-1", APP, final=False), Subject)

    cluster.pod("web-3", now=3606)
    assert cluster.view.subject("node-1", "uid-web-1", APP, final=True) is Unnamed.UNKNOWN


def test_deleted_pods_are_bounded_by_number_too() -> None:
    pods = Pods(deleted_max=10)
    for number in range(100):
        pods.apply(parse_pod_of_cluster(pod(f"p{number}", ips=[f"10.1.0.{number}"])), at(number))
        pods.delete(f"uid-p{number}", at(number), at(number))

    assert [number for number in range(100) if pods.of_uid(f"uid-p{number}")] == list(range(90, 100))
    assert len(pods.addresses) == 10


def test_a_container_of_before_a_restart_is_still_known() -> None:
    cluster = Cluster()
    cluster.pod("web-1", containers=["first"])
    cluster.pod("web-1", containers=["second"], now=9)

    for each in ("first", "second"):
        found = cluster.view.subject("node-1", "uid-web-1", container_id(f"uid-web-1{each}"), final=False)
        assert isinstance(found, Subject)
        assert found.container.name == each


def test_a_container_that_no_status_names_is_waited_for_and_then_has_its_pod_only() -> None:
    cluster = Cluster()
    cluster.pod("web-1")

    assert cluster.view.subject("node-1", "uid-web-1", "f" * 64, final=False) is Unnamed.UNKNOWN
    found = cluster.view.subject("node-1", "uid-web-1", "f" * 64, final=True)
    assert isinstance(found, Subject)
    assert (found.pod.name, found.container.name, found.container.id) == ("web-1", "", "f" * 64)


@pytest.mark.parametrize("parse", [parse_pod_of_cluster, parse_service, parse_slice, parse_node])
@pytest.mark.parametrize("raw", [None, 7, [], {}, {"metadata": 7}, {"metadata": {"name": "x"}}, {"metadata": {"uid": 7}}])
def test_what_is_no_object_is_said_to_be_none(parse: object, raw: object) -> None:
    with pytest.raises(MalformedError):
        parse(raw)


@pytest.mark.parametrize("address", ["", "None", "nonsense", "10.0.0.1.1", "10.0.0.1%eth0", "\udc80"])
def test_an_address_that_is_none_is_passed_over(address: str) -> None:
    assert parse_service(service("s", ips=[address])).addresses == ()
    assert parse_pod_of_cluster(pod("p", ips=[address])).addresses == ()
    assert parse_node(node("n", address)).addresses == ()


NAMES = st.sampled_from(["a", "b", "c", "d"])
HOSTS = st.sampled_from(["node-1", "node-2"])


class Server(RuleBasedStateMachine):
    """An API server that a watch follows, with breaks after which it lists again."""

    def __init__(self) -> None:
        super().__init__()
        self.view = ClusterView("test")
        self.now = 0.0
        watch = ClusterWatch(self.view, ApiServer("http://127.0.0.1:1", None, dict), clock=lambda: at(self.now))
        self.pods = watch.reflectors[0].store
        self.there: dict[str, dict[str, object]] = {}
        self.ever: dict[str, tuple[str, str]] = {}
        self.broken = False
        self.number = 0

    def _tell(self, uid: str) -> None:
        if not self.broken:
            self.pods.apply(parse_pod_of_cluster(self.there[uid]))

    @rule(name=NAMES, host=HOSTS, seconds=st.integers(0, 100))
    def a_pod_is_made(self, name: str, host: str, seconds: int) -> None:
        self.now += seconds
        self.number += 1
        uid = f"uid-{self.number}"
        self.there[uid] = pod(name, uid=uid, node=host, ips=[f"10.1.0.{self.number % 3}"], owner=("Set", name))
        self.ever[uid] = (name, host)
        self._tell(uid)

    @rule(data=st.data())
    def a_pod_changes(self, data: st.DataObject) -> None:
        if self.there:
            uid = data.draw(st.sampled_from(sorted(self.there)))
            name, host = self.ever[uid]
            containers = data.draw(st.lists(st.sampled_from(["app", "side"]), unique=True))
            self.there[uid] = pod(name, uid=uid, node=host, containers=containers, owner=("Set", name))
            self._tell(uid)

    @rule(data=st.data(), seconds=st.integers(0, 2000))
    def a_pod_is_deleted(self, data: st.DataObject, seconds: int) -> None:
        self.now += seconds
        if self.there:
            uid = data.draw(st.sampled_from(sorted(self.there)))
            del self.there[uid]
            if not self.broken:
                self.pods.delete(uid)

    @rule()
    def the_watch_breaks(self) -> None:
        self.broken = True

    @rule()
    def a_list_comes(self) -> None:
        self.broken = False
        self.pods.replace([parse_pod_of_cluster(each) for each in self.there.values()])

    @invariant()
    def what_is_there_is_known_when_the_server_is(self) -> None:
        if not self.broken:
            assert set(self.view.pods.keys()) == set(self.there)
            for uid, raw in self.there.items():
                for each in raw["status"]["containerStatuses"]:
                    ref = each["containerID"].removeprefix("containerd://")
                    found = self.view.subject(self.ever[uid][1], uid, ref, final=False)
                    assert isinstance(found, Subject)
                    assert found.container.name == each["name"]

    @invariant()
    def nobody_is_somebody_else(self) -> None:
        for uid, (name, host) in self.ever.items():
            for container in ("app", "side"):
                ref = container_id(uid + container)
                for claimed, of in ((uid, host), ("", host), (uid, "node-3"), ("uid-0", host)):
                    found = self.view.subject(of, claimed, ref, final=True)
                    if isinstance(found, Subject):
                        assert (found.pod.uid, found.pod.name, of) == (uid, name, host)
                        assert found.container.name in {"", container}
                        assert claimed in {"", uid}

    @invariant()
    def an_address_is_one_of_those_that_had_it(self) -> None:
        for last in range(3):
            packed = bytes(10) + b"\xff\xff" + bytes((10, 1, 0, last))
            for span in self.view.spans(packed, 1):
                had = {name for uid, (name, _) in self.ever.items() if int(uid.removeprefix("uid-")) % 3 == last}
                assert span.who.workload.name in had


TestServer = Server.TestCase


def test_owners_are_forgotten_with_their_objects() -> None:
    cluster = Cluster()
    for number in range(10):
        cluster.owned("Job", f"job-{number}", ("CronJob", "c"))
        cluster.view.delete_owned("Job", owned(f"job-{number}", None)["metadata"]["uid"])

    assert not cluster.view.owners["Job"]
