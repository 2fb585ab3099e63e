"""How probable something new is here: the numbers of a group, as the estimate of `detect.surprise` asks for them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS

from collector.analysis.questions import Question, Replicas
from collector.analysis.sightings import Entry, Group, SightingTable, Standing
from collector.detect import surprise
from collector.detect.tools import Level
from collector.records import BehaviourType

__all__ = ["MOMENT", "discovered", "probability_of_level", "probability_of_new", "probability_of_odd_words"]

MOMENT = 2 * NANOSECONDS
"""Nanoseconds within which what one replica does newly is one chain of commands."""

MOVED = 0.05
"""Probability that a program that reaches a port on one private network meets it on another: pods move from node to node, and
each node has a network of its own."""

IDLE = 10 * NANOSECONDS
"""Nanoseconds of a replica's life that count as one observation when it does nothing: who only serves settles, too."""

_ACCEPTED, _PENDING, _MILD = int(Standing.ACCEPTED), int(Standing.PENDING), int(Standing.MILD)
"""Plain numbers: before numpy compares a column with a member of an enum, it asks that for all that an array might be."""


@dataclass(frozen=True, slots=True)
class _Others:
    """The other sightings of a kind in a group, one entry each."""

    rows: npt.NDArray[np.int64]
    behaviour: npt.NDArray[np.int32]
    count: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    accepted: npt.NDArray[np.bool_]
    waiting: npt.NDArray[np.bool_]
    mild: npt.NDArray[np.bool_]
    variety: npt.NDArray[np.bool_]
    slot: npt.NDArray[np.int32]
    """Of its replica."""
    now: int

    @classmethod
    def of(cls, question: Question, entry: Entry, table: SightingTable) -> "_Others":
        rows = question.group.rows_of(entry.column_type)
        rows = rows[rows != question.row]
        if question.behaviour.base and not entry.base:  # its program is in question: what starts did with it shows nothing
            rows = rows[~np.isin(rows, list(entry.rows.values()))]
        behaviour, slot = table.behaviour[rows], table.slot[rows]
        first, standing = table.first[rows], table.standing[rows]
        accepted = standing == _ACCEPTED
        # What is held on others, or was long before, shows variety as well; what this replica begins at that moment or later
        # may have the same cause, and must not make itself usual.
        at, mine = int(table.first[question.row]), slot == table.slot[question.row]
        waiting = (standing == _PENDING) & ~(mine & (first > at - MOMENT))
        mild = standing == _MILD
        variety = (accepted | waiting | mild) & (first - table.lives.first[slot] >= question.startup)
        return cls(rows, behaviour, table.count[rows], first, accepted, waiting, mild, variety, slot, question.now)

    def new(self, where: npt.NDArray[np.bool_] | slice, *, begin: int, exposure: int = 0) -> surprise.Novelty:
        """Return how probable something new is among some of them."""
        return surprise.novelty(
            self.behaviour[where],
            self.count[where],
            self.first[where],
            self.variety[where],
            begin=begin,
            now=self.now,
            exposure=exposure,
        )

    def alternatives(self, where: npt.NDArray[np.bool_]) -> float:
        """Return how probable it is that a replica shows one of these alternatives that no other shows."""
        where = where & (self.accepted | self.waiting | self.mild)
        return surprise.shared_mass(self.behaviour[where].astype(np.int64), self.slot[where].astype(np.int64))


_ALL = slice(None)


