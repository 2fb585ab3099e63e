"""From a sighting to a verdict: gathers the numbers that the detection core asks for, and says what came of it as a finding."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS
from peerwatch.subjects import ContainerKind

from collector.analysis import behaviour_keys
from collector.analysis.behaviours import Behaviour, context_of, with_arguments
from collector.analysis.elsewhere import novelty as novelty_elsewhere, same_image
from collector.analysis.errands import only_looks
from collector.analysis.findings import Finding
from collector.analysis.learning import is_accepted, is_learned
from collector.analysis.meaning import NO_JOB, meaning, said
from collector.analysis.novelty import discovered, probability_of_level, probability_of_new, probability_of_odd_words
from collector.analysis.questions import Question, Replicas
from collector.analysis.roles import Turn, turn
from collector.analysis.sightings import Entry, Replica, SightingTable, Standing
from collector.analysis.starts import program_in_question
from collector.detect import argument_context, context, decision, peers
from collector.detect.shell_commands import command_string, command_words
from collector.detect.tools import COMMON, base_name, tool
from collector.records import BehaviourType, IncidentKind, Severity

PACE = {
    context.Level.ROUTINE: 60 * NANOSECONDS,
    context.Level.NEUTRAL: 60 * NANOSECONDS,
    context.Level.SUSPICIOUS: 20 * NANOSECONDS,
}
"""How often at most something counts that happens on a replica, by the level of what is judged by it.

Helpers that repeat each second settle a workload within half a minute as far as executions tell, but a leader's task, a job or
a rare helper comes once in minutes: whether it is to be expected is told by time. What is hardly ever normal needs no such
patience. 10 to 20 s and 20 to 60 s give the same result on real software."""

NEWCOMER = 120 * NANOSECONDS
"""So long after a replica's first event, and twice as long after its workload's, what comes from outside may be a probe or a
hook that is met for the first time."""

REVISION = 240 * NANOSECONDS
"""So long after a revision's first event its replicas had little time for all that it can do; 120 s silences less …"""
WORKLOAD = 60 * NANOSECONDS
"""… and so long after a workload's. 120 s silences a few alerts more, and loses one who was there from the start."""

TOGETHER = 60 * NANOSECONDS
"""What is said from outside to most replicas within this time was said to all of them: an errand, nobody who picked one."""

WAKES = 0.03
"""How much rarer than what is told must be what wakes somebody, where there are fewer than two peers."""

DEBUGGING = frozenset(
    {"T1059.004", "T1033", "T1082", "T1057", "T1016", "T1049", "T1018", "T1083", "T1005", "T1095", "T1105", "T1040", "T1046"}
)
"""Techniques of what people use in a debug container: a shell, tools that look around, connect, transfer, record and scan."""

_PENDING, _FLAGGED, _MILD = int(Standing.PENDING), int(Standing.FLAGGED), int(Standing.MILD)
"""Plain numbers: before numpy compares a column with a member of an enum, it asks that for all that an array might be."""

__all__ = [
    "Judgement",
    "Question",
    "judge",
    "must_wait",
]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The core's verdict, and the finding that it would be or is."""

    action: decision.Action
    finding: Finding
    alone: bool
    """There are no two peers of the same revision yet: waiting longer may bring them."""
    undecided: bool
    """It is odd, no peer follows, and only too little was seen so far to say so."""
    looked: bool
    """A person did it, only looks, and nobody else here does: how rare that is in the cluster decides whether it is told."""
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
    starting, newcomer = _phase(question, replica, about)
    # Who runs is asked only where it matters: it costs as much as half of the rest.
    alone = not (starting or newcomer) and _is_alone(Replicas.of(group, question.now))
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


def _debugs(question: Question, about: context.Context) -> bool:
    """Return whether a tool is what debug containers are for; where it leads is judged as anywhere."""
    if question.group.kind is not ContainerKind.EPHEMERAL or question.behaviour.type is not BehaviourType.EXEC:
        return False
    return DEBUGGING.issuperset(about.techniques)


def _phase(question: Question, replica: Replica, about: context.Context) -> tuple[bool, bool]:
    """Return whether a replica is starting, and whether it is known for so little that what comes from outside may be a probe.

    A debug container does neither: it serves a person from its first command on, and has neither probes nor hooks. Nor have
    these a terminal, or need what no job does.
    """
    group, first = question.group, int(question.group.table.first[question.row])
    person = question.behaviour.injected and (
        question.behaviour.terminal
        or (about.level >= context.Level.STRONG and any(each.startswith(NO_JOB) for each in about.techniques))
    )
    if group.kind is ContainerKind.EPHEMERAL or person:
        return False, False
    return replica.starts(first, question.startup), first - replica.born < NEWCOMER or first - group.first < 2 * NEWCOMER


