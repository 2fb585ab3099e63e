"""How probable something new is here: the numbers of a group, as the estimate of `detect.surprise` asks for them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.analysis.questions import Question, Replicas
from collector.analysis.sightings import Entry, Group, SightingTable, Standing
from collector.detect import surprise
from collector.detect.context import kind_of_place
from collector.records import BehaviourType

__all__ = ["MOMENT", "probability_of_level", "probability_of_new"]

SECOND = 1_000_000_000

MOMENT = 2 * SECOND
"""Nanoseconds within which what one replica does newly is one chain of commands."""

MOVED = 0.05
"""Probability that a program that reaches a port on one private network meets it on another: pods move from node to node, and
each node has a network of its own."""

OPPORTUNITY = 10 * SECOND
"""Nanoseconds of a replica's life that count as one observation when it does nothing: who only serves settles, too."""


@dataclass(frozen=True, slots=True)
class _Others:
    """The other sightings of a kind in a group, one entry each."""

    rows: npt.NDArray[np.int64]
    behaviour: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    accepted: npt.NDArray[np.bool_]
    waiting: npt.NDArray[np.bool_]
    mild: npt.NDArray[np.bool_]
    variety: npt.NDArray[np.bool_]
    replica: npt.NDArray[np.intp]
    """Index into the group's replicas."""
    now: int

    @classmethod
    def of(cls, question: Question, entry: Entry, table: SightingTable) -> "_Others":
        group = question.group
        rows = group.rows()
        rows = rows[(table.type[rows] == entry.column_type) & (rows != question.row)]
        ids = np.fromiter(group.replicas, np.int64, len(group.replicas))
        replica = np.searchsorted(ids, table.replica[rows])
        births = np.array([each.born for each in group.replicas.values()], np.int64)[replica]
        first, standing = table.first[rows], table.standing[rows]
        accepted = standing == Standing.ACCEPTED
        # What is held on others, or was long before, shows variety as well; what this replica did at the same moment is one
        # chain.
        at, mine = int(table.first[question.row]), table.replica[rows] == table.replica[question.row]
        waiting = (standing == Standing.PENDING) & ~(mine & (abs(first - at) < MOMENT))
        mild = standing == Standing.MILD
        variety = (accepted | waiting | mild) & (first - births >= question.startup)
        behaviour, count = table.behaviour[rows], table.count[rows]
        return cls(rows, behaviour, count, first, accepted, waiting, mild, variety, replica, question.now)

    def new(self, where: npt.NDArray[np.bool_], *, begin: int, exposure: int = 0) -> float:
        """Return how probable something new is among some of them."""
        return surprise.novelty(
            self.behaviour[where],
            self.count[where],
            self.first[where],
            self.variety[where],
            begin=begin,
            now=self.now,
            exposure=exposure,
        ).probability

    def alternatives(self, where: npt.NDArray[np.bool_]) -> float:
        """Return how probable it is that a replica shows one of these alternatives that no other shows."""
        where = where & (self.accepted | self.waiting | self.mild)
        return surprise.shared_mass(self.behaviour[where], self.replica[where])

    def discovered(self, begin: int) -> int:
        """Return how many behaviours were discovered in the later half of the time."""
        return surprise.late_discoveries(self.behaviour, self.first, self.variety, begin=begin, now=self.now)


