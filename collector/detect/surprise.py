"""How surprising is it that something new shows up at all?

Good and Turing: after n observations of which f1 behaviours occurred exactly once, the next one is something unseen with a
probability of about f1 / n. A workload whose helpers repeat has f1 near 0 and is settled after seconds; one that executes
something new every minute never settles, and what is new there means little. No learning period has to be chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Novelty", "novelty", "rarity", "shared_mass", "unseen_mass"]

PRIOR = 0.5
"""Pseudo-count of singletons (Jeffreys): with none among n observations the unseen mass is about 1 / 2n, not 0."""

FEWEST_SINGLETONS = 2
"""One may be a leader's, or the deviation itself."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """How probable a new behaviour is among the next observations, and what that rests on."""

    probability: float
    observations: int
    late: int
    """Behaviours that were first seen in the later half of the time."""


def unseen_mass(observations: int, singletons: int) -> float:
    """Return the probability that the next observation is of an unseen behaviour."""
    return min(1.0, (singletons + PRIOR) / (observations + 1))


def novelty(
    behaviour: npt.NDArray[Any],
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
    index = behaviour - behaviour.min()  # what lies between two numbers was never seen and counts nowhere
    times = np.bincount(index, weights=count)
    varied = np.zeros(len(times), bool)
    varied[index[variety]] = True
    singletons = int(np.count_nonzero((times == 1) & varied))
    varied[index[first < begin + (now - begin) // 2]] = False
    late = int(np.count_nonzero(varied))
    probability = max(unseen_mass(total, singletons), unseen_mass(total // 2, late))
    return Novelty(probability, total, late)


def shared_mass(behaviour: npt.NDArray[np.int64], replica: npt.NDArray[np.int64]) -> float:
    """Return how probable it is that what a replica shows next was shown by no other one, among alternatives to each other.

    Good and Turing's estimate of incidence: a draw is one alternative shown by one replica, however often, so that a loop or a
    busy connection hides nothing. With fewer than two singletons there is no sign of variety: it is 0.

    Args:
        behaviour: per sighting, which of the alternatives.
        replica: per sighting, on which replica.
    """
    if not len(behaviour):
        return 0.0
    pairs = np.unique(behaviour << 32 | replica)
    shown = pairs >> 32  # ascending
    singletons = int(np.count_nonzero(np.bincount(shown - shown[0]) == 1))
    return singletons / (len(pairs) + 1) if singletons >= FEWEST_SINGLETONS else 0.0


def rarity(kinds: Mapping[int, int], others: int) -> float:
    """Return how probable it is that the next draw is at least as rare as one whose kind was drawn so often besides.

    A conformal p-value: of those drawn so far, this one included, the share that was as rare when it is left out itself. It
    holds whatever the distribution is, as long as draws can change places: at most a share p of all draws has a value of p or
    less.

    Args:
        kinds: number of draws → how many kinds were drawn so often, this draw included.
        others: how often this draw's kind was drawn besides.
    """
    total = sum(size * many for size, many in kinds.items())
    as_rare = sum(size * many for size, many in kinds.items() if size <= others + 1)
    return max(as_rare, 1) / max(total, 1)
