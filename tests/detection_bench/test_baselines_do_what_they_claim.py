"""The rules of others, on a small cluster: each finds and misses what its publication says."""

import numpy as np
import pytest
from baselines import ALL, RULES
from baselines.allow_lists import AllowList, executable
from baselines.frame import Frame, alerts
from baselines.replica_watcher import ReplicaWatcher
from detection.cluster import BEGIN, SECOND, Cluster
from detector import Alert
from peerwatch.columns import ProcessFlag

ATTACK = 700


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def attacked(cluster: Cluster, at: float = ATTACK) -> Cluster:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1_200, every=5)
    shell = cluster.exec(at, pods[2], "/usr/bin/dash", parent_pid=1)
    cluster.exec(at + 0.1, pods[2], "/usr/bin/nc", parent="/usr/bin/dash", parent_pid=shell)
    cluster.connect(at + 0.2, pods[2], "/usr/bin/nc", ("203.0.113.4", 4444))
    return cluster


def told(cluster: Cluster, name: str) -> list[Alert]:
    return sorted(ALL[name]([cluster.table()]), key=lambda each: each.time)


@pytest.mark.parametrize(
    "name", ["B1 StackRox, 5 min", "B2 Kubescape literal, 5 min", "B7 trigrams, 5 min", "B8 late execution"]
)
def test_what_learns_paths_tells_the_new_ones_of_the_pod(cluster: Cluster, name: str) -> None:
    (alert,) = told(attacked(cluster), name)

    assert alert.pods == {"cart-r1-2"}
    assert alert.time == BEGIN + ATTACK * SECOND
    assert {pid for *_, pid in alert.evidence} >= {each[2][2] for each in cluster.sorted() if each[0] == ATTACK + 0.1}


LEARNING = sorted(
    name for name in RULES if name.endswith((", 5 min", ", 1 h", ", 24 h")) and name[:3] not in {"B4 ", "B4n", "B10"}
)


@pytest.mark.parametrize("name", LEARNING)
def test_who_learns_while_attacked_learns_the_attack(cluster: Cluster, name: str) -> None:
    alerts_of_attack = [each for each in told(attacked(cluster, at=100), name) if each.time < BEGIN + 200 * SECOND]

    assert alerts_of_attack == []


def test_everything_new_is_told_by_the_rule_that_never_learns(cluster: Cluster) -> None:
    first, second = told(attacked(cluster), "B0 everything new")

    assert first.time == BEGIN
    assert second.label == "/usr/bin/dash, /usr/bin/nc"


def test_who_learns_an_hour_says_nothing_in_it(cluster: Cluster) -> None:
    assert told(attacked(cluster), "B1 StackRox, 1 h") == []


def test_the_watcher_accuses_the_replica_that_differs(cluster: Cluster) -> None:
    rule = ReplicaWatcher(10, 0.3)
    (alert,) = alerts(rule, [attacked(cluster).table()])

    assert alert.pods == {"cart-r1-2"}
    assert alert.time == BEGIN + (ATTACK + 10) * SECOND


def test_the_watcher_sees_nothing_where_nobody_can_be_compared(cluster: Cluster) -> None:
    (pod,) = cluster.pods(1)
    cluster.normal([pod], 0, 100)

    assert alerts(ReplicaWatcher(10, 0.01), [cluster.table()]) == []


def test_what_all_do_after_one_another_is_new_and_not_alone(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1_200, every=5)
    for number, pod in enumerate(pods):
        cluster.exec(600 + 30 * number, pod, "/usr/bin/reload")
    cluster.exec(650, pods[1], "/usr/bin/odd")

    (alert,) = told(cluster, "B10 new and alone, 5 min")

    assert alert.label == "/usr/bin/odd"


def test_the_intersection_needs_both(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1_200, every=5)
    for pod in pods:
        cluster.exec(700, pod, "/usr/bin/reload")

    assert told(cluster, "B1 StackRox, 5 min")
    assert told(cluster, "B10 B1 and B4, 5 min") == []


def test_static_rules_need_no_history(cluster: Cluster) -> None:
    pods = cluster.pods(2)
    cluster.exec(1, pods[0], "/dev/shm/x")
    cluster.exec(2, pods[1], "/usr/bin/bash", parent="/usr/sbin/nginx", flags=[ProcessFlag.TTY])
    cluster.exec(3, pods[1], "/usr/bin/cat", args=["cat", "/etc/shadow"])
    cluster.exec(4, pods[1], "/usr/bin/cat", args=["cat", "/etc/hosts"])

    found = told(cluster, "B9 static rules")

    assert sorted(len(each.evidence) for each in found) == [1, 2]


def test_outliers_are_minutes_unlike_those_learned(cluster: Cluster) -> None:
    # By distance only: an isolation forest cannot tell how far beyond its training a value lies, and with a limit at the
    # 99.9th percentile it is nearly blind, as measured on the other data, too.
    pods = cluster.pods(20)
    random = np.random.default_rng(1)
    for pod in pods:
        for minute in range(15):
            for at in random.uniform(0, 60, random.poisson(10)):
                cluster.exec(minute * 60 + float(at), pod, "/usr/bin/psql")
    for number in range(400):
        cluster.connect(600 + number / 10, pods[7], "/usr/bin/server", (f"203.0.{number % 250}.4", 1_024 + number))

    found = told(cluster, "B5 LOF, 5 min")

    assert frozenset({"cart-r1-7"}) in {each.pods for each in found}
    assert len(found) < 20


def test_the_same_thing_is_told_once_in_the_cool_down(cluster: Cluster) -> None:
    pods = cluster.pods(2)
    for at in range(0, 2_000, 10):
        cluster.exec(at, pods[0], "/dev/shm/x")

    assert [(each.time - BEGIN) // SECOND for each in told(cluster, "B9 static rules")] == [0, 910, 1_820]


def test_no_rule_fails_on_nothing(cluster: Cluster) -> None:
    cluster.loss(1, "node-0", 3)

    for detector in ALL.values():
        assert list(detector([])) == []
        assert list(detector([cluster.table()])) == []


def test_no_rule_looks_ahead(cluster: Cluster) -> None:
    table = attacked(cluster).table()
    until = int(np.searchsorted(table.time, BEGIN + 900 * SECOND))
    part = Frame.of([table.take(np.arange(until))])
    whole = Frame.of([table])
    for name, rule in RULES.items():
        if name.startswith("B5"):  # fitted as a whole, judged in its learning part only
            continue
        early, late = rule(part), rule(whole)
        before = late.raised <= BEGIN + 899 * SECOND
        mine = early.raised <= BEGIN + 899 * SECOND
        assert sorted(zip(early.row[mine].tolist(), early.raised[mine].tolist(), strict=True)) == sorted(
            zip(late.row[before].tolist(), late.raised[before].tolist(), strict=True)
        ), name


def test_an_allow_list_tells_each_path_once(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 500, every=5)
    for pod in pods:
        cluster.exec(400, pod, "/usr/bin/new")

    assert len(AllowList([executable], 300)(Frame.of([cluster.table()])).row) == 1
