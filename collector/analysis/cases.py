"""What the detection core asks about a sighting, gathered from its group: who did it, who could have, how new and odd it is."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS
from peerwatch.subjects import ContainerKind

from collector.analysis.behaviours import Behaviour, context_of, with_arguments
from collector.analysis.elsewhere import Elsewhere, novelty as novelty_elsewhere, same_image
from collector.analysis.errands import only_looks
from collector.analysis.meaning import NO_JOB, meaning, said
from collector.analysis.novelty import discovered, probability_of_level, probability_of_new, probability_of_odd_words
from collector.analysis.questions import Question, Replicas
from collector.analysis.sightings import Entry, Replica, SightingTable, Standing
from collector.analysis.starts import program_in_question
from collector.detect import argument_context, context, decision, peers
from collector.detect.tools import COMMON, base_name
from collector.records import BehaviourType

__all__ = ["Gathered", "gather", "is_alone", "phase"]

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


TOGETHER = 60 * NANOSECONDS
"""What is said from outside to most replicas within this time was said to all of them: an errand, nobody who picked one."""


DEBUGGING = frozenset(
    {"T1059.004", "T1033", "T1082", "T1057", "T1016", "T1049", "T1018", "T1083", "T1005", "T1095", "T1105", "T1040", "T1046"}
)
"""Techniques of what people use in a debug container: a shell, tools that look around, connect, transfer, record and scan."""

_ACCEPTED, _PENDING, _FLAGGED, _MILD = map(int, (Standing.ACCEPTED, Standing.PENDING, Standing.FLAGGED, Standing.MILD))
"""Plain numbers: before numpy compares a column with a member of an enum, it asks that for all that an array might be."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is known of a sighting when it is judged."""

    case: decision.Case
    about: context.Context
    """What it means here."""
    entry: Entry
    replica: Replica
    comparison: peers.Comparison
    """With the replicas that had the chance."""
    elsewhere: Elsewhere | None
    """With those of the same image in other workloads, where there are too few peers."""
    said: peers.Comparison | None
    """By its arguments, where these are the reason (`Finding.said`)."""
    errand: bool
    """Somebody from outside takes stock of most replicas in these words, one soon after the other."""
    shown: int
    """Other replicas that show it and were not compared."""
    siblings: npt.NDArray[np.int64]
    """When each replica of the same revision began, itself included, nanoseconds."""
    early: bool
    """There are no two peers of the same revision yet: waiting longer may bring them."""


def gather(question: Question, table: SightingTable) -> Gathered:
    """Return what is known of a sighting."""
    group, row, behaviour = question.group, question.row, question.behaviour
    replica_id, entry = int(table.replica[row]), group.entries[int(table.behaviour[row])]
    replica = group.replicas[replica_id]
    replicas = Replicas.of(group, question.now)
    same = replicas.revision == table.lives.revision[replica.slot]
    mixed = int(np.count_nonzero(same)) < len(same)
    # During a rollout old and new replicas differ rightly: a replica is compared with its own revision as soon as that has two
    # other replicas.
    siblings = int(np.count_nonzero(same & replicas.running)) - 1
    program = program_in_question(question, table)
    about = meaning(question, table) if program is None else context_of(behaviour)
    starting, newcomer = phase(question, replica, about)
    comparable = same if siblings >= 2 else np.ones_like(same)
    comparison, showing = _compare(question, entry, replicas, table, comparable, starting=starting)
    elsewhere = same_image(question, table, starting=starting) if comparison.compared < decision.ENOUGH_PEERS else None
    against = comparison if elsewhere is None else elsewhere.comparison
    worded, errand = _in_same_words(question, about, comparison, replicas, table, comparable=comparable)
    person = behaviour.injected or group.kind is ContainerKind.EPHEMERAL
    if starting and not np.count_nonzero(replicas.start_seen[(replicas.ids != replica_id) | replica.restarted]):
        novelty = 1.0  # nobody knows what a start of this workload looks like
    else:
        novelty = probability_of_new(question, program or entry, replicas, table, mixed=mixed, pace=_pace(behaviour, about))
        if behaviour.base and not program and about.why:
            novelty = min(novelty, _probability_of_saying(question, about.level, table, newcomer=newcomer))
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
        alone=is_alone(int(np.count_nonzero(replicas.running))),
    )
    return Gathered(
        case=case,
        about=about,
        entry=entry,
        replica=replica,
        comparison=comparison,
        elsewhere=elsewhere,
        said=worded,
        errand=errand,
        shown=showing - 1 - comparison.sharing,
        siblings=replicas.first[same],
        early=mixed and siblings < 2,
    )


