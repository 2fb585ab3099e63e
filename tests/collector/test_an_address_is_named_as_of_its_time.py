"""What an address was, of which kind ever, at the time of an event."""

from dataclasses import dataclass

import numpy as np
import pytest
from cluster_objects import SECOND, Cluster, at
from hypothesis import given, strategies as st
from peerwatch.addresses import pack_address
from peerwatch.columns import ColumnsBuilder, EventKind, Peer
from peerwatch.subjects import Subject, Workload

from collector.cluster.naming import name


def peers(cluster: Cluster, *seen: tuple[str, int, float], accepts: bool = False) -> list[Peer | None]:
    """Return what addresses and ports were at these times, as a table of events is told."""
    builder = ColumnsBuilder()
    subject = builder.subject(Subject("test", "node-1"))
    process = builder.process(pid=1, start_time=1, exe="/x")
    for address, port, second in seen:
        where = {"protocol": 1, "address": pack_address(address), "port": port}
        if accepts:
            builder.accept(at(second), subject, process, **where)
        else:
            builder.connect(at(second), subject, process, result=1, **where)
    table = name(cluster.view, builder.build(), "node-1").table
    part = table.part(EventKind.ACCEPT if accepts else EventKind.CONNECT)
    return [table.peers[number - 1] if number else None for number in part.peer.tolist()]


def said(peer: Peer | None) -> str:
    return "" if peer is None else f"{peer.namespace}/{peer.workload.kind}/{peer.workload.name}"


def one(cluster: Cluster, address: str, port: int = 80, second: float = 100, *, accepts: bool = False) -> str:
    return said(peers(cluster, (address, port, second), accepts=accepts)[0])


@pytest.fixture
def cluster() -> Cluster:
    """Two pods of a Deployment behind a service and a headless one, on a node."""
    cluster = Cluster()
    cluster.node("node-1", "10.0.0.1", "fd00::1")
    cluster.owned("ReplicaSet", "web-5d9c", ("Deployment", "web"))
    cluster.pod("web-1", ips=["10.1.0.1", "fd01::1"])
    cluster.pod("web-2", ips=["10.1.0.2"])
    cluster.service("front", ips=["10.9.0.1", "fd09::1"], ports=[{"port": 80, "nodePort": 30080}], created=5)
    cluster.service("web-headless", created=2)
    cluster.slice("front", pods=["uid-web-1", "uid-web-2"], ports=[8080])
    cluster.slice("web-headless", pods=["uid-web-1", "uid-web-2"], ports=[8080, 9090])
    return cluster


def test_a_service_s_address_and_its_pods_are_one_peer(cluster: Cluster) -> None:
    assert (
        one(cluster, "10.9.0.1", 80) == one(cluster, "10.1.0.1", 8080) == one(cluster, "10.1.0.2", 8080) == "shop/Service/front"
    )


def test_both_families_of_addresses_are_known(cluster: Cluster) -> None:
    assert one(cluster, "fd09::1", 80) == one(cluster, "fd01::1", 8080) == "shop/Service/front"
    assert one(cluster, "fd00::1", 22) == "/Node/node-1"


def test_a_headless_service_names_the_pods_that_no_other_leads_to(cluster: Cluster) -> None:
    assert one(cluster, "10.1.0.1", 9090) == "shop/Service/web-headless"


def test_a_port_that_no_service_leads_to_is_the_workload_s(cluster: Cluster) -> None:
    assert one(cluster, "10.1.0.1", 22) == "shop/Deployment/web"


def test_who_connects_is_named_by_workload_whatever_its_port_happens_to_be(cluster: Cluster) -> None:
    assert one(cluster, "10.1.0.1", 8080, accepts=True) == "shop/Deployment/web"


def test_a_new_pod_has_its_service_s_name_before_it_is_an_endpoint(cluster: Cluster) -> None:
    cluster.pod("web-3", ips=["10.1.0.3"])

    assert one(cluster, "10.1.0.3", 8080) == "shop/Service/front"


def test_an_endpoint_whose_pod_comes_later_is_not_forgotten() -> None:
    cluster = Cluster()
    cluster.service("front", ips=["10.9.0.1"])
    cluster.slice("front", pods=["uid-web-1"])
    cluster.pod("web-1", ips=["10.1.0.1"])

    assert one(cluster, "10.1.0.1", 8080) == "shop/Service/front"


def test_a_service_that_is_gone_names_nothing_any_more(cluster: Cluster) -> None:
    cluster.view.delete_service("svc-shop-front", at(50), at(50))

    assert one(cluster, "10.9.0.1", 80, 49) == "shop/Service/front"
    assert one(cluster, "10.9.0.1", 80, 51) == ""
    assert one(cluster, "10.1.0.1", 8080) == "shop/Service/web-headless"


def test_an_older_service_keeps_its_name_when_another_comes(cluster: Cluster) -> None:
    cluster.service("another", ips=["10.9.0.2"], created=60, now=60)
    cluster.slice("another", pods=["uid-web-1"], ports=[8080], now=60)

    assert one(cluster, "10.1.0.1", 8080) == "shop/Service/front"
    assert one(cluster, "10.9.0.2", 80) == "shop/Service/another"