def _is_alone(replicas: Replicas) -> bool:
    return int(np.count_nonzero(replicas.running)) < 2


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
    group, row, behaviour, now = question.group, question.row, question.behaviour, question.now
    replica_id, entry = int(table.replica[row]), group.entries[int(table.behaviour[row])]
    replica = group.replicas[replica_id]
    first_event = int(table.first[row])
    replicas = Replicas.of(group, now)
    same = replicas.revision == table.lives.revision[replica.slot]
    mixed = not same.all()
    # During a rollout old and new replicas differ rightly: a replica is compared with its own revision as soon as that has two
    # other replicas.
    siblings = int(np.count_nonzero(same & replicas.running)) - 1
    program = program_in_question(question, table)
    about = meaning(question, table) if program is None else context_of(behaviour)
    starting, newcomer = _phase(question, replica, about)
    comparable = same if siblings >= 2 else np.ones_like(same)
    comparison, showing = _compare(question, entry, replicas, table, comparable, starting=starting)
    elsewhere = same_image(question, table, starting=starting) if comparison.compared < decision.ENOUGH_PEERS else None
    against = comparison if elsewhere is None else elsewhere.comparison
    worded, everywhere = _in_same_words(question, about, comparison, replicas, table, comparable=comparable)
    person = behaviour.injected or group.kind is ContainerKind.EPHEMERAL
    novelty = probability_of_new(question, program or entry, replicas, table, mixed=mixed, pace=_pace(behaviour, about))
    if behaviour.base and not program and about.why:
        novelty = min(novelty, _probability_of_saying(question, about.level, table, newcomer=newcomer))
    if starting and not replicas.start_seen[(replicas.ids != replica_id) | replica.restarted].any():
        novelty = 1.0  # nobody knows what a start of this workload looks like
    supporters = _supporters(question, entry, about.level, table, person=person)
    if elsewhere is not None and about.level >= context.Level.SUSPICIOUS:
        novelty = min(novelty, novelty_elsewhere(question, elsewhere.alike, table))
    elif elsewhere is not None:  # what was told of two and is not odd is not told of all; one alone may be an intruder
        supporters += max(0, elsewhere.comparison.sharing - 1)
    level = context.Level.NEUTRAL if person and (about.inspection or _debugs(question, about)) else about.level
    known_here, as_odd = discovered(question, level, table)
    case = decision.Case(
        novelty=novelty,
        level=level,
        discovered=known_here,
        as_odd=as_odd,
        compared=against.compared,
        sharing=against.sharing,
        unsuspected=against.unsuspected,
        supporters=supporters,
        known=len(group.replicas) + group.past_replicas - 1,
        starting=starting,
        person=person,
        held=question.held,
        arguments=bool(behaviour.base) and not program,
        inside=behaviour.type is BehaviourType.CONNECT and not context.is_outside(behaviour.target),
        rollout=mixed,
        newcomer=newcomer,
        alone=_is_alone(replicas),
    )
    verdict, moving = _decide(case, limits, question, table, replicas.first[same])
    alone = mixed and siblings < 2
    action = verdict.action
    first_start = group.first + question.startup >= replica.first and (starting or newcomer)
    if verdict.followed and first_start and about.level < context.Level.KNOWN_BAD and verdict.action is decision.Action.NOTE:
        action = decision.Action.ACCEPT  # the deployment's first start: nothing changed, it is how it is
    if verdict.followed and _known_before(entry, table):
        action = decision.Action.ACCEPT  # the next run of a job does what the one before did
    if verdict.followed and elsewhere is not None and about.level < context.Level.KNOWN_BAD:
        action = decision.Action.ACCEPT  # nothing changed: it is what this software does
    if about.level < context.Level.STRONG and action is not decision.Action.NOTE and _explained(question):
        action = decision.Action.ACCEPT
    # Enough to be told, not to wake somebody.
    few = case.compared < decision.ENOUGH_PEERS
    unsure = (few or case.newcomer) and verdict.probability > limits.alone * (WAKES if few else decision.YOUNG)
    finding = Finding(
        group=group,
        replica=replica,
        behaviour=behaviour,
        time=now,
        first_event=first_event,
        severity=_severity(verdict, case, unsure=unsure, everywhere=everywhere),
        score=round(1 - verdict.probability, 4),
        kind=_kind(verdict, case, comparison, mixed=mixed),
        compared=comparison.compared,
        sharing=comparison.sharing,
        earlier=case.known - comparison.compared,
        earlier_sharing=showing - 1 - comparison.sharing + _past_sharing(entry),
        supporters=case.supporters,
        context=about,
        followed=verdict.followed,
        gone=0 if entry.gone is None else entry.gone.last,
        elsewhere=None if elsewhere is None else elsewhere.comparison,
        unsure=unsure,
        said=worded,
        errand=everywhere,
    )
    undecided = (
        action is decision.Action.ACCEPT
        and case.level >= context.Level.STRONG
        and (case.compared >= 2 or case.arguments)
        and not (verdict.followed or person or case.supporters)
    )
    looked = (
        action is decision.Action.NOTE
        and person
        and not (verdict.followed or case.supporters or case.sharing)
        and about.inspection
        and base_name(behaviour.exe) not in COMMON
    )
    weak = (
        action is decision.Action.ACCEPT
        and about.level > context.Level.ROUTINE
        and not (verdict.followed or case.supporters or case.sharing or starting)
    )
    sign = _sign(behaviour, about, case, verdict) if weak else None
    return Judgement(action, finding, alone, undecided, looked, sign, moving)


