"""What all replicas of a workload do from the start is how it works, bad as it looks; what one does, or all later, is not."""

import pytest
from detection.cluster import Cluster, Replica, alerts, analyse
from peerwatch.columns import ProcessFlag

from collector.records import Incident, IncidentKind, Severity

ASH = "/bin/busybox[ash]"
TCPSVD = "/usr/bin/tcpsvd"
SOCKET = (ProcessFlag.STDIO_SOCKET,)


def serve(cluster: Cluster, pods: list[Replica], begin: float, end: float, *, every: float = 8, first: float = 0) -> None:
    """Let each replica hand its requests to a shell that has the connection as input, the first after `first` seconds."""
    for number, pod in enumerate(pods):
        cluster.exec(begin + 0.01 * number, pod, TCPSVD, parent="")
        at = begin + first + 3 * number
        while at < end:
            shell = cluster.exec(at, pod, ASH, parent=TCPSVD, args=("ash", "-c", ". /srv/answer.sh"), flags=SOCKET)
            cluster.exec(at + 0.01, pod, "/usr/bin/rrdtool", parent=ASH, flags=SOCKET, parent_pid=shell)
            at += every


def intrude(cluster: Cluster, pod: Replica, at: float) -> None:
    """Let somebody get a shell over the network from the program that listens."""
    shell = cluster.exec(at, pod, "/usr/bin/bash", parent=TCPSVD, args=("bash", "-i"), flags=SOCKET)
    cluster.exec(at + 0.1, pod, "/usr/bin/id", parent="/usr/bin/bash", flags=SOCKET, parent_pid=shell)


def known_bad(incidents: list[Incident]) -> list[list[str]]:
    found = [each for each in incidents if each.severity is Severity.CRITICAL and each.kind is IncidentKind.KNOWN_BAD]
    return [sorted(replica.pod for replica in each.replicas) for each in found]


@pytest.mark.parametrize("first", [1.0, 25.0, 70.0])
def test_a_workload_that_serves_by_shells_is_noted_once_whenever_its_first_requests_come(
    cluster: Cluster, first: float
) -> None:
    serve(cluster, cluster.pods(3), 0, 600, first=first)

    (note,) = analyse(cluster, until=700)

    assert note.severity is Severity.INFO
    assert len(note.replicas) == 3
    assert "how they work, or their image is bad (a shell whose input is a socket)" in note.reason


def test_it_is_not_noted_again_for_a_new_revision_that_does_the_same(cluster: Cluster) -> None:
    serve(cluster, cluster.pods(3), 0, 400, first=1)
    serve(cluster, cluster.pods(3, revision="r2", at=400), 400, 900, first=40)

    (note,) = analyse(cluster, until=1000)

    assert {each.pod.split("-")[1] for each in note.replicas} == {"r1"}


@pytest.mark.parametrize("at", [30.5, 100.5, 400.5])
def test_another_shell_on_one_of_its_replicas_is_known_bad(cluster: Cluster, at: float) -> None:
    pods = cluster.pods(3)
    serve(cluster, pods, 0, 600, first=1)
    intrude(cluster, pods[1], at)

    assert known_bad(analyse(cluster, until=700)) == [["cart-r1-1"]]


def test_it_does_not_wait_beside_what_was_told_of_the_same_replica_at_the_same_moment(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 300, every=0.2)
    cluster.exec(150.5, pods[1], "/opt/x", flags=(ProcessFlag.UPPER_LAYER,))
    cluster.exec(150.6, pods[1], "/usr/bin/bash", parent="/opt/x", flags=SOCKET)

    (alert,) = alerts(analyse(cluster))

    assert alert.severity is Severity.CRITICAL
    assert alert.time - alert.first_event < 1_000_000_000


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_replica_that_does_it_from_the_start_on_is_known_bad_and_teaches_nothing(cluster: Cluster, count: int) -> None:
    pods = cluster.pods(count)
    cluster.normal(pods, 0, 900)
    for second in range(2, 900, 10):
        intrude(cluster, pods[0], second + 0.5)

    assert known_bad(analyse(cluster, until=1000))[0] == ["cart-r1-0"]


@pytest.mark.parametrize("apart", [0.2, 3.0])
def test_all_replicas_at_once_are_known_bad_when_they_have_worked_otherwise(cluster: Cluster, apart: float) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 600)
    for number, pod in enumerate(pods):
        intrude(cluster, pod, 400.5 + apart * number)

    assert known_bad(analyse(cluster, until=700)) == [[pod.name for pod in pods]]


def test_it_is_said_at_once_where_there_are_no_peers_to_wait_for(cluster: Cluster) -> None:
    (pod,) = cluster.pods(1)
    cluster.normal([pod], 0, 100)
    intrude(cluster, pod, 60.5)

    (alert,) = alerts(analyse(cluster))

    assert alert.severity is Severity.CRITICAL
    assert alert.time - alert.first_event < 1_000_000_000
