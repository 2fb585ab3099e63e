"""Who met several destinations of a kind meets more of them; who met none deviates."""

import dataclasses

import numpy as np
import pytest
from detection.cluster import Cluster, alerts, analyse
from peerwatch.columns import Peer
from peerwatch.subjects import Workload

from collector.detect.context import kind_of_place
from collector.detect.decision import Limits
from collector.detect.surprise import shared_mass

SERVER = "/usr/bin/server"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("public 203.0.0.0/16:443/tcp", "public *:well-known"),
        ("public 203.0.0.0/16:123/udp", "public *:well-known"),
        ("public 203.0.0.0/16:4444/tcp", "public *:4444/tcp"),
        ("private 10.0.7.0/24:5432/tcp", "private *:5432/tcp"),
        ("shop/cart:8080/tcp", "service *:8080/tcp"),
        ("api.example.com:443/tcp", "name *:443/tcp"),
        ("metadata-service:80/tcp", "metadata-service:80/tcp"),
    ],
)
def test_a_destination_has_a_kind(target: str, kind: str) -> None:
    assert kind_of_place(target) == kind


@pytest.mark.parametrize(
    ("behaviours", "replicas", "mass"),
    [
        ([], [], 0.0),
        ([1, 1, 2, 2], [1, 2, 1, 2], 0.0),
        ([1, 2, 2], [1, 1, 2], 0.0),
        ([1, 2, 3, 3], [1, 2, 1, 2], 2 / 5),
        ([1, 1, 2], [1, 1, 1], 2 / 3),
    ],
)
def test_variety_is_what_only_one_replica_showed(behaviours: list[int], replicas: list[int], mass: float) -> None:
    assert shared_mass(np.array(behaviours, np.int64), np.array(replicas, np.int64)) == pytest.approx(mass)


def settled(cluster: Cluster, *, to: str = "", peer: Peer | None = None) -> list:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 1500)
    for second in range(1, 1500, 3):
        for pod in pods:
            cluster.connect(second + 0.3, pod, SERVER, ("10.96.0.10", 53), peer=Peer("kube-system", Workload("Service", "dns")))
            if to:
                cluster.connect(second + 0.4, pod, SERVER, (to, 8080), peer=peer)
    return pods


def test_a_new_network_on_a_port_that_is_used_is_a_pod_that_moved(cluster: Cluster) -> None:
    pods = settled(cluster, to="10.1.1.9")
    cluster.connect(1200, pods[2], SERVER, ("10.1.2.9", 8080))

    assert alerts(analyse(cluster, until=1600)) == []


def test_an_address_that_nobody_could_name_may_be_the_known_service_s(cluster: Cluster) -> None:
    pods = settled(cluster, to="10.1.1.9", peer=Peer("shop", Workload("Service", "stock")))
    cluster.connect(1200, pods[2], SERVER, ("10.1.2.9", 8080))

    assert alerts(analyse(cluster, until=1600)) == []


def test_a_new_network_on_a_new_port_is_told(cluster: Cluster) -> None:
    pods = settled(cluster, to="10.1.1.9")
    cluster.connect(1200, pods[2], SERVER, ("10.1.2.9", 5432))

    (alert,) = alerts(analyse(cluster, until=1600))

    assert [each.pod for each in alert.replicas] == [pods[2].name]


def test_the_children_of_a_service_that_connected_are_no_part_of_that(cluster: Cluster) -> None:
    pods = settled(cluster, to="10.1.1.9")
    cluster.connect(800, pods[2], SERVER, ("203.0.113.9", 9999))
    service = cluster.pid
    cluster.exec(1200, pods[2], "/usr/bin/nc", parent=SERVER, parent_pid=service)

    assert len(alerts(analyse(cluster, until=1600))) == 2


def test_limits_are_scaled_together_and_stay_probabilities() -> None:
    limits = Limits()

    assert limits.scaled(1) == limits
    assert limits.scaled(0.5).at_once == limits.at_once / 2
    assert set(dataclasses.astuple(limits.scaled(1e6))) == {1.0}
