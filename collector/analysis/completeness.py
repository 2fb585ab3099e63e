"""How complete a baseline is, in numbers that people can plan with: when is the next new behaviour expected?

The estimate is detection's (`detect.surprise`) over all that a container ever did. An alert asks more closely (`novelty`): who
does it, in which revision, and without what belongs to starts only. Arguments are left out: their variety need not settle.
"""

import numpy as np

from collector.analysis.sightings import Group, SightingTable, Standing
from collector.detect import surprise
from collector.detect.decision import DEFAULT_LIMITS
from collector.records import BehaviourType, Completeness

__all__ = ["completeness_of", "is_settled"]


def is_settled(group: Group, table: SightingTable, now: int) -> bool:
    """Return whether what is new among the programs of a group may be told at once; so it is while it executed nothing."""
    return _settles(_novelty(group, BehaviourType.EXEC, table, now))


def _settles(novelty: surprise.Novelty | None) -> bool:
    return novelty is None or novelty.probability <= DEFAULT_LIMITS.settled


def _novelty(group: Group, kind: BehaviourType, table: SightingTable, now: int) -> surprise.Novelty | None:
    """Return how probable something new of a kind is in a group, None if nothing of the kind is known."""
    rows = group.rows_of(int(kind))
    if not len(rows):
        return None
    return surprise.novelty(
        table.behaviour[rows],
        table.count[rows],
        table.first[rows],
        table.standing[rows] == Standing.ACCEPTED,
        begin=group.first,
        now=now,
        exposure=int(table.count[rows].sum()) + group.past_observations[kind],
    )


def completeness_of(group: Group, table: SightingTable, now: int) -> Completeness:
    """Return how much is known of a group: per kind of behaviour as detection estimates it, what is expected added up."""
    novelties = {kind: _novelty(group, kind, table, now) for kind in BehaviourType}
    known = [each for each in novelties.values() if each is not None]
    observations = sum(each.observations for each in known)
    expected = sum(each.probability * each.observations for each in known)
    lived = [
        int(table.last[np.array(each.rows, np.int64)].max(initial=each.first)) - each.first for each in group.replicas.values()
    ]
    # Replicas that are only numbers by now lived about as long as those that are known.
    observed = sum(lived) * (len(lived) + group.past_replicas) // max(1, len(lived))
    return Completeness(
        container=group.container,
        unseen=min(1.0, expected / observations) if observations else 1.0,
        observations=observations,
        observed=observed,
        new_every=int(observed / expected) if expected else 0,
        settled=_settles(novelties[BehaviourType.EXEC]),
    )