def _probability_of_saying(question: Question, level: context.Level, table: SightingTable, *, newcomer: bool) -> float:
    """Return how probable it is that a program is told something so odd, by what it and all others were told."""
    own = probability_of_level(question, said(question, level, table), table)
    if level is not context.Level.SUSPICIOUS or newcomer:
        return own
    return min(own, probability_of_odd_words(question, level, table, pace=PACE[level]))


def _sign(behaviour: Behaviour, about: context.Context, case: decision.Case, verdict: decision.Verdict) -> decision.Sign:
    """Return a step of a chain: there the tools of every script say nothing, more of them is only a longer script."""
    script = base_name(behaviour.exe) in COMMON and about.level <= context.Level.SUSPICIOUS
    return decision.Sign(verdict.probability, context.Level.NEUTRAL if script else case.level, about.techniques)


def _compare(
    question: Question,
    entry: Entry,
    replicas: Replicas,
    table: SightingTable,
    comparable: npt.NDArray[np.bool_],
    *,
    starting: bool,
) -> tuple[peers.Comparison, int]:
    """Compare a replica with those that may be compared, and return how many replicas of all show it, itself included."""
    group, row, behaviour = question.group, question.row, question.behaviour
    replica_id = int(table.replica[row])
    who = replicas.places(entry.rows)
    standing = table.standing[np.fromiter(entry.rows.values(), np.int64, len(entry.rows))]
    shows, suspected = np.zeros((2, len(comparable)), bool)
    shows[who], suspected[who] = True, (standing == _FLAGGED) | (standing == _MILD)
    if starting:  # what belongs to a start cannot have been seen of those that were running already
        comparable = comparable & replicas.start_seen
    if behaviour.base:  # who never runs the program had no opportunity to give it arguments
        base = group.find(BehaviourType.EXEC, behaviour.base)
        able = np.zeros(len(comparable), bool)
        able[replicas.places(base.rows if base else ())] = True
        comparable = comparable & able
    comparison = peers.compare(
        replica=int(replicas.ids.searchsorted(replica_id)),
        shows=shows,
        suspected=suspected,
        comparable=comparable,
        alive=replicas.running,
        first=replicas.first,
        age=int(table.first[row]) - group.replicas[replica_id].born,
        now=question.now,
    )
    return comparison, int(np.count_nonzero(shows))


def _is_news(case: decision.Case, question: Question, first: npt.NDArray[np.int64]) -> bool:
    """Return whether the replicas of its revision, which began at `first`, had little time for what a change brought them.

    What a new version does when it is asked to comes to one replica after the other, as requests do.
    """
    begun = int(first.min())
    rolled_out = begun - question.group.first >= REVISION
    news = question.now - begun < (REVISION if rolled_out else WORKLOAD)
    return news and len(first) > 1 and not case.person and case.level < context.Level.STRONG


def _decide(
    case: decision.Case, limits: decision.Limits, question: Question, table: SightingTable, first: npt.NDArray[np.int64]
) -> tuple[decision.Verdict, bool]:
    """Return the verdict, and whether it may be another soon: a role is moving, or the replicas of what is young follow.

    The replicas of the same revision began at `first`. Where somebody always does it, who is next to do it is drawn from turns
    and not from replicas.
    """
    verdict = decision.decide(case, limits)
    if verdict.action is not decision.Action.RAISE:
        return verdict, False
    if case.level is context.Level.KNOWN_BAD:
        return verdict, case.newcomer and case.unsuspected > 0
    news = _is_news(case, question, first)
    if case.person or not case.supporters:
        return verdict, news
    became = turn(question, table)
    if became is Turn.OVER:
        verdict = decision.decide(dataclasses.replace(case, known=case.supporters), limits)
    return verdict, news or became is Turn.OPEN


def _pace(behaviour: Behaviour, about: context.Context) -> int:
    every_script = about.level is context.Level.SUSPICIOUS and base_name(behaviour.exe) in COMMON
    return PACE.get(context.Level.NEUTRAL if every_script else about.level, 0)


