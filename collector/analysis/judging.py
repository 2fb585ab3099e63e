"""From a sighting to a verdict: gathers the numbers that the detection core asks for, and says what came of it as a finding."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from peerwatch.columns import ProcessFlag
from peerwatch.subjects import ContainerKind

from collector.analysis.behaviours import Behaviour
from collector.analysis.findings import Finding
from collector.analysis.sightings import Entry, Group, Replica, SightingTable, Standing
from collector.detect import context, decision, peers, support, surprise
from collector.records import BehaviourType, IncidentKind, Severity

SECOND = 1_000_000_000

MOMENT = 2 * SECOND
"""Nanoseconds within which what one replica does newly is one chain of commands."""

OPPORTUNITY = 10 * SECOND
"""Nanoseconds of a replica's life that count as one observation when it does nothing: who only serves settles, too."""

__all__ = ["Judgement", "Question", "context_of", "is_learned", "judge", "must_wait", "running_replicas"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The core's verdict, and the finding that it would be or is."""

    action: decision.Action
    finding: Finding
    alone: bool
    """There are no two peers of the same revision yet: waiting longer may bring them."""


def context_of(behaviour: Behaviour) -> context.Context:
    """Return what a behaviour means anywhere."""
    flags = behaviour.flags
    if behaviour.type is BehaviourType.CONNECT:
        return context.of_connect(program=behaviour.exe, target=behaviour.target)
    return context.of_exec(
        program=behaviour.exe,
        parent=behaviour.parent,
        arguments=behaviour.example,
        upper_layer=bool(flags >> ProcessFlag.UPPER_LAYER & 1),
        memory_file=bool(flags >> ProcessFlag.MEMFD & 1),
        stdio_socket=bool(flags >> ProcessFlag.STDIO_SOCKET & 1),
        injected=bool(flags >> ProcessFlag.INJECTED & 1),
    )


def running_replicas(group: Group, table: SightingTable, now: int) -> int:
    """Return how many replicas of a group run, as far as their events tell."""
    second = now // SECOND
    if group.counted_running[0] != second:  # asked for each new sighting, and starts bring many at once
        group.counted_running = second, int(np.count_nonzero(_Replicas.of(group, table, now).running))
    return group.counted_running[1]


def is_learned(entry: Entry, table: SightingTable, replicas: int) -> bool:
    """Return whether a behaviour is on the allow list of a group that has so many running replicas."""
    if entry.accepted:
        return True
    rows = np.fromiter(entry.rows.values(), np.int64, len(entry.rows))
    standing = table.standing[rows]
    supporters = int(np.count_nonzero(standing == Standing.ACCEPTED)) + entry.past_replicas
    if not supporters:
        return False
    if supporters >= support.MOST_NEEDED:
        return True
    good = rows[standing == Standing.ACCEPTED]
    first = min([*table.first[good].tolist(), *([entry.past_first] if entry.past_count else [])])
    last = max([*table.last[good].tolist(), entry.past_last])
    return support.learned(
        supporters=supporters,
        replicas=replicas,
        revisions=len(entry.revisions),
        count=int(table.count[good].sum()) + entry.past_count,
        span=last - first,
    )


@dataclass(frozen=True, slots=True)
class _Replicas:
    """The replicas of a group as arrays, one entry each."""

    ids: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    running: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, group: Group, table: SightingTable, now: int) -> "_Replicas":
        ids = np.fromiter(group.replicas, np.int64, len(group.replicas))  # ascending: ids only grow
        first = np.array([replica.first for replica in group.replicas.values()], np.int64)
        rows = group.rows()
        place = np.searchsorted(ids, table.replica[rows])
        count = np.zeros(len(ids), np.int64)
        np.add.at(count, place, table.count[rows])
        last = first.copy()
        np.maximum.at(last, place, table.last[rows])
        return cls(ids, first, last, count, peers.running(first, last, count, now))


@dataclass(frozen=True, slots=True)
class Question:
    """One sighting to be judged."""

    group: Group
    row: int
    """The sighting."""
    behaviour: Behaviour
    now: int
    """Event time, nanoseconds."""
    held: bool
    """Its hold is over."""
    startup: int
    """How long a replica counts as starting, nanoseconds."""


def must_wait(question: Question, table: SightingTable) -> bool:
    """Return whether the peers get their time in any case."""
    replica = question.group.replicas[int(table.replica[question.row])]
    starting = int(table.first[question.row]) - replica.born < question.startup
    return decision.must_wait(context_of(question.behaviour).level, starting=starting, held=question.held)


