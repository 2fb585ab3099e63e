"""More work is no deviation: load, its distribution, starts and idleness are told apart from a replica that does too much."""

import itertools

import numpy as np
import pytest
from detection.cluster import BEGIN, SECOND, Cluster, Replica, alerts, latest
from hypothesis import given, settings, strategies
from peerwatch.columns import Peer
from peerwatch.subjects import Workload

from collector.analysis import Analysis
from collector.records import Incident

DATABASE = Peer("shop", Workload("StatefulSet", "db"))
CACHE = Peer("shop", Workload("StatefulSet", "cache"))


def traffic(cluster: Cluster, pod: Replica, begin: float, end: float, rate: float) -> None:
    """Let a replica serve so many requests a second: each asks a database, every second one a cache, every fifth a helper."""
    random = np.random.default_rng(len(cluster.events))
    for number, at in enumerate(np.sort(random.uniform(begin, end, int((end - begin) * rate)))):
        cluster.connect(float(at), pod, "/usr/bin/server", ("10.4.7.3", 5432), peer=DATABASE)
        if number % 2:
            cluster.connect(float(at), pod, "/usr/bin/server", ("10.4.7.4", 6379), peer=CACHE)
        if number % 5 == 0:
            cluster.exec(float(at), pod, "/usr/bin/convert")


def told(cluster: Cluster) -> list[str]:
    analysis = Analysis()
    incidents = analysis.observe(cluster.table()) + analysis.finish()
    return [each.reason for each in alerts(latest(incidents))]


def test_one_replica_takes_nearly_all_traffic(cluster: Cluster) -> None:  # sticky sessions, long connections
    pods = cluster.pods(4)
    for number, pod in enumerate(pods):
        traffic(cluster, pod, 0, 1_200, 1)
        traffic(cluster, pod, 1_200, 1_800, 4 if number == 0 else 0.02)

    assert told(cluster) == []


def test_what_a_replica_is_asked_more_often_it_passes_on_within_its_pod(cluster: Cluster) -> None:  # a proxy in front
    pods, random = cluster.pods(3), np.random.default_rng(5)
    for number, pod in enumerate(pods):
        asked = [*random.uniform(0, 1_800, 180), *(random.uniform(1_500, 1_620, 1_200) if number == 0 else ())]
        for at in asked:
            cluster.connect(float(at), pod, "/usr/sbin/nginx", ("127.0.0.1", 9000))

    assert told(cluster) == []


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_a_peak_of_the_whole_workload(cluster: Cluster, replicas: int) -> None:  # a load test, the end of a month
    pods = cluster.pods(replicas)
    for pod in pods:
        traffic(cluster, pod, 0, 2_400, 0.5)
        traffic(cluster, pod, 2_400, 2_700, 8)

    assert told(cluster) == []


def test_the_newest_replica_warms_up(cluster: Cluster) -> None:
    pods, newest = cluster.pods(3), cluster.pods(1, first=3, at=1_200)
    for pod in pods:
        traffic(cluster, pod, 0, 1_800, 0.5)
    traffic(cluster, newest[0], 1_200, 1_260, 15)
    traffic(cluster, newest[0], 1_260, 1_800, 0.5)

    assert told(cluster) == []


def test_an_idle_replica_and_one_that_drains(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    for pod in pods[:3]:
        traffic(cluster, pod, 0, 1_800, 1)
    traffic(cluster, pods[3], 0, 900, 1)
    cluster.exec(1_799, pods[3], "/usr/bin/convert")

    assert told(cluster) == []


def test_new_addresses_of_suppliers_on_every_replica_in_turn(cluster: Cluster) -> None:  # a CDN rotates
    pods = cluster.pods(4)
    for pod in pods:
        traffic(cluster, pod, 0, 3_600, 0.2)
    for number in range(60):
        cluster.connect(200 + number * 55, pods[number % 4], "/usr/bin/server", (f"104.{number}.0.1", 443))

    assert [each for each in told(cluster) if "new to the workload" in each] == []


def busy() -> Cluster:
    cluster = Cluster()
    pods = cluster.pods(4)
    for pod in pods:
        traffic(cluster, pod, 0, 900, 0.2)
    for at in np.arange(700, 800, 0.2):
        cluster.exec(float(at), pods[2], "/usr/bin/convert")
    return cluster


TABLE = busy().table()


def run(cuts: list[int]) -> list[Incident]:
    analysis, said = Analysis(), []
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(TABLE)]):
        said += analysis.observe(TABLE.take(np.arange(begin, end)))
    return said + analysis.advance(BEGIN + 1_200 * SECOND)


ONCE = run([])


@settings(max_examples=15, deadline=None)
@given(strategies.lists(strategies.integers(0, len(TABLE)), max_size=12))
def test_however_the_events_are_cut_into_tables(cuts: list[int]) -> None:
    assert run(cuts) == ONCE


def test_there_is_a_deviation_to_find() -> None:
    assert any("times the most" in each.reason for each in ONCE)