def probability_of_new(question: Question, replicas: Replicas, table: SightingTable, *, mixed: bool, pace: int) -> float:
    """Return how probable something new is here: in the workload, in its revision, from the same doer; the largest.

    A rollout is new as a whole, and a task runner's shell starts something new every few minutes while its loops repeat.

    Args:
        question: the sighting in question.
        replicas: of its group.
        table: all sightings.
        mixed: the group has several revisions.
        pace: what happens more often than this on a replica (nanoseconds) counts no more; 0: each time counts.
    """
    group, entry = question.group, question.group.entries[int(table.behaviour[question.row])]
    others = _Others.of(question, entry, table)
    everything = np.ones(len(others.rows), bool)
    doer = table.source[others.rows] == entry.source
    if entry.base:
        begin, executed = _executions(group, entry.base, table, pace or SECOND)
        own = others.new(doer, begin=begin, exposure=executed)
        return max(own, others.new(everything, begin=group.first))
    past = sum(group.past_observations.values())
    all_replicas = np.ones(len(replicas.ids), bool)
    found = [others.new(everything, begin=group.first, exposure=_exposure(replicas, all_replicas, question.now) + past)]
    if pace:
        lived = _lived(replicas, all_replicas, question.now) // pace
        found.append(surprise.unseen_mass(lived, 0))
        late = others.discovered(group.first)
        if late:
            found.append(surprise.unseen_mass(lived // 2, late))
    if mixed:
        revision = group.replicas[int(table.replica[question.row])].revision
        same = np.array([each.revision == revision for each in group.replicas.values()], bool)
        exposure = _exposure(replicas, same, question.now)
        found.append(others.new(same[others.replica], begin=int(replicas.first[same].min()), exposure=exposure))
    if entry.type is BehaviourType.CONNECT:
        alike = doer & _like(entry, group, others.behaviour)
        found.append(others.alternatives(alike))
        if (alike & others.accepted).any() and entry.key.partition(" -> ")[2].startswith("private "):
            found.append(MOVED)
    shared = others.behaviour[doer & others.accepted]
    if len(shared) > len(np.unique(shared)):  # two replicas do one thing through it; else the doer itself is what is new
        found.append(others.new(doer, begin=group.first))
    return max(found)


def probability_of_level(question: Question, known: int, table: SightingTable) -> float:
    """Return how probable it is that a program is told something of a kind that hardly any arguments of it have.

    A shell that runs another command string each time has as many templates as executions, yet none that downloads and runs:
    so many executions without say how probable the first is.

    Args:
        question: arguments.
        known: how many such things its accepted arguments say.
        table: all sightings.
    """
    _, executed = _executions(question.group, question.behaviour.base, table, SECOND)
    return surprise.unseen_mass(executed, known)


def _like(entry: Entry, group: Group, behaviours: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which destinations are alternatives to one: the same kind of place and the same port.

    A supplier with many addresses, a ring of storage nodes, customers' hosts: who met several of a kind meets more of them.
    """
    wanted = kind_of_place(entry.key.partition(" -> ")[2])
    kinds = {wanted, wanted.replace("private *", "service *")}  # an address that nobody could name may be a known service's
    alike = [
        each for each in np.unique(behaviours).tolist() if kind_of_place(group.entries[each].key.partition(" -> ")[2]) in kinds
    ]
    return np.isin(behaviours, alike)


def _exposure(replicas: Replicas, of: npt.NDArray[np.bool_], now: int) -> int:
    """Return how many opportunities these replicas had: what they did, or the time that they lived."""
    return max(int(replicas.count[of].sum()), _lived(replicas, of, now) // OPPORTUNITY)


def _lived(replicas: Replicas, of: npt.NDArray[np.bool_], now: int) -> int:
    until = np.where(replicas.running, now, replicas.last)
    return int(np.sum((until - replicas.first)[of]))


def _executions(group: Group, base: str, table: SightingTable, pace: int) -> tuple[int, int]:
    """Return since when a program runs, and how often it ran, counted at most once in so many nanoseconds on a replica.

    A loop that runs its helper a thousand times in a second with the same arguments is one observation of them.
    """
    entry = group.find(BehaviourType.EXEC, base)
    if entry is None:
        return group.first, 0
    rows = np.fromiter(entry.rows.values(), np.int64, len(entry.rows))
    times = (table.last[rows] - table.first[rows]) // pace + 1
    begin = min([*table.first[rows].tolist(), *([entry.past_first] if entry.past_count else [])], default=group.first)
    return begin, int(np.minimum(table.count[rows], times).sum()) + entry.past_count
