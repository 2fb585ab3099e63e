"""What only starts had a program run licenses the words that were said then, and no others."""

import pytest
from detection.cluster import Cluster, Replica, alerts, analyse

from collector.records import Severity

LEDGER = "/opt/ledger/bin/ledgerd"
SHELL = "/usr/bin/dash"
AT_START = ("sh", "-c", "locale -a")
ON_REQUEST = ("sh", "-c", "hostname; cat /srv/ledger/books")


def starting_with_a_shell(cluster: Cluster, count: int) -> list[Replica]:
    """Let replicas run their helpers for twenty minutes, after a start in which the service asks a shell something."""
    pods = cluster.pods(count)
    cluster.normal(pods, 0, 1200)
    for number, pod in enumerate(pods):
        cluster.exec(2.5 + 0.01 * number, pod, SHELL, parent=LEDGER, args=AT_START)
    return pods


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_shell_that_only_starts_needed_is_told_when_it_is_given_something_else(cluster: Cluster, count: int) -> None:
    pods = starting_with_a_shell(cluster, count)
    shell = cluster.exec(1000.5, pods[0], SHELL, parent=LEDGER, args=ON_REQUEST)
    cluster.exec(1000.6, pods[0], "/usr/bin/cat", parent=SHELL, args=("cat", "/srv/ledger/books"), parent_pid=shell)

    (alert,) = alerts(analyse(cluster, until=1300))

    assert [each.pod for each in alert.replicas] == [pods[0].name]
    assert alert.severity >= Severity.MEDIUM
    assert "a shell started by ledgerd" in alert.reason
    assert {each.key.partition(" : ")[0] for each in alert.behaviours} >= {f"{SHELL} <- {LEDGER}", f"/usr/bin/cat <- {SHELL}"}


@pytest.mark.parametrize("count", [1, 3])
def test_the_words_of_a_start_are_usual_at_any_time(cluster: Cluster, count: int) -> None:
    pods = starting_with_a_shell(cluster, count)
    cluster.exec(1000.4, pods[0], "/usr/bin/server", parent="")  # its container starts again
    cluster.exec(1000.5, pods[0], SHELL, parent=LEDGER, args=AT_START)

    assert alerts(analyse(cluster, until=1300)) == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_shell_that_is_used_all_day_is_not_in_question_for_other_words(cluster: Cluster, count: int) -> None:
    pods = starting_with_a_shell(cluster, count)
    for pod in pods:
        cluster.exec(25.5, pod, SHELL, parent=LEDGER, args=("sh", "-c", "uname -r"))
    cluster.exec(1000.5, pods[0], SHELL, parent=LEDGER, args=ON_REQUEST)

    told = alerts(analyse(cluster, until=1300))

    assert not any("a shell started by" in alert.reason or alert.severity > Severity.MEDIUM for alert in told)


def test_what_all_replicas_begin_after_their_start_is_one_note(cluster: Cluster) -> None:
    pods = starting_with_a_shell(cluster, 5)
    for number, pod in enumerate(pods):
        cluster.exec(100.5 + 0.1 * number, pod, SHELL, parent=LEDGER, args=ON_REQUEST)

    assert alerts(analyse(cluster, until=1300)) == []
