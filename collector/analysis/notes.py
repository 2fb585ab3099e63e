"""Which sighting a subject's behaviour was found to be, so that what repeats from table to table is not looked for again."""

import numpy as np
import numpy.typing as npt

from collector.analysis.growing import Columns
from collector.analysis.index import Index
from collector.analysis.sightings import Group

__all__ = ["Notes"]

I64 = npt.NDArray[np.int64]

_PAGE = 32
"""Bits above which the page stands in a number; below is the row."""


class Notes:
    """Rows by pair of subject and behaviour. Each group writes on a page of its own, which is torn out as a whole."""

    def __init__(self) -> None:
        self._rows = Index()
        self._pages = Columns({"torn": np.bool_, "notes": np.int64})
        self._torn = 0
        """Notes on pages that were torn out and still take room."""

    def __len__(self) -> int:
        """Return how many notes there are, with those that are torn out and still take room."""
        return len(self._rows)

    def add(self, pair: int, row: int, group: Group) -> None:
        """Note the sighting of a pair."""
        if group.page < 0:
            group.page = self._pages.add()
        self._pages.notes[group.page] += 1
        self._rows.add(pair, group.page << _PAGE | row)

    def find(self, pairs: I64) -> I64:
        """Return the sighting of each pair, -1 where none is noted."""
        if self._torn > len(self._rows) // 2:
            self._make_room()
        noted = self._rows.find(pairs)
        void = (noted < 0) | self._pages.torn[noted >> _PAGE]  # page -1 is the last one: void in any case
        return np.where(void, -1, noted & (1 << _PAGE) - 1)

    def tear_out(self, group: Group) -> None:
        """Declare void what was noted about a group."""
        if group.page >= 0:
            self._pages.torn[group.page] = True
            self._torn += self._pages.notes.item(group.page)
            group.page = -1

    def _make_room(self) -> None:
        torn = self._pages.torn
        self._rows.keep(~torn[self._rows.numbers() >> _PAGE])
        for page in np.flatnonzero(torn).tolist():
            torn[page] = False
            self._pages.drop(page)
        self._torn = 0
