"""From a sighting to a verdict: asks the detection core about what was gathered, and says what came of it as a finding."""

import dataclasses
from dataclasses import dataclass

from peerwatch.columns import NANOSECONDS

from collector.analysis import behaviour_keys
from collector.analysis.behaviours import Behaviour
from collector.analysis.cases import Gathered, gather, is_alone, phase
from collector.analysis.errands import only_looks
from collector.analysis.findings import Finding
from collector.analysis.learning import is_accepted
from collector.analysis.meaning import meaning
from collector.analysis.questions import Question, running_replicas
from collector.analysis.roles import Turn, turn
from collector.analysis.sightings import Entry, Replica, SightingTable, Standing
from collector.detect import context, decision, peers
from collector.detect.tools import COMMON, DIAGNOSTICS, base_name, tool
from collector.records import BehaviourType, IncidentKind, Severity

__all__ = ["Judgement", "Question", "judge", "must_wait"]

REVISION = 240 * NANOSECONDS
"""So long after a revision's first event its replicas had little time for all that it can do; 120 s silences less …"""
WORKLOAD = 60 * NANOSECONDS
"""… and so long after a workload's. 120 s silences a few alerts more, and loses one who was there from the start."""

WAKES = 0.03
"""How much rarer than what is told must be what wakes somebody, where there are fewer than two peers."""

_PENDING = int(Standing.PENDING)
"""A plain number: asked of many rows in a loop."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The core's verdict, and the finding that it would be or is."""

    action: decision.Action
    finding: Finding
    early: bool
    """There are no two peers of the same revision yet: waiting longer may bring them."""
    undecided: bool
    """It is odd, no peer follows, and only too little was seen so far to say so."""
    looked: bool
    """A person did it, looks at who and where he is, and nobody else here does: how rare that is in the cluster decides."""
    sign: decision.Sign | None
    """What it says as one of several steps, if it is nothing by itself and nobody else does it."""
    moving: bool
    """It would be told, but those who did it before are silent, so that a role may be moving, or the replicas of a young
    workload or revision begin it one after the other."""


def must_wait(question: Question, table: SightingTable) -> bool:
    """Return whether the peers get their time in any case; asked before the first hold only."""
    group = question.group
    replica = group.replicas[int(table.replica[question.row])]
    about = meaning(question, table)
    starting, newcomer = phase(question, replica, about)
    # Who runs is asked only where it matters: it costs as much as half of the rest.
    alone = not (starting or newcomer) and is_alone(running_replicas(group, question.now))
    if decision.nobody_follows(alone=alone, starting=starting, newcomer=newcomer):
        return False
    level = about.level
    arguments = bool(question.behaviour.base)
    if decision.must_wait(level, starting=starting, arguments=arguments):
        return True
    if level >= context.Level.STRONG:
        return level is context.Level.STRONG and only_looks(question.behaviour)  # a scanner comes to the peers next
    if question.behaviour.type is BehaviourType.CONNECT and tool(base_name(question.behaviour.exe)) is None:
        return True  # a service's own program: its peers have the same suppliers
    return _is_held(question.behaviour.parent, replica, question, table)


def _is_held(program: str, replica: Replica, question: Question, table: SightingTable) -> bool:
    """Return whether what started something is itself new and waits for the peers: then both are one job."""
    entries = question.group.entries
    return bool(program) and any(
        table.standing.item(row) == _PENDING
        and row != question.row
        and (entry := entries[table.behaviour.item(row)]).type is not BehaviourType.CONNECT
        and behaviour_keys.file_of(entry.key) == program
        for row in replica.rows
    )


def judge(question: Question, table: SightingTable, limits: decision.Limits) -> Judgement:
    """Judge one sighting."""
    gathered = gather(question, table)
    case, about = gathered.case, gathered.about
    verdict, moving = _decide(gathered, limits, question, table)
    action = _action(verdict, gathered, question, table)
    first_of_all = not (verdict.followed or case.supporters)
    odd = case.level >= context.Level.STRONG and (case.compared >= decision.ENOUGH_PEERS or case.arguments)
    undecided = action is decision.Action.ACCEPT and first_of_all and not case.person and odd
    looked = (
        action is decision.Action.NOTE
        and case.person
        and first_of_all
        and not case.sharing
        and about.inspection
        and _tells_who_asks(base_name(question.behaviour.exe))
    )
    weak = (
        action is decision.Action.ACCEPT
        and about.level > context.Level.ROUTINE
        and first_of_all
        and not (case.sharing or case.starting)
    )
    return Judgement(
        action=action,
        finding=_finding(question, gathered, verdict, limits),
        early=gathered.early,
        undecided=undecided,
        looked=looked,
        sign=_sign(question.behaviour, about, case, verdict) if weak else None,
        moving=moving,
    )


def _tells_who_asks(name: str) -> bool:
    """Return whether a tool that looks is none of every script's, nor one that a service's owner needs."""
    known = tool(name)
    return known is not None and known.inspection and name not in COMMON and name not in DIAGNOSTICS


def _action(verdict: decision.Verdict, gathered: Gathered, question: Question, table: SightingTable) -> decision.Action:
    """Return what to do: the core's word, save for what is no change of the workload's life."""
    if not verdict.followed:
        return verdict.action
    case, group = gathered.case, question.group
    first_start = group.first + question.startup >= gathered.replica.first and (case.starting or case.newcomer)
    noted = first_start and verdict.action is decision.Action.NOTE  # the deployment's first start: it is how it is
    if gathered.about.level < context.Level.KNOWN_BAD and (noted or gathered.elsewhere is not None):
        return decision.Action.ACCEPT  # … and so is what this software does elsewhere
    if _known_before(gathered.entry, table):
        return decision.Action.ACCEPT  # the next run of a job does what the one before did
    return verdict.action


