"""What the collector counts about itself, for `peerwatch status`. One object, passed to those who count."""

import threading
from collections import Counter

__all__ = ["Counters"]


class Counters:
    """Counts by name; safe from any thread. Names are the code's own, never a sender's text."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        """Count something."""
        if count:
            with self._lock:
                self._counts[name] += count

    def __getitem__(self, name: str) -> int:
        """Return one count."""
        with self._lock:
            return self._counts[name]

    def all(self) -> dict[str, int]:
        """Return all counts, sorted by name."""
        with self._lock:
            return dict(sorted(self._counts.items()))
