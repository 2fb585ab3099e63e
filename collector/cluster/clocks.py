"""How far the clocks of nodes are off, and what that makes of the times they say. Pure: times are passed in, ns since 1970.

A node's kernel and its kubelet have one clock: it says when events happened and when containers began. It is held against the
collector's: an agent says with each batch what its clock shows, and a batch cannot come before it was sent. Times of a clock
that is off are not corrected, since it may have been set between an event and its batch: they mean a while instead of a moment.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from peerwatch.columns import NANOSECONDS

__all__ = ["CERTAIN", "Clocks", "Doubt"]

TOLERATED_NS = 2 * NANOSECONDS
"""Less than this off is not off: times in Kubernetes have no fractions, and a batch takes a moment to arrive."""

WINDOW_NS = 60 * NANOSECONDS
"""A clock seems behind when batches are late. What counts is the fastest of one to two of these; a canary comes in each."""

REMEMBERED_NS = 3600 * NANOSECONDS
"""How long a clock that was off and is set right is doubted: an agent may hold events from before."""

FARTHEST_NS = 1 << 60
"""36 years: whatever a node says, sums of times stay far from the end of 64 bits."""

NODES_MAX = 10_000
"""Nodes that are known at a time, as many as the collector hears; beyond, those unheard longest go."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something from `least` to `most` nanoseconds must be added to what a clock says. 0 is always between the two."""

    least: int = 0
    most: int = 0

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return self.least != self.most


CERTAIN = Doubt()


class _Clock:
    """One node's: how late its fastest batches were in this window and the one before, and what was off lately."""

    __slots__ = ("before", "doubt", "fastest", "off", "since")

    def __init__(self, now: int) -> None:
        self.since = now
        self.fastest: int | None = None
        self.before: int | None = None
        self.off: dict[int, int] = {}
        """When last it was off by this much; powers of two, so there are few."""
        self.doubt = CERTAIN

    def heard(self, late: int, now: int) -> Doubt:
        """Take note of a batch, and return what is to be doubted from now on."""
        if not 0 <= now - self.since < WINDOW_NS:
            self.before = self.fastest if 0 <= now - self.since < 2 * WINDOW_NS else None
            self.fastest, self.since = None, now
        self.fastest = late if self.fastest is None else min(late, self.fastest)
        found = _rounded(late if late < 0 else min(each for each in (self.fastest, self.before) if each is not None))
        if found:
            self.off[found] = now
        self.off = {each: last for each, last in self.off.items() if now - last < REMEMBERED_NS}
        self.doubt = Doubt(min(0, *self.off), max(0, *self.off)) if self.off else CERTAIN
        return self.doubt


class Clocks:
    """The clocks of all nodes whose agents are heard. A node of which nothing is known is believed."""

    def __init__(self) -> None:
        self._clocks: OrderedDict[str, _Clock] = OrderedDict()

    def of(self, node: str) -> Doubt:
        """Return how much a node's times are to be doubted."""
        known = self._clocks.get(node)
        return CERTAIN if known is None else known.doubt

    def doubted(self) -> Mapping[str, Doubt]:
        """Return the nodes whose clocks are or were off."""
        return {node: each.doubt for node, each in self._clocks.items() if each.doubt}

    def heard(self, node: str, sent: int, now: int) -> Doubt:
        """Take note of what a node's clock showed when a batch was sent that came now; return what there was to doubt before.

        `sent` is 0 where an agent does not say it.
        """
        known = self._clocks.pop(node, None) or _Clock(now)
        self._clocks[node] = known
        if len(self._clocks) > NODES_MAX:
            self._clocks.popitem(last=False)
        before = known.doubt
        if sent:
            known.heard(max(-FARTHEST_NS, min(FARTHEST_NS, now - sent)), now)
        return before


def _rounded(late: int) -> int:
    """Return the next power of two away from 0: a clock that drifts, or an agent that lies, changes little and rarely."""
    if abs(late) <= TOLERATED_NS:
        return 0
    size = min(FARTHEST_NS, 1 << (abs(late) - 1).bit_length())
    return size if late > 0 else -size
