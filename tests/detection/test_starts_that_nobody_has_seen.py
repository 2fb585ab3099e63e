"""An agent that joins a running cluster has seen no starts: the first one is no deviation, and a container may start again."""

import dataclasses

import pytest
from detection.cluster import BEGIN, SECOND, Cluster, Replica, alerts, analyse
from peerwatch.columns import ProcessFlag

STEEL, SHELL = "/opt/steel/steeld", "/usr/bin/bash"
RESTART = 3000


def running(cluster: Cluster, count: int, *, at: float = -86_400) -> list[Replica]:
    """Let replicas run that were started long before anybody looked."""
    pods = cluster.pods(count, at=at)
    for number, pod in enumerate(pods):
        second = 0.5 * number
        while second < 4000:
            cluster.exec(second, pod, "/opt/steel/tally", parent=STEEL)
            second += 4.0
    return pods


def again(pod: Replica) -> Replica:
    """Return a replica whose container was started again."""
    container = dataclasses.replace(pod.subject.container, id="again", started_at=BEGIN + RESTART * SECOND)
    return Replica(pod.name, dataclasses.replace(pod.subject, container=container))


def start(cluster: Cluster, pod: Replica, at: float) -> None:
    """Let an entrypoint do what entrypoints do."""
    cluster.exec(at, pod, SHELL, parent="", args=("bash", "/entrypoint.sh"))
    for number, step in enumerate(("id", "mkdir", "chown", "su", "openssl")):
        cluster.exec(at + 0.2 + 0.3 * number, pod, f"/usr/bin/{step}", parent=SHELL)
    cluster.exec(at + 3, pod, STEEL, parent=SHELL)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_first_start_of_a_container_is_no_deviation(cluster: Cluster, count: int) -> None:
    pods = running(cluster, count)
    start(cluster, again(pods[0]), RESTART + 0.5)

    assert alerts(analyse(cluster, until=4100)) == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_first_new_pod_is_no_deviation(cluster: Cluster, count: int) -> None:
    running(cluster, count)
    (new,) = cluster.pods(1, at=RESTART, first=count)
    start(cluster, new, RESTART + 0.5)

    assert alerts(analyse(cluster, until=4100)) == []


@pytest.mark.parametrize("count", [1, 5])
def test_what_is_bad_anywhere_is_told_of_a_start_as_well(cluster: Cluster, count: int) -> None:
    pod = again(running(cluster, count)[0])
    start(cluster, pod, RESTART + 0.5)
    cluster.exec(RESTART + 5, pod, "memfd:x", parent=STEEL, flags=(ProcessFlag.MEMFD,))

    assert len(alerts(analyse(cluster, until=4100))) == 1


@pytest.mark.parametrize("count", [1, 5])
def test_after_the_start_all_is_judged_as_before(cluster: Cluster, count: int) -> None:
    pod = again(running(cluster, count)[0])
    start(cluster, pod, RESTART + 0.5)
    cluster.exec(RESTART + 400, pod, "/usr/bin/nc", parent=STEEL, args=("nc", "203.0.113.9", "4444"))

    (alert,) = alerts(analyse(cluster, until=4100))

    assert "/usr/bin/nc" in alert.reason