def probability_of_new(
    question: Question, entry: Entry, replicas: Replicas, table: SightingTable, *, mixed: bool, pace: int
) -> float:
    """Return how probable something new is here: in the workload, in its revision, from the same doer; the largest.

    A rollout is new as a whole, and a task runner's shell starts something new every few minutes while its loops repeat.

    Args:
        question: the sighting in question.
        entry: what would be new: its behaviour, or the program if that is in question again with its arguments.
        replicas: of its group.
        table: all sightings.
        mixed: the group has several revisions.
        pace: what happens more often than this on a replica (nanoseconds) counts no more; 0: each time counts.
    """
    group = question.group
    others = _Others.of(question, entry, table)
    doer = table.source[others.rows] == entry.source
    if entry.base:
        begin, executed = _executions(group, entry.base, table, pace or NANOSECONDS)
        own = others.new(doer, begin=begin, exposure=executed)
        return max(own.probability, others.new(_ALL, begin=group.first).probability)
    past = sum(group.past_observations.values())
    lived = _lived(replicas, _ALL, question.now)
    everything = others.new(_ALL, begin=group.first, exposure=_exposure(replicas, _ALL, lived) + past)
    found = [everything.probability]
    if pace:
        paces = lived // pace
        found.append(surprise.unseen_mass(paces, 0))
        if everything.late:
            found.append(surprise.unseen_mass(paces // 2, everything.late))
    if mixed:
        revision = table.lives.revision[table.slot[question.row]]
        same = replicas.revision == revision
        exposure = _exposure(replicas, same, _lived(replicas, same, question.now))
        alike = table.lives.revision[others.slot] == revision
        found.append(others.new(alike, begin=int(replicas.first[same].min()), exposure=exposure).probability)
    if entry.type is BehaviourType.CONNECT:
        alike = doer & _like(entry, group, others.behaviour)
        found.append(others.alternatives(alike))
        if entry.place.startswith("private ") and np.count_nonzero(alike & others.accepted):
            found.append(MOVED)
    shared = others.behaviour[doer & others.accepted]
    if len(shared) and np.count_nonzero(np.bincount(shared - shared.min()) > 1):
        # Two replicas do one thing through it; else the doer itself is what is new.
        found.append(others.new(doer, begin=group.first).probability)
    return max(found)


def discovered(question: Question, level: Level, table: SightingTable) -> tuple[int, int]:
    """Return how many different things of a kind this group was found to do after its starts, and how many of them are so odd.

    What was told as odd is left out: else attacks would teach that attacks are usual.
    """
    entries = question.group.entries
    entry = entries[int(table.behaviour[question.row])]
    if entry.base or entry.level < level or level <= Level.NEUTRAL:
        return 0, 0  # it is odd here and not anywhere: others of its level cannot be told
    others = _Others.of(question, entry, table)
    known = set(others.behaviour[others.variety & others.accepted].tolist())
    return len(known), sum(entries[each].level >= level for each in known)


def probability_of_level(question: Question, known: int, table: SightingTable) -> float:
    """Return how probable it is that a program is told something of a kind that hardly any arguments of it have.

    A shell that runs another command string each time has as many templates as executions, yet none that downloads and runs:
    so many executions without say how probable the first is.

    Args:
        question: arguments.
        known: how many such things its accepted arguments say.
        table: all sightings.
    """
    _, executed = _executions(question.group, question.behaviour.base, table, NANOSECONDS)
    return surprise.unseen_mass(executed, known)


def probability_of_odd_words(question: Question, level: Level, table: SightingTable, *, pace: int) -> float:
    """Return how probable it is that anything is executed here with arguments of a kind that hardly any have.

    A helper that is needed once an hour shows little of what it may be told. But of all that a workload executes, so many
    were told nothing of the kind.

    Args:
        question: arguments.
        level: of what they say.
        table: all sightings.
        pace: what happens more often than this on a replica (nanoseconds) counts no more.
    """
    group = question.group
    rows = group.rows_of(int(BehaviourType.EXEC))
    executed = _paced(table, rows, pace)
    known = set(table.behaviour[rows[table.standing[rows] == _ACCEPTED]].tolist())
    return surprise.unseen_mass(executed, sum(group.entries[each].level >= level for each in known))


def _like(entry: Entry, group: Group, behaviours: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Return which destinations are alternatives to one: the same kind of place and the same port.

    A supplier with many addresses, a ring of storage nodes, customers' hosts: who met several of a kind meets more of them.
    """
    kinds = {entry.place, entry.place.replace("private *", "service *")}  # an address without a name may be a known service's
    alike = np.zeros(int(behaviours.max(initial=0)) + 1, bool)
    alike[[each for each in set(behaviours.tolist()) if group.entries[each].place in kinds]] = True
    return alike[behaviours]


def _exposure(replicas: Replicas, of: npt.NDArray[np.bool_] | slice, lived: int) -> int:
    """Return how many opportunities these replicas had: what they did, or the time that they lived."""
    return max(int(replicas.count[of].sum()), lived // IDLE)


def _lived(replicas: Replicas, of: npt.NDArray[np.bool_] | slice, now: int) -> int:
    until = np.where(replicas.running, now, replicas.last)
    return int((until - replicas.first)[of].sum())


def _executions(group: Group, base: str, table: SightingTable, pace: int) -> tuple[int, int]:
    """Return since when a program runs, and how often it ran, counted at most once in so many nanoseconds on a replica.

    A loop that runs its helper a thousand times in a second with the same arguments is one observation of them.
    """
    entry = group.find(BehaviourType.EXEC, base)
    if entry is None:
        return group.first, 0
    rows = np.fromiter(entry.rows.values(), np.int64, len(entry.rows))
    return min(entry.firsts(table), default=group.first), _paced(table, rows, pace) + entry.past_count


def _paced(table: SightingTable, rows: npt.NDArray[np.int64], pace: int) -> int:
    """Return how often something was done, what came faster than the pace left out."""
    return int(np.minimum(table.count[rows], (table.last[rows] - table.first[rows]) // pace + 1).sum())
