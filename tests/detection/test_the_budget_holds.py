"""However odd a workload seems to us, it is told of no more often than the budget says, and its spending is nobody else's."""

import numpy as np
import pytest
from detection.cluster import BEGIN, SECOND, Cluster, alerts, analyse, latest
from peerwatch.columns import ProcessFlag

from collector.analysis import Analysis, Settings, spending
from collector.analysis.sightings import MOST_ALERTS
from collector.records import Severity

DAYS = 40
REPLICAS = 3
BUDGET = 0.1


def noisy(cluster: Cluster, *, a_day: float = 2) -> None:
    """Let a service live for weeks, in which at random times one replica does something that it never did before."""
    random = np.random.default_rng(7)
    pods = cluster.pods(REPLICAS)
    for beat in range(3 * 24 * DAYS):
        for number, pod in enumerate(pods):
            cluster.exec(1200 * beat + number, pod, "/usr/bin/psql" if beat else "/usr/bin/server")
    for number, at in enumerate(np.sort(random.uniform(7200, 86_400 * DAYS - 7200, int(a_day * DAYS)))):
        name = "".join(chr(97 + int(digit)) for digit in f"{number:04d}")
        cluster.exec(round(float(at), 1), pods[number % REPLICAS], f"/srv/odd-{name}x", flags=(ProcessFlag.UPPER_LAYER,))


@pytest.mark.parametrize("a_day", [2, 5])
def test_a_workload_that_nobody_gets_to_know_tells_no_more_than_its_budget(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, a_day: float
) -> None:
    noisy(cluster, a_day=a_day)
    settings = Settings(budget=BUDGET)

    told = alerts(analyse(cluster, analysis=Analysis(settings)))
    monkeypatch.setattr(spending, "pay", lambda *_, **__: True)
    without = alerts(analyse(cluster, analysis=Analysis(settings)))

    earned = BUDGET * DAYS * REPLICAS
    late = [each for each in told if each.time > BEGIN + (DAYS - 10) * 86_400 * SECOND]
    assert len(without) > earned + MOST_ALERTS
    assert len(told) <= earned + MOST_ALERTS
    assert late  # it is never silenced


def test_what_a_workload_spends_is_missing_nowhere_else_and_what_is_unpaid_is_a_note(cluster: Cluster) -> None:
    noisy(cluster)
    pods = cluster.pods(3, workload="shop")
    cluster.normal(pods, 86_400 * 30, 86_400 * 30 + 900)
    cluster.exec(86_400 * 30 + 800.5, pods[1], "/usr/bin/nc")
    analysis = Analysis(Settings(budget=BUDGET / 2))

    incidents = analyse(cluster, analysis=analysis)

    assert [each.severity for each in incidents if each.workload.name == "shop"] == [Severity.HIGH]
    unpaid = [each for each in incidents if "than the budget allows" in each.reason]
    assert {each.severity for each in unpaid} == {Severity.INFO}
    assert len(unpaid) == analysis.counters.unpaid_alerts > 0


def test_what_says_most_is_told_when_there_is_nothing_left_for_the_rest(cluster: Cluster) -> None:
    noisy(cluster)
    at = 86_400 * (DAYS - 1) + 3000.5
    cluster.exec(at, cluster.pods(REPLICAS)[0], "/usr/bin/nc")
    cluster.exec(at + 500, cluster.pods(REPLICAS)[1], "/memfd:x", flags=[ProcessFlag.MEMFD])

    told = alerts(analyse(cluster, analysis=Analysis(Settings(budget=BUDGET / 2))))

    assert [each.severity for each in told[-2:]] == [Severity.HIGH, Severity.CRITICAL]


def test_a_restart_neither_gives_nor_takes_alerts(cluster: Cluster) -> None:
    noisy(cluster)
    settings, half = Settings(budget=BUDGET), len(cluster.events) // 2
    whole, before, after = Analysis(settings), Analysis(settings), Analysis(settings)
    expected = alerts(latest(whole.observe(cluster.table())))

    first = before.observe(cluster.table(0, half))
    changes = before.take_changes()
    after.restore(changes.replicas, changes.sightings, latest(first), changes.expired)
    told = alerts(latest([*first, *after.observe(cluster.table(half))]))

    assert abs(len(told) - len(expected)) <= 1


def test_what_is_spent_stands_beside_the_budget(cluster: Cluster) -> None:
    noisy(cluster)
    analysis = Analysis(Settings(budget=BUDGET))

    told = alerts(analyse(cluster, analysis=analysis))
    sums = analysis.spending()

    assert (sums.budget, round(sums.replica_days)) == (BUDGET, DAYS * REPLICAS)
    assert len(told) <= MOST_ALERTS + BUDGET * sums.replica_days
    assert analysis.counters.left_out().keys() == {"unpaid_alerts"}
