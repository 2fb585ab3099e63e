"""How often, not what: counts per window against a workload's own habit and against what its peers do at the same time.

Counts spread by factors rather than by differences, so all is done on logarithms: a habit is the mean and the spread of
log(1 + count), and a count surprises by how many spreads it lies above. What a replica's peers show at the same time, and what
its own whole activity has risen by, explains it away: load is no deviation. Limits come from normal time alone, as the level
that a wanted share of it exceeds. An item that never happened has a habit as well: none at all, with the smallest spread.
"""

import math
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_SPREAD", "Gaps", "Habit", "beyond_peers", "lift", "limit", "poisson_tail", "trailing"]

F64: TypeAlias = npt.NDArray[np.float64]
I64: TypeAlias = npt.NDArray[np.int64]
Counts: TypeAlias = npt.NDArray[np.int64] | F64
"""One row per window, one column per item."""

LEAST_SPREAD = 0.1
"""Added to each spread, on the logarithmic scale: nobody's counts are steadier than a tenth, however steady they looked so far.
It makes one occurrence of what never happened worth seven spreads, and a doubling of what never varied as many."""


@dataclass(frozen=True, slots=True)
class Habit:
    """Per item, mean and spread of log(1 + count) over windows of normal time."""

    mean: F64
    spread: F64

    @classmethod
    def of(cls, counts: Counts) -> Self:
        """Return the habit that these windows show."""
        logs = np.log1p(counts)
        return cls(logs.mean(axis=0), logs.std(axis=0) + LEAST_SPREAD)

    @classmethod
    def of_sums(cls, windows: Counts, total: F64, squares: F64) -> Self:
        """Return the habit from the number of windows and the sums of log(1 + count) and of its square."""
        mean = total / np.maximum(windows, 1)
        spread = np.sqrt(np.maximum(squares / np.maximum(windows, 1) - mean**2, 0.0))
        return cls(mean, spread + LEAST_SPREAD)

    def surprise(self, counts: Counts) -> F64:
        """Return for each window and item how many spreads the count lies above the habit; below it is negative."""
        return np.asarray((np.log1p(counts) - self.mean) / self.spread, np.float64)


def beyond_peers(surprise: F64) -> F64:
    """Return what the others leave of each replica's surprise (replicas, items): the median of the other replicas is taken off.

    What they do less than usual explains nothing, so it takes nothing off: a replica that takes over the load of an idle one
    is no case for this function, but for the group's total.
    """
    replicas = len(surprise)
    if replicas < 2:
        return surprise
    # Without a replica the values from its rank on move down by one, so all medians come from one sorted column.
    ordered, rank = np.sort(surprise, axis=0), np.argsort(np.argsort(surprise, axis=0, kind="stable"), axis=0)
    lower, upper = (np.where(at < rank, ordered[at], ordered[at + 1]) for at in ((replicas - 2) // 2, (replicas - 1) // 2))
    others = (lower + upper) / 2
    return np.asarray(surprise - np.maximum(others, 0.0), np.float64)


def lift(above: F64) -> F64:
    """Return by how much a replica's other items, one row, are above their habits (logarithms): its activity as a whole."""
    if not above.shape[-1]:
        return np.zeros(above.shape[:-1])
    return np.maximum(np.median(above, axis=-1), 0.0)


def limit(scores: F64, share: float) -> float:
    """Return the level that this share of normal scores exceeds.

    Beyond what was observed (a share below one in as many scores as there are) the tail goes on exponentially, with the mean
    excess of the upper hundredth, which on logarithmic scores is a power law of counts.
    """
    ordered = np.sort(scores)
    wanted = share * len(ordered)
    if wanted >= 1:
        return float(ordered[max(len(ordered) - int(wanted) - 1, 0)])
    upper = ordered[-max(2, len(ordered) // 100) :]
    return float(ordered[-1] + max(float((upper - upper[0]).mean()), LEAST_SPREAD) * -math.log(wanted))


def trailing(counts: Counts, windows: int) -> Counts:
    """Return for each window the sum of the last so many windows, itself included."""
    sums = np.cumsum(np.concatenate([np.zeros_like(counts[:1]), counts]), axis=0)
    end = np.arange(1, len(counts) + 1)
    return np.asarray(sums[end] - sums[np.maximum(end - windows, 0)])


def poisson_tail(count: int, expected: float) -> float:
    """Return the probability of so many or more where `expected` are usual."""
    if count <= 0:
        return 1.0
    term = total = math.exp(-expected)
    for each in range(1, min(count, 1_000)):
        term *= expected / each
        total += term
    # Where the difference is lost to rounding, the first term of the tail is nearly all of it.
    first = math.exp(count * math.log(max(expected, 1e-300)) - expected - math.lgamma(count + 1))
    return max(1.0 - total, first, 0.0)


@dataclass(frozen=True, slots=True)
class Gaps:
    """The times between occurrences as sums: how many, seconds and their squares."""

    number: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """Return the mean gap in seconds."""
        return self.total / max(self.number, 1)

    @property
    def jitter(self) -> float:
        """Return the spread as a share of the mean: 0 is a clock, 1 is chance."""
        variance = max(self.squares / max(self.number, 1) - self.mean**2, 0.0)
        return math.sqrt(variance) / self.mean if self.mean > 0 else math.inf
