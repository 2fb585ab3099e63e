"""What each node said it lost: a verdict in whose time events are missing says so."""

from collections import deque
from collections.abc import Iterable

from peerwatch.columns import NANOSECONDS

__all__ = ["LossLog", "NodeName"]

NodeName = tuple[str, str]
"""Cluster and node: clusters call their nodes alike."""

MOST_PER_NODE = 256
"""Losses remembered per node; incidents look back a minute, and a node reports at most a few per second."""

MOST_NODES = 10_000
"""Nodes remembered, those with the latest losses: twice the largest clusters."""

UNSAID = 5 * NANOSECONDS
"""How long ago a loss may have begun that does not say when: as far as lines of nodes may stand from their place."""


class LossLog:
    """The latest losses, by node."""

    def __init__(self) -> None:
        self._by_node: dict[NodeName, deque[tuple[int, int, int]]] = {}

    def __len__(self) -> int:
        """Return of how many nodes losses are remembered."""
        return len(self._by_node)

    def add(self, node: NodeName, time: int, begin: int, end: int, count: int) -> None:
        """Remember that a node lost events.

        Args:
            node: which.
            time: when it said so, which is where in the stream they are missing.
            begin: since when, nanoseconds; 0: it did not say, and it may be some seconds since.
            end: until when; 0: it did not say.
            count: how many.
        """
        end = end or max(time, begin)
        begin = begin or min(time, end) - UNSAID
        losses = self._by_node.pop(node, None) or deque(maxlen=MOST_PER_NODE)
        losses.append((min(begin, end), max(begin, end), count))
        self._by_node[node] = losses
        if len(self._by_node) > MOST_NODES:
            del self._by_node[next(iter(self._by_node))]

    def between(self, nodes: Iterable[NodeName], begin: int, end: int) -> int:
        """Return how many events these nodes lost in losses that touch this time."""
        return sum(
            count
            for node in nodes
            for lost_begin, lost_end, count in self._by_node.get(node, ())
            if lost_begin <= end and lost_end >= begin
        )