def judge(question: Question, table: SightingTable, limits: decision.Limits) -> Judgement:
    """Judge one sighting."""
    group, row, behaviour, now = question.group, question.row, question.behaviour, question.now
    replica_id, entry = int(table.replica[row]), group.entries[int(table.behaviour[row])]
    replica = group.replicas[replica_id]
    first_event = int(table.first[row])
    replicas = _Replicas.of(group, table, now)
    revisions = [each.revision for each in group.replicas.values()]
    mixed = len(set(revisions)) > 1
    same = np.array([each == replica.revision for each in revisions], bool)
    # During a rollout old and new replicas differ rightly: a replica is compared with its own revision as soon as that has two
    # other replicas.
    siblings = int(np.count_nonzero(same & replicas.running)) - 1
    shows, suspected = np.zeros_like(same), np.zeros_like(same)
    for other, at in entry.rows.items():
        place = int(np.searchsorted(replicas.ids, other))
        shows[place], suspected[place] = True, table.standing[at] in (Standing.FLAGGED, Standing.MILD)
    comparable = same if siblings >= 2 else np.ones_like(same)
    starting = first_event - replica.born < question.startup
    if starting:  # what belongs to a start cannot have been seen of those that were running already
        comparable &= np.array([each.start_seen for each in group.replicas.values()], bool)
    comparison = peers.compare(
        replica=int(np.searchsorted(replicas.ids, replica_id)),
        shows=shows,
        suspected=suspected,
        comparable=comparable,
        alive=replicas.running,
        first=replicas.first,
        age=first_event - replica.born,
        now=now,
    )
    about = context_of(behaviour)
    person = bool(behaviour.flags >> ProcessFlag.INJECTED & 1) or group.kind is ContainerKind.EPHEMERAL
    case = decision.Case(
        novelty=_novelty(question, replica, entry, replicas, table, mixed=mixed),
        level=about.level if not (person and about.inspection) else context.Level.NEUTRAL,
        compared=comparison.compared,
        sharing=comparison.sharing,
        unsuspected=comparison.unsuspected,
        supporters=_supporters(entry, row, about.level, table, person=person),
        known=len(group.replicas) + group.past_replicas - 1,
        starting=starting,
        person=person,
        held=question.held,
    )
    verdict = decision.decide(case, limits)
    alone = mixed and siblings < 2
    action = verdict.action
    if verdict.followed and group.first + question.startup >= replica.first and verdict.action is decision.Action.NOTE:
        action = decision.Action.ACCEPT  # the deployment's first start: nothing changed, it is how it is
    if verdict.followed and _known_before(entry, table):
        action = decision.Action.ACCEPT  # the next run of a job does what the one before did
    finding = Finding(
        group=group,
        replica=replica,
        behaviour=behaviour,
        time=now,
        first_event=first_event,
        severity=_severity(verdict, case),
        score=round(1 - verdict.probability, 4),
        kind=_kind(verdict, case, mixed=mixed),
        compared=comparison.compared,
        sharing=comparison.sharing,
        earlier=case.known - comparison.compared,
        earlier_sharing=int(np.count_nonzero(shows)) - 1 - comparison.sharing + _past_sharing(entry),
        supporters=case.supporters,
        context=about,
        followed=verdict.followed,
    )
    return Judgement(action, finding, alone)


def _past_sharing(entry: Entry) -> int:
    """Return how many replicas that are only numbers by now did it: at least one, if it was ever counted there."""
    return max(entry.past_replicas, int(entry.past_count > 0))


def _known_before(entry: Entry, table: SightingTable) -> bool:
    """Return whether the behaviour is no change: others were accepted with it, and not because of a change that was told."""
    if entry.accepted:
        return False
    return entry.past_replicas > 0 or any(int(table.standing[each]) == Standing.ACCEPTED for each in entry.rows.values())


