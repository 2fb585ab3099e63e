"""B4: ReplicaWatcher's rule on what execs and connects give, after the description of its published code.

Per window and replica: one set of distinct values per aspect. A replica's dissimilarity in an aspect is one minus the mean of
its Jaccard similarities with each other replica, 0 when its own set is empty; its score is the Euclidean norm over the aspects.
There is no memory between windows. The publication names no replica: here the one with the highest score is accused.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS
from scipy import sparse

from baselines.frame import I64, Bools, Frame, Hits, codes

__all__ = ["ReplicaWatcher"]

ASPECTS = ("process name", "executable", "command line", "arguments", "working directory", "parent")

PAIRS_AT_ONCE = 2_000
"""Windows compared at once: bounds memory to some hundred MB with 50 replicas."""

_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class ReplicaWatcher:
    """The rule with its window and its threshold."""

    window_s: float
    threshold: float
    """Share of the highest score that is possible, the root of the number of aspects."""
    destinations: bool = False
    """With where connects go as one more aspect (B4n): the publication does not use them."""

    def __call__(self, frame: Frame) -> Hits:
        """Return the hits of one recording: the accused replica's events of the window, at the window's end."""
        if not len(frame):
            return Hits.at_once(frame, np.zeros(0, np.intp))
        window = frame.time // int(self.window_s * NANOSECONDS)
        cell, place = _cells(frame, window)
        squares = np.zeros(int(cell.max()) + 1 if len(cell) else 0)
        for item, defined in self._aspects(frame):
            squares += _dissimilarity(cell, place, item, defined) ** 2
        limit = self.threshold * np.sqrt(len(ASPECTS) + self.destinations)
        score = np.sqrt(squares)
        _, first = np.unique(cell, return_index=True)
        best = np.zeros(int(place.max()) + 1)
        np.maximum.at(best, place[first], score)
        accused = (score > limit) & (score >= best[place[first]])
        rows = np.flatnonzero(accused[cell])
        ends = (window[rows] + 1) * int(self.window_s * NANOSECONDS)
        return Hits(rows, ends)

    def _aspects(self, frame: Frame) -> list[tuple[I64, Bools]]:
        execs = ~frame.connects
        name = _texts([text.rpartition("/")[2] for text in frame.strings])
        path = _texts([_DIGITS.sub("", text) for text in frame.strings])
        folder = _texts(["/".join(_DIGITS.sub("", text).split("/")[:4]) for text in frame.strings])
        line = _texts([_DIGITS.sub("", " ".join(frame.strings[each] for each in argv)) for argv in frame.lists])
        rest = _texts([_DIGITS.sub("", " ".join(frame.strings[each] for each in argv[1:])) for argv in frame.lists])
        found = [
            (name[frame.exe], execs),
            (path[frame.exe], execs),
            (line[frame.args], execs),
            (rest[frame.args], execs),
            (folder[frame.cwd], execs & (frame.cwd > 0)),
            (path[frame.parent], execs & (frame.parent > 0)),
        ]
        return [*found, (frame.network, frame.connects)] if self.destinations else found


def _texts(texts: list[str]) -> I64:
    known: dict[str, int] = {}
    return np.array([known.setdefault(_DIGITS.sub("", text), len(known)) for text in texts], np.int64)


def _cells(frame: Frame, window: I64) -> tuple[I64, I64]:
    """Return per row its cell (window, container, replica), and the window's number of the container (place)."""
    place = codes(window, frame.group)
    return codes(place, frame.pod), place


def _dissimilarity(cell: I64, place: I64, item: I64, defined: Bools) -> npt.NDArray[np.float64]:
    cells = int(cell.max()) + 1
    place_of = np.zeros(cells, np.int64)
    place_of[cell] = place
    replicas = np.bincount(place_of)[place_of]
    total = np.zeros(cells)
    size = np.zeros(cells)
    key = codes(place[defined], item[defined])
    if not len(key):
        return total
    shown = np.unique(np.stack([cell[defined], key]), axis=1)
    np.add.at(size, shown[0], 1)
    for begin in range(0, int(place.max()) + 1, PAIRS_AT_ONCE):
        part = shown[:, (place_of[shown[0]] >= begin) & (place_of[shown[0]] < begin + PAIRS_AT_ONCE)]
        if not part.shape[1]:
            continue
        rows, local = np.unique(part[0], return_inverse=True)
        columns = np.unique(part[1], return_inverse=True)[1]
        matrix = sparse.csr_matrix((np.ones(part.shape[1]), (local, columns)))
        common = (matrix @ matrix.T).tocoo()
        left, right = rows[common.row], rows[common.col]
        other = left != right
        similarity = common.data / (size[left] + size[right] - common.data)
        np.add.at(total, left[other], similarity[other])
    mean = total / np.maximum(replicas - 1, 1)
    return np.where((size > 0) & (replicas > 1), 1 - mean, 0.0)
