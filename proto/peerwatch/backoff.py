"""How long to wait before the next try at something that may fail for ever."""

import random

__all__ = ["Backoff"]


class Backoff:
    """Delays that double from `first_s` to `cap_s`, each shortened by up to half at random.

    The jitter keeps a hundred agents that lost the same server from coming back in the same moment.
    """

    def __init__(self, first_s: float, cap_s: float) -> None:
        """Both in seconds."""
        self._first_s = first_s
        self._cap_s = cap_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Return how long to wait now, seconds, and make the next wait longer."""
        delay = self._next_s
        self._next_s = min(self._cap_s, delay * 2)
        return delay * random.uniform(0.5, 1)  # noqa: S311 — spreads load, hides nothing

    def reset(self) -> None:
        """Begin again with the shortest wait: it worked."""
        self._next_s = self._first_s