def _past_sharing(entry: Entry) -> int:
    """Return how many replicas that are only numbers by now did it: at least one, if it was ever counted there."""
    return max(entry.past_replicas, int(entry.past_count > 0))


def _known_before(entry: Entry, table: SightingTable) -> bool:
    """Return whether the behaviour is no change: others were accepted with it, and not because of a change that was told."""
    if entry.accepted:
        return False
    return is_accepted(entry, table)


def _supporters(question: Question, entry: Entry, level: context.Level, table: SightingTable, *, person: bool) -> int:
    """Return how many other replicas make the behaviour likelier in normal life.

    What is still held on others may be the same change. What was told of one replica without being telling is not told again
    for each, nor what was told of two although odd, if it came in the same words: a rare helper or job of the workload itself
    shows on several replicas. Persons have no habits, but
    scripts that come from outside have.
    """
    others = {replica: Standing(int(table.standing[each])) for replica, each in entry.rows.items() if each != question.row}
    standings = list(others.values())
    accepted = standings.count(Standing.ACCEPTED) + entry.past_replicas
    suspected = {replica for replica, standing in others.items() if standing in {Standing.FLAGGED, Standing.MILD}}
    if level < context.Level.SUSPICIOUS:
        return accepted + standings.count(Standing.PENDING) + len(suspected)
    if level is context.Level.SUSPICIOUS and not person:
        accepted += standings.count(Standing.PENDING)
    if level >= context.Level.KNOWN_BAD or (person and level > context.Level.SUSPICIOUS):
        return accepted
    behaviour = question.behaviour
    if not behaviour.base and behaviour.type is BehaviourType.EXEC and len(behaviour.example) > 1:
        words = question.group.find_behaviour(with_arguments(behaviour))
        suspected &= words.rows.keys() if words else set()
    if person:  # what somebody says to one replica after the other was told once
        return accepted + len(suspected)
    return accepted + max(0, len(suspected) - (level >= context.Level.STRONG or len(behaviour.example) < 2))


def _explained(question: Question) -> bool:
    """Return whether a learned command string says that a shell runs this program: then it is nothing new by itself."""
    behaviour, group = question.behaviour, question.group
    if behaviour.base or behaviour.type is not BehaviourType.EXEC or not behaviour.parent:
        return False
    name, by = base_name(behaviour.exe), base_name(behaviour.parent)
    return any(
        name in command_words(script) and is_learned(entry, group, question.now)
        for entry in group.arguments_by(behaviour.parent)
        if (script := command_string(by, entry.example[1:]))
    )


_BY_LEVEL = {
    context.Level.ROUTINE: Severity.LOW,
    context.Level.NEUTRAL: Severity.LOW,
    context.Level.SUSPICIOUS: Severity.MEDIUM,
    context.Level.STRONG: Severity.HIGH,
    context.Level.KNOWN_BAD: Severity.CRITICAL,
}


def _in_same_words(
    question: Question,
    about: context.Context,
    program: peers.Comparison,
    replicas: Replicas,
    table: SightingTable,
    *,
    comparable: npt.NDArray[np.bool_],
) -> tuple[peers.Comparison | None, bool]:
    """Compare an exec by its arguments where these are the reason: who ran the program and was told other things did not do so.

    Also return whether somebody from outside takes stock of most replicas in these words, one soon after the other.
    """
    behaviour, group = question.behaviour, question.group
    if behaviour.base or behaviour.type is not BehaviourType.EXEC or about.level < context.Level.SUSPICIOUS:
        return None, False
    if all(each.why != about.why for each in argument_context.traits(behaviour.exe, behaviour.example)):
        return None, False
    words = group.find_behaviour(with_arguments(behaviour))
    if words is None:
        return dataclasses.replace(program, sharing=0, unsuspected=0), False
    said, _ = _compare(question, words, replicas, table, comparable, starting=False)
    own = table.replica.item(question.row)
    first = table.first[[row for replica, row in words.rows.items() if replica != own]]
    together = int(np.count_nonzero(np.abs(first - table.first[question.row]) < TOGETHER))
    return said, together > decision.FOLLOWED * said.compared and only_looks(behaviour)


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


def _kind(verdict: decision.Verdict, case: decision.Case, comparison: peers.Comparison, *, mixed: bool) -> IncidentKind:
    if case.level is context.Level.KNOWN_BAD and verdict.action is not decision.Action.NOTE:
        return IncidentKind.KNOWN_BAD
    if verdict.followed:
        return IncidentKind.ROLLOUT_CHANGE if mixed else IncidentKind.NEW_BEHAVIOUR
    deviates = comparison.compared >= 2 and comparison.sharing <= decision.FOLLOWED * comparison.compared
    return IncidentKind.PEER_DEVIATION if deviates else IncidentKind.NEW_BEHAVIOUR
