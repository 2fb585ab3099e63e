"""Incidents to those who watch: one bounded queue each. A watcher that is too slow loses its oldest; that is counted."""

import asyncio
from collections.abc import Sequence

from collector.ingest.counters import Counters
from collector.records import Incident

__all__ = ["TooManyWatchersError", "Watchers"]

QUEUE_MAX = 256
WATCHERS_MAX = 64


class TooManyWatchersError(RuntimeError):
    """No more watchers are taken now."""


class Watchers:
    """All watchers of one collector; belongs to the event loop."""

    def __init__(self, counters: Counters, *, queue_max: int = QUEUE_MAX, watchers_max: int = WATCHERS_MAX) -> None:
        self._counters = counters
        self._queue_max = queue_max
        self._watchers_max = watchers_max
        self._queues: set[asyncio.Queue[Incident]] = set()

    def join(self) -> "asyncio.Queue[Incident]":
        """Return a queue that gets every incident from now on; give it to `leave` in the end.

        Raises:
            TooManyWatchersError: the bound is reached.
        """
        if len(self._queues) >= self._watchers_max:
            self._counters.add("too_many_watchers")
            raise TooManyWatchersError(f"{self._watchers_max} watchers are connected; end one of them")
        queue: asyncio.Queue[Incident] = asyncio.Queue(maxsize=self._queue_max)
        self._queues.add(queue)
        return queue

    def leave(self, queue: "asyncio.Queue[Incident]") -> None:
        """Forget a queue."""
        self._queues.discard(queue)

    def publish(self, incidents: Sequence[Incident]) -> None:
        """Give incidents to all watchers."""
        for incident in incidents:
            for queue in self._queues:
                if queue.full():
                    queue.get_nowait()
                    self._counters.add("watch_dropped")
                queue.put_nowait(incident)
