"""With fewer than three replicas there is no majority: history stands in for peers, and more of it is asked for."""

from detection.cluster import Cluster, alerts, analyse

from collector.records import IncidentKind, Severity


def test_a_single_replica_is_judged_by_its_history(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    cluster.normal(pods, 0, 1200)
    cluster.exec(1000.5, pods[0], "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster, until=1300))

    assert alert.kind == IncidentKind.NEW_BEHAVIOUR
    assert (alert.compared, alert.sharing) == (0, 0)
    assert "it has no peers to compare with" in alert.reason


def test_a_single_replica_with_little_history_is_not_judged(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    cluster.normal(pods, 0, 60)
    cluster.exec(40.5, pods[0], "/usr/bin/convert-video")

    assert alerts(analyse(cluster, until=200)) == []


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