def test_a_node_port_leads_to_its_service_and_other_ports_to_the_node(cluster: Cluster) -> None:
    assert one(cluster, "10.0.0.1", 30080) == "shop/Service/front"
    assert one(cluster, "10.0.0.1", 30081) == "/Node/node-1"


def test_a_pod_on_its_node_s_network_is_the_node_unless_the_port_tells(cluster: Cluster) -> None:
    cluster.pod("exporter-1", ips=["10.0.0.1"], host_network=True, host_port=9100, owner=("DaemonSet", "exporter"))

    assert one(cluster, "10.0.0.1", 9100) == "shop/DaemonSet/exporter"
    assert one(cluster, "10.0.0.1", 22) == one(cluster, "10.0.0.1", 9100, accepts=True) == "/Node/node-1"


def test_the_api_server_is_known_by_its_service_and_by_where_it_is(cluster: Cluster) -> None:
    cluster.service("kubernetes", namespace="default", ips=["10.9.0.9"], ports=[{"port": 443}])
    cluster.slice("kubernetes", namespace="default", addresses=["10.0.0.1"], ports=[6443])

    assert one(cluster, "10.9.0.9", 443) == one(cluster, "10.0.0.1", 6443) == "/apiserver/kubernetes"
    assert one(cluster, "10.0.0.1", 22) == "/Node/node-1"


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254"])
def test_the_metadata_service_is_known_in_every_cluster(address: str) -> None:
    assert one(Cluster(), address) == "/metadata-service/metadata-service"


def test_a_dns_cache_on_the_node_is_the_cluster_s_dns() -> None:
    assert one(Cluster(), "169.254.20.10", 53) == "kube-system/Service/kube-dns"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::", "203.0.113.9", "10.1.0.77"])
def test_what_is_nobody_s_has_no_name(cluster: Cluster, address: str) -> None:
    cluster.pod("agent", ips=["10.0.0.1"], host_network=True, host_port=80)

    assert one(cluster, address) == ""


def test_a_database_outside_is_named_by_the_service_that_somebody_wrote_for_it(cluster: Cluster) -> None:
    cluster.service("db", ips=["10.9.0.5"])
    cluster.slice("db", addresses=["192.0.2.7"], ports=[5432])

    assert one(cluster, "192.0.2.7", 5432) == "shop/Service/db"
    assert one(cluster, "192.0.2.7", 22) == ""


def test_nobody_renames_what_is_somebody_else_s(cluster: Cluster) -> None:
    """Whoever may write a service and its slices in one namespace can write any address into them."""
    cluster.service("evil", namespace="attic", ips=["10.9.0.66"], claimed=["10.1.0.1", "10.9.0.1", "10.0.0.1"], created=-9)
    cluster.slice("evil", namespace="attic", addresses=["10.1.0.1", "10.9.0.1", "10.0.0.1"], ports=[8080, 80])
    cluster.slice("evil", namespace="attic", pods=["uid-web-2"], ports=[8080, 80])

    assert (
        one(cluster, "10.1.0.1", 8080) == one(cluster, "10.1.0.2", 8080) == one(cluster, "10.9.0.1", 80) == "shop/Service/front"
    )
    assert one(cluster, "10.0.0.1", 8080) == "/Node/node-1"


def test_a_balancer_on_a_node_s_address_is_its_service(cluster: Cluster) -> None:
    cluster.service("front", ips=["10.9.0.1"], ports=[{"port": 443}], balancers=["10.0.0.1"], now=60)

    assert one(cluster, "10.0.0.1", 443) == "shop/Service/front"


def test_what_an_agent_says_an_address_was_is_not_used(cluster: Cluster) -> None:
    builder = ColumnsBuilder()
    subject = builder.subject(Subject("test", "node-1"))
    process = builder.process(pid=1, start_time=1, exe="/x")
    claimed = builder.peer(Peer("shop", Workload("Service", "front")))
    builder.connect(at(9), subject, process, protocol=1, address=pack_address("203.0.113.9"), port=80, result=1, peer=claimed)

    table = name(cluster.view, builder.build(), "node-1").table
    assert table.connects.peer.tolist() == [0]
    assert not table.peers


def test_events_of_one_table_see_each_its_own_time(cluster: Cluster) -> None:
    cluster.pod("web-1", ips=["10.1.0.1"], ended=200, now=201)
    cluster.pod("job-1", ips=["10.1.0.1"], owner=("Job", "backup"), created=299, running=300, now=301)

    found = peers(cluster, ("10.1.0.1", 1, 100), ("10.1.0.1", 1, 250), ("10.1.0.1", 1, 302), ("10.1.0.2", 1, 302))
    assert [said(each) for each in found] == ["shop/Deployment/web", "", "shop/Job/backup", "shop/Deployment/web"]


