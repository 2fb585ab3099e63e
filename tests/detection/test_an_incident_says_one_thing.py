"""The sentence of an incident, its numbers and what a list prints of them are the same comparison."""

import re

import pytest
from detection.cluster import Cluster, alerts, analyse
from detection.execs import entered

from collector.commands.show import others
from collector.records import Incident, IncidentKind


def says(incident: Incident) -> tuple[int, int]:
    """Return how many peers were compared, and how many did the same, as the sentence has it."""
    none, some = (re.search(pattern, incident.reason) for pattern in (r"none of its (\d+) peers", r"(\d+) of its (\d+) peers"))
    if none:
        return int(none[1]), 0
    assert some, incident.reason
    return int(some[2]), int(some[1])


@pytest.mark.parametrize("looked", [0, 1, 2])
def test_peers_that_ran_the_program_with_other_words_are_not_counted_as_doing_the_same(cluster: Cluster, looked: int) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 900, every=5)
    for number in range(looked):
        entered(cluster, 200 + 150 * number, pods[number], "uptime")
    entered(cluster, 800, pods[3], "chmod u+s /srv/x")
    (alert,) = alerts(analyse(cluster, until=960))
    assert (alert.compared, alert.sharing) == says(alert) == (3, 0)
    assert others(alert) == "none of 3 peers did"


def test_a_replica_that_follows_within_the_incident_is_counted_as_the_sentence_counts_it(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 900, every=5)
    for number in range(2):
        cluster.exec(800 + number, pods[number], "/usr/bin/nc", parent="/usr/bin/dash", args=("nc", "203.0.113.9", "4444"))
    (alert,) = alerts(analyse(cluster, until=960))
    assert len(alert.replicas) == 2
    assert (alert.compared, alert.sharing) == says(alert) == (3, 1)


def test_what_most_replicas_begin_without_a_rollout_is_no_change_of_their_revision(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 900, every=5)
    for number, pod in enumerate(pods):
        cluster.exec(700 + number, pod, "/usr/bin/renew")
    (note,) = analyse(cluster, until=960)
    assert note.kind is IncidentKind.NEW_BEHAVIOUR
    assert note.reason.endswith("peers do so as well: the workload changed")
