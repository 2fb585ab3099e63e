"""Lines of the log about nodes that do what they may not: each time is counted, and told rarely."""

import time

__all__ = ["Notices"]

TELL_S = 60.0
"""One node is logged this often, at most."""


class Notices:
    """Knows when each node was told of last; bounded by the nodes that there are."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}  # monotonic seconds

    def due(self, node: str) -> bool:
        """Say whether a node may be told of now; if so, it is."""
        now = time.monotonic()
        if now - self._told.get(node, -TELL_S) < TELL_S:
            return False
        self._told = {each: told for each, told in self._told.items() if now - told < TELL_S} | {node: now}
        return True