@dataclass(frozen=True)
class Life:
    """When a pod really had an address, in seconds, and when the view hears of what."""

    created: float
    got: float
    lost: float
    heard: float
    """Of its start, after it."""
    gone: float
    """Of its deletion, after its end."""
    tells_end: bool
    """Its status says that it ended, before it is deleted."""


@st.composite
def lives(draw: st.DrawFn) -> list[Life]:
    """Pods that have one address, one after the other."""
    found: list[Life] = []
    time = 0.0
    gaps = st.sampled_from([0.001, 0.4, 0.999, 1.0, 1.5, 30.0])
    for _ in range(draw(st.integers(1, 6))):
        got = time + draw(gaps)
        lost = got + draw(gaps)
        created = max(0, got - draw(gaps))
        found.append(Life(created, got, lost, got + draw(gaps), lost + draw(gaps), draw(st.booleans())))
        time = lost
    return found


@given(lives(), st.lists(st.floats(0, 250), max_size=30), st.data())
def test_no_lookup_names_who_did_not_have_the_address(all_lives: list[Life], times: list[float], data: st.DataObject) -> None:
    """News arrive late and in any order of pods; what is then said of any time was so, or is not said at all."""
    cluster = Cluster()
    news = [(life.heard, number, "begin") for number, life in enumerate(all_lives)]
    news += [(max(life.heard, life.lost) + 0.001, number, "end") for number, life in enumerate(all_lives) if life.tells_end]
    news += [(max(life.heard, life.gone) + 0.002, number, "delete") for number, life in enumerate(all_lives)]
    for when, number, what in sorted(news):
        life, name_ = all_lives[number], f"p{number}"
        status = data.draw(st.sampled_from(["nothing", "network", "containers"]))
        if what == "delete":
            cluster.view.delete_pod(f"uid-{name_}", at(when), at(when))
        else:
            cluster.pod(
                name_,
                ips=["10.1.0.1"],
                owner=None,
                created=life.created,
                ready=life.got if status == "network" else None,
                running=life.got + 0.3 if status == "containers" or what == "end" else None,
                ended=life.lost if what == "end" else None,
                now=max(when, life.got + 0.3),
            )

    edges = [edge for life in all_lives for edge in (life.got, life.lost, life.got + 0.5, life.lost - 0.0005)]
    asked = [*times, *edges]
    for second, found in zip(asked, peers(cluster, *(("10.1.0.1", 1, second) for second in asked)), strict=True):
        if found is not None:
            life = all_lives[int(found.workload.name[1:])]
            assert at(second) >= at(life.created) // SECOND * SECOND
            holder = [each for each in all_lives if each.got <= second < each.lost]
            assert holder in ([], [life])  # nobody had it: one who is about to, or was not heard of since


def test_what_was_not_known_exactly_is_not_known_exactly_once_others_are_forgotten() -> None:
    """Four pods had the address within one second; news of the first come last, long after it is gone."""
    cluster = Cluster()
    for number in (1, 2, 3):
        cluster.pod(f"p{number}", ips=["10.1.0.1"], owner=None, running=None, ready=0, now=0.3)
        if number < 3:
            cluster.view.delete_pod(f"uid-p{number}", at(0.01 * number), at(0.3))
    cluster.pod("p0", ips=["10.1.0.1"], owner=None, running=None, ready=0, now=2000)
    cluster.view.delete_pod("uid-p0", at(2001), at(2001))
    cluster.view.delete_pod("uid-p3", at(4000), at(4000))  # those before it are forgotten now

    assert one(cluster, "10.1.0.1", 1, 1500) in {"", "shop/Pod/p3"}


@given(pauses=st.lists(st.integers(0, 5), min_size=1, max_size=6), tells_end=st.booleans())
def test_a_pod_that_lives_for_seconds_is_named(*, pauses: list[int], tells_end: bool) -> None:
    cluster = Cluster()
    time = 0.5
    for number, pause in enumerate(pauses):
        time += pause
        pod = {"ips": ["10.1.0.1"], "owner": None, "created": time - 0.5, "ready": time}
        cluster.pod(f"p{number}", **pod, now=time + 0.2)
        time += 4
        if tells_end:
            cluster.pod(f"p{number}", **pod, ended=time, now=time + 0.2)
        cluster.view.delete_pod(f"uid-p{number}", at(time + 0.3), at(time + 0.3))

        assert one(cluster, "10.1.0.1", 1, time - 1.4) == f"shop/Pod/p{number}"
        time += 0.5


def test_rows_keep_their_order_whatever_is_distinct(cluster: Cluster) -> None:
    addresses = ["10.1.0.2", "203.0.113.9", "10.9.0.1", "10.1.0.2", "10.0.0.1"]
    found = peers(cluster, *((address, 22, 100) for address in np.array(addresses).tolist()))

    assert [said(each) for each in found] == [
        "shop/Deployment/web",
        "",
        "shop/Service/front",
        "shop/Deployment/web",
        "/Node/node-1",
    ]