def _finding(question: Question, gathered: Gathered, verdict: decision.Verdict, limits: decision.Limits) -> Finding:
    case, comparison, elsewhere, entry = gathered.case, gathered.comparison, gathered.elsewhere, gathered.entry
    # Enough to be told, not to wake somebody.
    few = case.compared < decision.ENOUGH_PEERS
    unsure = (few or case.newcomer) and verdict.probability > limits.alone * (WAKES if few else decision.YOUNG)
    return Finding(
        group=question.group,
        replica=gathered.replica,
        behaviour=question.behaviour,
        time=question.now,
        first_event=int(question.group.table.first[question.row]),
        severity=_severity(verdict, case, unsure=unsure, everywhere=gathered.errand),
        score=round(1 - verdict.probability, 4),
        kind=_kind(verdict, case, comparison),
        compared=comparison.compared,
        sharing=comparison.sharing,
        earlier=case.known - comparison.compared,
        earlier_sharing=gathered.shown + _past_sharing(entry),
        context=gathered.about,
        followed=verdict.followed,
        gone=0 if entry.gone is None else entry.gone.last,
        elsewhere=None if elsewhere is None else elsewhere.comparison,
        unsure=unsure,
        said=gathered.said,
        errand=gathered.errand,
    )


def _sign(behaviour: Behaviour, about: context.Context, case: decision.Case, verdict: decision.Verdict) -> decision.Sign:
    """Return a step of a chain: there the tools of every script say nothing, more of them is only a longer script."""
    script = base_name(behaviour.exe) in COMMON and about.level <= context.Level.SUSPICIOUS
    return decision.Sign(verdict.probability, context.Level.NEUTRAL if script else case.level, about.techniques)


def _is_news(gathered: Gathered, question: Question) -> bool:
    """Return whether the replicas of its revision had little time for what a change brought them.

    What a new version does when it is asked to comes to one replica after the other, as requests do.
    """
    case, begun = gathered.case, int(gathered.siblings.min())
    rolled_out = begun - question.group.first >= REVISION
    news = question.now - begun < (REVISION if rolled_out else WORKLOAD)
    return news and len(gathered.siblings) > 1 and not case.person and case.level < context.Level.STRONG


def _decide(
    gathered: Gathered, limits: decision.Limits, question: Question, table: SightingTable
) -> tuple[decision.Verdict, bool]:
    """Return the verdict, and whether it may be another soon: a role is moving, or the replicas of what is young follow.

    Where somebody always does it, who is next to do it is drawn from turns and not from replicas.
    """
    case = gathered.case
    verdict = decision.decide(case, limits)
    if verdict.action is not decision.Action.RAISE:
        return verdict, False
    if case.level is context.Level.KNOWN_BAD:
        return verdict, case.newcomer and case.unsuspected > 0
    news = _is_news(gathered, question)
    if case.person or not case.supporters:
        return verdict, news
    became = turn(question, table)
    if became is Turn.OVER:
        verdict = decision.decide(dataclasses.replace(case, known=case.supporters), limits)
    return verdict, news or became is Turn.OPEN


def _past_sharing(entry: Entry) -> int:
    """Return how many replicas that are only numbers by now did it: at least one, if it was ever counted there."""
    return max(entry.past_replicas, int(entry.past_count > 0))


def _known_before(entry: Entry, table: SightingTable) -> bool:
    """Return whether the behaviour is no change: others were accepted with it, and not because of a change that was told."""
    if entry.accepted:
        return False
    return is_accepted(entry, table)


_BY_LEVEL = {
    context.Level.ROUTINE: Severity.LOW,
    context.Level.NEUTRAL: Severity.LOW,
    context.Level.SUSPICIOUS: Severity.MEDIUM,
    context.Level.STRONG: Severity.HIGH,
    context.Level.KNOWN_BAD: Severity.CRITICAL,
}


def _severity(verdict: decision.Verdict, case: decision.Case, *, unsure: bool, everywhere: bool) -> Severity:
    if everywhere and verdict.action is decision.Action.RAISE:
        return Severity.LOW
    if verdict.action is decision.Action.NOTE:
        return Severity.INFO
    if verdict.action is not decision.Action.RAISE and case.level < context.Level.KNOWN_BAD:
        return Severity.LOW  # told only beside what is worse; nothing is worse than what waits here though known bad
    severity = _BY_LEVEL[case.level]
    if case.person and severity > Severity.LOW:  # somebody with the cluster's own rights stands behind it
        severity = Severity(severity - 1)
    return Severity.MEDIUM if unsure and severity is Severity.HIGH else severity


def _kind(verdict: decision.Verdict, case: decision.Case, comparison: peers.Comparison) -> IncidentKind:
    if case.level is context.Level.KNOWN_BAD and verdict.action is not decision.Action.NOTE:
        return IncidentKind.KNOWN_BAD
    if verdict.followed:
        return IncidentKind.ROLLOUT_CHANGE if case.rollout else IncidentKind.NEW_BEHAVIOUR
    deviates = comparison.compared >= 2 and comparison.sharing <= decision.FOLLOWED * comparison.compared
    return IncidentKind.PEER_DEVIATION if deviates else IncidentKind.NEW_BEHAVIOUR
