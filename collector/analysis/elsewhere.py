"""What other workloads of the same image do: they stand in for peers where a workload has hardly any of its own.

A tenant's single pod has no replicas to be compared with, but the same software runs for other tenants. Its image alone says
little (an interpreter's image runs anything), so only workloads that do most of what this one does are compared, each as one.
Who holds one of them can hide nothing and teach nothing: what counts is what most of them do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from collector.analysis import behaviour_keys
from collector.analysis.learning import is_accepted
from collector.analysis.questions import Question
from collector.analysis.sightings import Group, SightingTable
from collector.detect import decision, surprise
from collector.detect.peers import OPPORTUNITY, Comparison
from collector.records import BehaviourType

__all__ = ["Elsewhere", "novelty", "same_image"]

MOST = 32
"""Workloads looked at: a sidecar's image is in thousands, and so many tell as much."""

MOST_HABITS = 16
"""Behaviours that are compared to tell whether two workloads do the same: a sample is enough for more than half."""

FEWEST_HABITS = 3
"""Behaviours below which nobody can say that two workloads do the same: a program, its arguments, and one more."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What at least two other workloads of an image say about a behaviour."""

    comparison: Comparison
    """Workloads instead of replicas."""
    alike: Sequence[Group]


def same_image(question: Question, table: SightingTable, *, starting: bool) -> Elsewhere | None:
    """Compare a replica with the other workloads of its image; None if there are too few that do as its own does."""
    group, began = question.group, int(table.first[question.row])
    if len(group.same_image) <= decision.ENOUGH_PEERS:
        return None
    age = min(began - group.replicas[int(table.replica[question.row])].first, OPPORTUNITY)
    habits = _habits(group, table)
    alike = [
        other
        for other in islice(group.same_image.values(), MOST)
        if other.workload != group.workload
        and began - other.first >= age
        and (not starting or any(each.start_seen for each in other.replicas.values()))
        and len(habits) >= FEWEST_HABITS
        and 2 * sum(habit in other.by_key for habit in habits) > len(habits)
    ]
    if len(alike) < decision.ENOUGH_PEERS:
        return None
    shown = [entry for other in alike if (entry := other.find_behaviour(question.behaviour)) is not None]
    comparison = Comparison(len(alike), len(shown), sum(is_accepted(entry, table) for entry in shown))
    return Elsewhere(comparison, alike)


def novelty(question: Question, alike: Sequence[Group], table: SightingTable) -> float:
    """Return how probable it is that one workload does what none of the others of its image does."""
    kind = question.group.entries[int(table.behaviour[question.row])].column_type
    shown: dict[str, int] = {}
    for group in (question.group, *alike):
        rows = group.rows_of(kind)
        for behaviour in set(table.behaviour[rows[rows != question.row]].tolist()):
            key = group.entries[behaviour].key
            shown[key] = shown.get(key, 0) + 1
    times = np.fromiter(shown.values(), np.int64, len(shown))
    return surprise.unseen_mass(int(times.sum()), int(np.count_nonzero(times == 1)))


def _habits(group: Group, table: SightingTable) -> list[tuple[BehaviourType, str]]:
    """Return the names of some of what a group executes, with arguments: whom it talks to is each tenant's own."""
    execs = [each for each in group.entries.values() if each.type is BehaviourType.EXEC]
    sample = execs[:: max(1, -(-len(execs) // MOST_HABITS))]
    return [(each.type, behaviour_keys.merged(each.key)) for each in sample if is_accepted(each, table)]
