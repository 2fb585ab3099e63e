"""How surprising is it that something new shows up at all?

Good and Turing: after n observations of which f1 behaviours occurred exactly once, the next one is something unseen with a
probability of about f1 / n. A workload whose helpers repeat has f1 near 0 and is settled after seconds; one that executes
something new every minute never settles, and what is new there means little. No learning period has to be chosen.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Novelty", "novelty", "unseen_mass"]

PRIOR = 0.5
"""Pseudo-count of singletons (Jeffreys): with none among n observations the unseen mass is about 1 / 2n, not 0."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """How probable a new behaviour is among the next observations, and what that rests on."""

    probability: float
    observations: int
    singletons: int


def unseen_mass(observations: int, singletons: int) -> float:
    """Return the probability that the next observation is of an unseen behaviour."""
    return min(1.0, (singletons + PRIOR) / (observations + 1))


def novelty(
    behaviour: npt.NDArray[np.int64],
    count: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    variety: npt.NDArray[np.bool_],
    *,
    begin: int,
    now: int,
    exposure: int = 0,
) -> Novelty:
    """Return how probable something new is in a set of sightings.

    Two estimates, the larger counts. Singletons are Good and Turing's. But executions come in bursts (a job runs its helper
    three times, a loop sleeps every second), which hides singletons; so what was discovered in the later half of the time,
    per observation of that half, is the second: the same quantity for independent draws, and robust against bursts.

    Args:
        behaviour: per sighting, which behaviour.
        count: per sighting, how often.
        first: per sighting, when it was first seen (any unit).
        variety: per sighting, whether it counts as a sign of variety: what only belongs to a start (it occurs once per start by
            nature), what persons did and what is under suspicion for more than being new does not.
        begin: when observation began, in the unit of `first`.
        now: the present.
        exposure: opportunities that there were at least, whatever came of them: observations of all kinds, those of replicas
            that are forgotten, and the time of a service that does nothing but serve.
    """
    total = max(int(count.sum()), exposure)
    if not len(behaviour):
        return Novelty(unseen_mass(total, 0), total, 0)
    _, index = np.unique(behaviour, return_inverse=True)
    per_behaviour = np.bincount(index, weights=count)
    varied = np.zeros(len(per_behaviour), bool)
    varied[index[variety]] = True
    singletons = int(np.count_nonzero((per_behaviour == 1) & varied))
    discovered = np.full(len(per_behaviour), now, np.int64)
    np.minimum.at(discovered, index, first)
    late = int(np.count_nonzero((discovered >= begin + (now - begin) // 2) & varied))
    probability = max(unseen_mass(total, singletons), unseen_mass(total // 2, late))
    return Novelty(probability, total, singletons)
