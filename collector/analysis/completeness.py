"""How complete a baseline is, in numbers that people can plan with: when is the next new behaviour expected?

The estimate is the one that detection judges by, so that what people read is what alerts follow. Arguments are left out: their
variety need not settle.
"""

import numpy as np

from collector.analysis.baselines import SETTLED
from collector.analysis.sightings import Group, SightingTable, Standing
from collector.detect import surprise
from collector.records import BehaviourType, Completeness

__all__ = ["completeness_of"]


def completeness_of(group: Group, table: SightingTable, now: int) -> Completeness:
    """Return how much is known of a group: per kind of behaviour as detection estimates it, what is expected added up."""
    expected = 0.0
    observations, settled = 0, True
    for kind in BehaviourType:
        rows = group.rows()
        rows = rows[table.type[rows] == kind]
        if not len(rows):
            continue
        novelty = surprise.novelty(
            table.behaviour[rows],
            table.count[rows],
            table.first[rows],
            table.standing[rows] == Standing.ACCEPTED,
            begin=group.first,
            now=now,
            exposure=int(table.count[rows].sum()) + group.past_observations[kind],
        )
        observations += novelty.observations
        expected += novelty.probability * novelty.observations
        settled &= kind is not BehaviourType.EXEC or novelty.probability <= SETTLED
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
        settled=settled,
    )
