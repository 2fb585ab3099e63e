"""With fewer than three replicas there is no majority: history stands in for peers, and more of it is asked for."""

import pytest
from detection.cluster import CART, Cluster, alerts, analyse

from collector.analysis import Analysis
from collector.records import IncidentKind, Severity

SECOND = 1_000_000_000


def test_a_single_replica_is_judged_by_its_history(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    cluster.normal(pods, 0, 1200)
    cluster.exec(1000.5, pods[0], "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster, until=1300))

    assert alert.kind == IncidentKind.NEW_BEHAVIOUR
    assert (alert.compared, alert.sharing) == (0, 0)
    assert "it has no peers to compare with" in alert.reason


def test_of_a_single_replica_it_is_said_at_once_since_nobody_can_follow(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    cluster.normal(pods, 0, 1200)
    cluster.exec(1000.5, pods[0], "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster, until=1300))

    assert alert.time - alert.first_event < SECOND


def test_of_two_replicas_the_other_one_gets_its_time_to_follow(cluster: Cluster) -> None:
    pods = cluster.pods(2)
    cluster.normal(pods, 0, 2400)
    for number, pod in enumerate(pods):
        cluster.exec(2000.5 + 10 * number, pod, "/usr/bin/convert-video")

    assert alerts(analyse(cluster, until=2500)) == []


def test_a_single_replica_with_little_history_is_not_judged(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    cluster.normal(pods, 0, 60)
    cluster.exec(40.5, pods[0], "/usr/bin/convert-video")

    assert alerts(analyse(cluster, until=200)) == []


def test_of_two_replicas_nobody_is_woken_for_one_after_minutes(cluster: Cluster) -> None:
    pods = cluster.pods(2)
    cluster.normal(pods, 0, 500, every=4)
    cluster.exec(300.5, pods[1], "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster, until=600))

    assert alert.severity == Severity.MEDIUM


def test_of_two_replicas_the_one_that_did_it_is_named(cluster: Cluster) -> None:
    pods = cluster.pods(2)
    cluster.normal(pods, 0, 1200)
    cluster.exec(1000.5, pods[1], "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster, until=1300))

    assert [each.pod for each in alert.replicas] == ["cart-r1-1"]
    assert alert.severity == Severity.HIGH
    assert "its only peer never did" in alert.reason


def test_what_the_previous_pod_did_is_known_of_the_next(cluster: Cluster) -> None:
    (old,) = cluster.pods(1)
    (new,) = cluster.pods(1, at=600, first=1)
    cluster.normal([old], 0, 600)
    cluster.normal([new], 600, 1800)
    cluster.exec(30.5, old, "/usr/bin/pg_dump")
    cluster.exec(1700.5, new, "/usr/bin/pg_dump")

    assert alerts(analyse(cluster, until=1900)) == []


@pytest.mark.parametrize(("count", "compared"), [(1, 0), (2, 1)])
def test_nothing_is_said_of_peers_that_are_not_there(cluster: Cluster, count: int, compared: int) -> None:
    pods = cluster.pods(count)
    cluster.normal(pods, 0, 2400)
    cluster.exec(1200.5, pods[0], "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster, until=2500))

    assert alert.kind == IncidentKind.NEW_BEHAVIOUR  # with fewer than two others nobody can say who deviates
    assert alert.compared == compared
    assert "peers ever" not in alert.reason


@pytest.mark.parametrize("count", [1, 2])
def test_what_the_revision_before_did_is_known_of_the_next_one(cluster: Cluster, count: int) -> None:
    old, new = cluster.pods(count), cluster.pods(count, revision="r2", at=1200)
    cluster.normal(old, 0, 1200)
    cluster.normal(new, 1200, 2400)
    cluster.exec(30.5, old[0], "/usr/bin/pg_dump")
    cluster.exec(2000.5, new[0], "/usr/bin/pg_dump")
    cluster.exec(2200.5, new[0], "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster, until=2500))

    assert "/usr/bin/nc" in alert.reason
    assert f"{count} earlier replica" in alert.reason


@pytest.mark.parametrize("count", [1, 2])
def test_one_of_few_is_believed_after_an_hour_or_a_second_revision(cluster: Cluster, count: int) -> None:
    pods, next_one = cluster.pods(count), cluster.pods(1, revision="r2", at=4000)
    cluster.normal(pods[:1], 0, 4400)
    cluster.normal(pods[1:], 0, 3900)
    cluster.normal(next_one, 4000, 4400)
    for second in (5.2, 10.2, 15.2):
        cluster.exec(second, pods[0], "/opt/shop/once")
    for second in (5.4, 2000.4, 3700.4):
        cluster.exec(second, pods[0], "/opt/shop/hourly")
    for at, pod in ((5.6, pods[0]), (4010.6, next_one[0])):
        cluster.exec(at, pod, "/opt/shop/migrate")
    analysis = Analysis()

    analyse(cluster, analysis=analysis)

    states = {each.key.partition(" <- ")[0]: each.state for each in analysis.baseline(CART)}
    assert states["/opt/shop/once"] != states["/opt/shop/hourly"]
    assert states["/opt/shop/hourly"] == states["/opt/shop/migrate"] == states["/usr/bin/psql"]
