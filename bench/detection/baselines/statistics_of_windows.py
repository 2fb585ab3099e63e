"""B5 to B7: outliers of counts (IsolationForest, LOF), rarity, and trigrams of process lineages (STIDE)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor

from baselines.frame import I64, Bools, Frame, Hits, codes, first_of

__all__ = ["Outliers", "Rarity", "Trigrams"]

WINDOW = 60 * NANOSECONDS
QUANTILE = 0.999
"""Of the scores while learning: the threshold."""
HIGH_PORT = 1024
FEW_WINDOWS = 60
"""Below so many learning windows of its own, a workload is judged by all workloads' model."""

_SHELLS = frozenset({"sh", "dash", "bash", "ash", "zsh", "ksh", "busybox"})


def _learning(frame: Frame, learning_s: float) -> Bools:
    begin = np.full(len(frame.workloads), np.iinfo(np.int64).max)
    np.minimum.at(begin, frame.workload, frame.time)
    return np.asarray(frame.time - begin[frame.workload] < learning_s * NANOSECONDS)


@dataclass(frozen=True, slots=True)
class Outliers:
    """Log counts per (replica, minute): execs, files and new ones, shells, connects, destinations, public ones, high ports."""

    model: Literal["forest", "lof"]
    learning_s: float

    def __call__(self, frame: Frame) -> Hits:
        """Return the events of odd minutes, told at the minute's end."""
        learning = _learning(frame, self.learning_s)
        if not np.any(learning):
            return Hits.at_once(frame, np.zeros(0, np.intp))
        cell = codes(frame.pod, frame.group, frame.time // WINDOW)
        features = np.log1p(_features(frame, cell))
        _, first = np.unique(cell, return_index=True)
        workload = frame.workload[first]
        known = np.ones(len(first), bool)
        np.logical_and.at(known, cell, learning)
        odd = np.zeros(len(first), bool)
        scale = features[known].std(axis=0) + 1e-9 if np.any(known) else np.ones(features.shape[1])
        for each in np.unique(workload).tolist():
            mine = workload == each
            train = known & mine
            if np.count_nonzero(train) < FEW_WINDOWS:
                train = known
            if np.count_nonzero(train) >= FEW_WINDOWS and np.any(mine & ~known):
                odd[mine & ~known] = self._odd(features[train] / scale, features[mine & ~known] / scale)
        rows = np.flatnonzero(odd[cell])
        return Hits(rows, (frame.time[rows] // WINDOW + 1) * WINDOW)

    def _odd(self, train: npt.NDArray[np.float64], test: npt.NDArray[np.float64]) -> Bools:
        if self.model == "forest":
            forest = IsolationForest(n_estimators=200, random_state=0).fit(train)
            learned, seen = -forest.score_samples(train), -forest.score_samples(test)
        else:
            lof = LocalOutlierFactor(n_neighbors=20, novelty=True).fit(train)
            learned, seen = -lof.negative_outlier_factor_, -lof.score_samples(test)
        return np.asarray(seen > np.quantile(learned, QUANTILE))


def _features(frame: Frame, cell: I64) -> npt.NDArray[np.float64]:
    cells = int(cell.max()) + 1
    execs, connects = ~frame.connects, frame.connects
    shell = frame.of_strings(lambda text: text.rpartition("/")[2] in _SHELLS)[frame.exe]

    def counted(which: Bools, weight: I64) -> npt.NDArray[np.float64]:
        return np.bincount(cell[which], weights=weight[which], minlength=cells)

    def distinct(which: Bools, item: I64) -> npt.NDArray[np.float64]:
        pairs = np.unique(np.stack([cell[which], item[which]]), axis=1)
        return np.bincount(pairs[0].astype(np.int64), minlength=cells).astype(np.float64)

    def fresh(which: Bools, item: I64) -> npt.NDArray[np.float64]:
        rows = np.flatnonzero(which)
        first = rows[first_of(codes(frame.workload[rows], item[rows]))] if len(rows) else rows
        return np.bincount(cell[first], minlength=cells).astype(np.float64)

    return np.stack(
        [
            counted(execs, frame.count),
            distinct(execs, frame.exe),
            fresh(execs, frame.exe),
            counted(execs & shell, frame.count),
            counted(connects, frame.count),
            distinct(connects, frame.network),
            fresh(connects, frame.network),
            counted(connects & frame.public, frame.count),
            counted(connects & (frame.port >= HIGH_PORT), frame.count),
        ],
        axis=1,
    )


@dataclass(frozen=True, slots=True)
class Rarity:
    """Minus the logarithm of the smoothed frequency of (parent, file) and of destinations, as known at that time."""

    learning_s: float

    def __call__(self, frame: Frame) -> Hits:
        """Return rows rarer than nearly all while learning."""
        learning = _learning(frame, self.learning_s)
        found = [self._rare(frame, learning, ~frame.connects, codes(frame.exe, frame.parent))]
        found.append(self._rare(frame, learning, frame.connects, frame.network))
        return found[0] | found[1]

    def _rare(self, frame: Frame, learning: Bools, which: Bools, item: I64) -> Hits:
        rows = np.flatnonzero(which)
        code = codes(frame.workload[rows], item[rows])
        before, seen, distinct = _ranks(code), _ranks(frame.workload[rows]), _distinct_before(code, frame.workload[rows])
        score = -np.log((before + 1) / (seen + distinct + 1))
        train = learning[rows]
        limit = np.quantile(score[train], QUANTILE) if np.any(train) else np.inf
        return Hits.at_once(frame, rows[(score > limit) & ~train])


def _ranks(code: I64) -> I64:
    """Return for each row how many rows with its number come before."""
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    starts = np.searchsorted(ordered, ordered)
    ranks = np.empty(len(code), np.int64)
    ranks[order] = np.arange(len(code)) - starts
    return ranks


def _distinct_before(code: I64, scope: I64) -> I64:
    """Return for each row how many distinct numbers came in its scope so far."""
    first = np.zeros(len(code), np.int64)
    first[first_of(code)] = 1
    order = np.argsort(scope, kind="stable")
    running = np.cumsum(first[order])
    starts = np.searchsorted(scope[order], scope[order])
    before = np.concatenate([[0], running])[starts]
    found = np.empty(len(code), np.int64)
    found[order] = running - before
    return found


@dataclass(frozen=True, slots=True)
class Trigrams:
    """Three generations of base names (grandparent, parent, child) that were never seen while learning."""

    learning_s: float

    def __call__(self, frame: Frame) -> Hits:
        """Return the first row of each new trigram of a workload."""
        execs = np.flatnonzero(~frame.connects)
        names: dict[str, int] = {}
        base = np.array([names.setdefault(text.rpartition("/")[2], len(names)) for text in frame.strings], np.int64)
        lineage = codes(
            frame.workload[execs], base[frame.exe[execs]], base[frame.parent[execs]], base[frame.grandparent[execs]]
        )
        known = np.isin(lineage, lineage[_learning(frame, self.learning_s)[execs]])
        new = execs[~known]
        return Hits.at_once(frame, new[first_of(lineage[~known])])
