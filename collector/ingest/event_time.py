"""How far time has come for detection: the present, or the past while all that comes is what agents kept in an outage."""

from peerwatch.columns import NANOSECONDS

__all__ = ["EventTime"]

BEHIND_NS = 60 * NANOSECONDS
"""Agents whose newest events are older than this send what they kept while nobody took it; usual batches take a second."""

QUIET_NS = 10 * NANOSECONDS
"""Who has something to send again does not pause for so long."""

COME_BACK_NS = 60 * NANOSECONDS
"""So long after a start agents may take to come back: they try again every ten seconds, a slow node within a minute."""

CATCH_UP_NS = 3_600 * NANOSECONDS
"""So long time waits for who is behind: what an agent keeps (256 MiB) takes minutes, those of a large cluster more. A clock
that is behind never catches up, nor does who lies about the time, and neither may hold up for ever what is told of others."""


class EventTime:
    """Hears how old what comes is, and says which time that makes it."""

    def __init__(self) -> None:
        self._began = self._ticked = 0
        """When time was let pass first, and last."""
        self._heard = self._lag = 0
        """When the batch was looked at whose newest event was the least old, of those of the last seconds; how old that was."""
        self._behind = 0
        """Since when all that comes is old."""

    def forget(self) -> None:
        """Begin anew: what came was said to the last run."""
        self._heard = self._lag = self._behind = 0

    def hear(self, newest: int, received: int) -> None:
        """Take note of a batch by the time of its newest event."""
        lag, heard = max(0, received - newest), max(received, self._ticked)  # it may have waited for its turn
        if lag <= self._lag or heard - self._heard > QUIET_NS:
            self._heard, self._lag = heard, lag

    def tick(self, now: int) -> int:
        """Let time pass until now, and return how far it has come for detection."""
        self._began, self._ticked = self._began or now, now
        return self.at(now)

    def at(self, now: int) -> int:
        """Return how far time has come for detection, nanoseconds; 0 as long as that cannot be said.

        While all that comes is old, as after an outage of the collector, it goes on as it did then: else each replica would
        look silent for as long as the outage was, and nobody had peers. One node that is not behind is enough for the present.
        """
        if not self._heard:  # who knows how old it is what comes first
            return now if now - self._began >= COME_BACK_NS else 0
        if self._lag <= BEHIND_NS or now - self._heard > QUIET_NS:
            self._behind = 0
            return now
        self._behind = self._behind or now
        return now - self._lag if now - self._behind <= CATCH_UP_NS else now
