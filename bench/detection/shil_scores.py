"""What counts are scored by: the core's functions (`collector.detect.volume`) one after the other, and the rules of others.

A score is fitted to normal minutes of all containers of an application and knows nothing else: no names, no attack.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from collector.detect.volume import Habit, beyond_peers, lift, trailing

__all__ = ["CHOSEN", "COLLECTORS", "F64", "FITS", "I64", "RULES", "STEP", "WINDOW", "Fit", "Group", "Rule", "Score"]

F64: TypeAlias = npt.NDArray[np.float64]
I64: TypeAlias = npt.NDArray[np.int64]

WINDOW = 100
"""Samples in a window of 10 s, in which replicas are compared."""
STEP = 10
"""Training windows overlap, one begins each second: there are three minutes only."""

Score: TypeAlias = Callable[[I64, int], F64]
"""Of each sample, from the counts of one container and its number."""
Fit: TypeAlias = Callable[[list[I64]], Score]
"""From normal minutes of each container to a score."""
Group: TypeAlias = list[I64]
"""One window of each container."""
Rule: TypeAlias = Callable[[list[I64]], Callable[[Group], F64]]
"""From normal minutes of each container to a score of each replica of a group."""


def never_seen(train: list[I64]) -> Score:
    """Score 1 where something happens that never did: an allow list."""
    seen = np.concatenate(train).any(axis=0)
    return lambda counts, _: np.asarray((counts[:, ~seen] > 0).any(axis=1), np.float64)


def plain(train: list[I64]) -> Score:
    """Score by standard deviations of counts, not of their logarithms."""
    counts = np.concatenate(train)
    mean, spread = counts.mean(axis=0), counts.std(axis=0) + 1
    return lambda counts, _: np.asarray(((counts - mean) / spread).max(axis=1), np.float64)


def surprise(samples: int, *, own: bool = False, working: bool = False, unexplained: bool = False) -> Fit:
    """Score by the largest surprise among the items, in the last so many samples.

    Args:
        samples: how many.
        own: by the mean of two surprises, about the habit of all containers and about the container's own.
        working: habits come from windows in which the container did anything: idling says nothing about how it works.
        unexplained: what the container's whole activity has risen by is taken off.
    """
    of = beyond_activity if unexplained else Habit.surprise

    def fit(train: list[I64]) -> Score:
        windows = [_recent(each, samples) for each in train]
        if working:
            windows = [each[each.any(axis=1)] for each in windows]
        everybody = Habit.of(np.concatenate(windows))
        # A container that never worked has no habit of its own.
        habits = [Habit.of(each) if own and len(each) else everybody for each in windows]

        def score(counts: I64, container: int) -> F64:
            recent = _recent(counts, samples)
            values = of(everybody, recent)
            if own:
                values = np.asarray((values + of(habits[container], recent)) / 2)
            return np.asarray(values.max(axis=1))

        return score

    return fit


def _recent(counts: I64, samples: int) -> F64:
    return np.asarray(trailing(counts, samples), np.float64)


def beyond_activity(habit: Habit, counts: F64) -> F64:
    """Return each window's surprises less what the other items explain, as `collector.analysis.excess` does it for one item."""
    above = np.log1p(counts) - habit.mean
    usual = habit.mean > math.log(2)  # only what every window has says how busy a container is
    left = above - lift(above[:, usual])[:, None]
    left[:, usual] = beyond_peers(above[:, usual].T).T  # an item does not explain itself: the median of all others
    return np.asarray(left / habit.spread)


CHOSEN = "- beyond its own activity (chosen)"
FITS: dict[str, Fit] = {
    "never seen (allow list)": never_seen,
    "plain counts, largest": plain,
    "surprise, largest, 0.1 s": surprise(1),
    "surprise, largest, 0.3 s": surprise(3),
    "- about its own habit, too": surprise(3, own=True),
    "- about habits of working": surprise(3, own=True, working=True),
    CHOSEN: surprise(3, own=True, working=True, unexplained=True),
    "the same, 0.1 s": surprise(1, own=True, working=True, unexplained=True),
    "the same, 1 s": surprise(10, own=True, working=True, unexplained=True),
}
"""From the simplest to the chosen one; lines that begin with a dash add to the one above."""


# One victim among four.


def new_and_alone(train: list[I64]) -> Callable[[Group], F64]:
    """Score by how many items never happened in the workload and happen on one replica only."""
    seen = np.concatenate(train).any(axis=0)

    def score(group: Group) -> F64:
        shows = np.stack([each.any(axis=0) for each in group]) & ~seen
        return np.asarray((shows & (shows.sum(axis=0) == 1)).sum(axis=1), np.float64)

    return score


def replica_watcher(_: list[I64]) -> Callable[[Group], F64]:
    """Score by one minus the mean Jaccard similarity with the others: ReplicaWatcher's rule on names."""

    def score(group: Group) -> F64:
        sets = np.stack([each.any(axis=0) for each in group]).astype(np.float64)
        common = sets @ sets.T
        size = sets.sum(axis=1)
        similarity = common / np.maximum(size[:, None] + size[None, :] - common, 1)
        mean = (similarity.sum(axis=1) - np.diag(similarity)) / (len(group) - 1)
        return np.where(size > 0, 1 - mean, 0.0)

    return score


def among(explain: Callable[[F64], F64], *, own: bool = False, unexplained: bool = False) -> Rule:
    """Score by the largest surprise of the window's counts that the peers leave; the rest as for `surprise`."""
    of = beyond_activity if unexplained else Habit.surprise

    def fit(train: list[I64]) -> Callable[[Group], F64]:
        windows = [_recent(each, WINDOW)[WINDOW - 1 :: STEP] for each in train]
        everybody, habits = Habit.of(np.concatenate(windows)), [Habit.of(each) for each in windows]

        def score(group: Group) -> F64:
            counts = np.stack([each.sum(axis=0, dtype=np.float64) for each in group])
            values = of(everybody, counts)
            if own:
                alone = [of(habit, each[None]) for habit, each in zip(habits, counts, strict=True)]
                values = np.asarray((values + np.concatenate(alone)) / 2)
            return np.asarray(explain(values).max(axis=1))

        return score

    return fit


def beyond_all(values: F64) -> F64:
    """Take off what the highest other replica shows."""
    others = np.stack([np.delete(values, each, axis=0).max(axis=0) for each in range(len(values))])
    return np.asarray(values - np.maximum(others, 0.0), np.float64)


COLLECTORS = "surprise beyond the peers' median (the collector's)"
RULES: dict[str, tuple[Rule, float | None]] = {
    "ReplicaWatcher's rule, above 0.2": (replica_watcher, 0.2),
    "ReplicaWatcher's rule, above 0.3": (replica_watcher, 0.3),
    "ReplicaWatcher's rule, limit from training": (replica_watcher, None),
    "never seen and on one replica only": (new_and_alone, 0.0),
    "surprise, without peers": (among(lambda values: values), None),
    "surprise beyond the highest peer": (among(beyond_all), None),
    COLLECTORS: (among(beyond_peers), None),
    "- about its own habit, too, and beyond its own activity": (among(beyond_peers, own=True, unexplained=True), None),
}
"""Each with its level, or None where training minutes give it."""