def _supporters(entry: Entry, row: int, level: context.Level, table: SightingTable, *, person: bool) -> int:
    """Return how many other replicas make the behaviour likelier in normal life.

    What is still held on others may be the same change. What was told of one replica without being telling, and of two although
    suspicious, is not told again for each; but what is hardly ever normal gets no support from those who are suspected for it.
    """
    standings = [int(table.standing[each]) for each in entry.rows.values() if each != row]
    told = sum(each in (Standing.FLAGGED, Standing.MILD) for each in standings)
    accepted = standings.count(Standing.ACCEPTED) + entry.past_replicas
    held = standings.count(Standing.PENDING)
    if level >= context.Level.STRONG:
        return accepted
    if (
        level >= context.Level.SUSPICIOUS
    ):  # a rare helper of the workload itself shows on several replicas; persons have no habit
        return accepted + held + (0 if person else max(0, told - 1))
    return accepted + held + told


def _novelty(
    question: Question, replica: Replica, entry: Entry, replicas: "_Replicas", table: SightingTable, *, mixed: bool
) -> float:
    """Return how probable something new is here: in the workload, in its revision, from the same doer; the largest.

    A rollout is new as a whole, and a task runner's shell starts something new every few minutes while its loops repeat.
    """
    group, startup, now = question.group, question.startup, question.now
    rows = group.rows()
    rows = rows[(table.type[rows] == entry.type) & (rows != question.row)]
    ids = np.fromiter(group.replicas, np.int64, len(group.replicas))
    place = np.searchsorted(ids, table.replica[rows])
    births = np.array([each.born for each in group.replicas.values()], np.int64)[place]
    behaviour, count, first, standing = (getattr(table, name)[rows] for name in ("behaviour", "count", "first", "standing"))
    accepted = standing == Standing.ACCEPTED
    # What is held on others, or was long before, shows variety as well; what this replica did at the same moment is one chain.
    at, mine = int(table.first[question.row]), table.replica[rows] == table.replica[question.row]
    waiting = (standing == Standing.PENDING) & ~(mine & (abs(first - at) < MOMENT))
    variety = (accepted | waiting | (standing == Standing.MILD)) & (first - births >= startup)

    def part(where: npt.NDArray[np.bool_], begin: int, exposure: int) -> float:
        return surprise.novelty(
            behaviour[where], count[where], first[where], variety[where], begin=begin, now=now, exposure=exposure
        ).probability

    def exposure(of: npt.NDArray[np.bool_]) -> int:
        lived = int(np.sum((replicas.last - replicas.first)[of & ~replicas.running])) if np.any(of & ~replicas.running) else 0
        lived += int(np.sum(now - replicas.first[of & replicas.running]))
        return max(int(replicas.count[of].sum()), lived // OPPORTUNITY)

    all_replicas = np.ones(len(replicas.ids), bool)
    past = sum(group.past_observations.values())
    found = [part(np.ones(len(rows), bool), group.first, exposure(all_replicas) + past)]
    if mixed:
        same = np.array([each.revision == replica.revision for each in group.replicas.values()], bool)
        found.append(part(same[place], int(replicas.first[same].min()), exposure(same)))
    doer = table.source[rows] == entry.source
    shared = behaviour[doer & accepted]
    if len(shared) > len(np.unique(shared)):  # two replicas do one thing through it; else the doer itself is what is new
        found.append(part(doer, group.first, 0))
    return max(found)


_BY_LEVEL = {
    context.Level.ROUTINE: Severity.LOW,
    context.Level.NEUTRAL: Severity.LOW,
    context.Level.SUSPICIOUS: Severity.MEDIUM,
    context.Level.STRONG: Severity.HIGH,
    context.Level.KNOWN_BAD: Severity.CRITICAL,
}


def _severity(verdict: decision.Verdict, case: decision.Case) -> Severity:
    if verdict.action is decision.Action.NOTE:
        return Severity.INFO
    if verdict.action is not decision.Action.RAISE:
        return Severity.LOW  # told only beside what is worse
    severity = _BY_LEVEL[case.level]
    if case.person and severity > Severity.LOW:  # somebody with the cluster's own rights stands behind it
        severity = Severity(severity - 1)
    return severity


def _kind(verdict: decision.Verdict, case: decision.Case, *, mixed: bool) -> IncidentKind:
    if case.level is context.Level.KNOWN_BAD and verdict.action is decision.Action.RAISE:
        return IncidentKind.KNOWN_BAD
    if verdict.followed:
        return IncidentKind.ROLLOUT_CHANGE if mixed else IncidentKind.NEW_BEHAVIOUR
    deviates = case.compared >= 2 and case.sharing <= decision.FOLLOWED * case.compared
    return IncidentKind.PEER_DEVIATION if deviates else IncidentKind.NEW_BEHAVIOUR