def phase(question: Question, replica: Replica, about: context.Context) -> tuple[bool, bool]:
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
    return replica.starts(first, question.startup), first - replica.first < NEWCOMER or first - group.first < 2 * NEWCOMER


def is_alone(running: int) -> bool:
    """Return whether no other replica runs, by how many do."""
    return running < 2


def _debugs(question: Question, about: context.Context) -> bool:
    """Return whether a tool is what debug containers are for; where it leads is judged as anywhere."""
    if question.group.kind is not ContainerKind.EPHEMERAL or question.behaviour.type is not BehaviourType.EXEC:
        return False
    return DEBUGGING.issuperset(about.techniques)


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
        age=int(table.first[row]) - group.replicas[replica_id].first,
        now=question.now,
    )
    return comparison, int(np.count_nonzero(shows))


def _supporters(question: Question, entry: Entry, level: context.Level, table: SightingTable, *, person: bool) -> int:
    """Return how many other replicas make the behaviour likelier in normal life.

    What is still held on others may be the same change. What was told of one replica without being telling is not told again
    for each, nor what was told of two although odd, if it came in the same words: a rare helper or job of the workload itself
    shows on several replicas. Persons have no habits, but scripts that come from outside have.
    """
    others = {replica: table.standing.item(each) for replica, each in entry.rows.items() if each != question.row}
    standings = list(others.values())
    accepted = standings.count(_ACCEPTED) + entry.past_replicas
    suspected = {replica for replica, standing in others.items() if standing in {_FLAGGED, _MILD}}
    if level < context.Level.SUSPICIOUS:
        return accepted + standings.count(_PENDING) + len(suspected)
    if level is context.Level.SUSPICIOUS and not person:
        accepted += standings.count(_PENDING)
    if level >= context.Level.KNOWN_BAD or (person and level > context.Level.SUSPICIOUS):
        return accepted
    behaviour = question.behaviour
    if suspected and not behaviour.base and behaviour.type is BehaviourType.EXEC and len(behaviour.example) > 1:
        words = question.group.find_behaviour(with_arguments(behaviour))
        suspected &= words.rows.keys() if words else set()
    if person:  # what somebody says to one replica after the other was told once
        return accepted + len(suspected)
    return accepted + max(0, len(suspected) - (level >= context.Level.STRONG or len(behaviour.example) < 2))


def _probability_of_saying(question: Question, level: context.Level, table: SightingTable, *, newcomer: bool) -> float:
    """Return how probable it is that a program is told something so odd, by what it and all others were told."""
    own = probability_of_level(question, said(question, level, table), table)
    if level is not context.Level.SUSPICIOUS or newcomer:
        return own
    return min(own, probability_of_odd_words(question, level, table, pace=PACE[level]))


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
    if all(
        each.why != about.why for each in argument_context.traits(behaviour.exe, behaviour.example, person=behaviour.injected)
    ):
        return None, False
    words = group.find_behaviour(with_arguments(behaviour))
    if words is None:
        return dataclasses.replace(program, sharing=0, unsuspected=0), False
    said, _ = _compare(question, words, replicas, table, comparable, starting=False)
    own = table.replica.item(question.row)
    first = table.first[[row for replica, row in words.rows.items() if replica != own]]
    together = int(np.count_nonzero(np.abs(first - table.first[question.row]) < TOGETHER))
    return said, together > decision.FOLLOWED * said.compared and only_looks(behaviour)


def _pace(behaviour: Behaviour, about: context.Context) -> int:
    every_script = about.level is context.Level.SUSPICIOUS and base_name(behaviour.exe) in COMMON
    return PACE.get(context.Level.NEUTRAL if every_script else about.level, 0)
