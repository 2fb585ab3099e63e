"""Whether the disk takes what is written. While it refuses, it is tried again less and less often, and the log has one line."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peerwatch.backoff import Backoff

__all__ = ["Disk", "SpoolStatus"]

_log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_CAP_S = 1.0, 60.0
"""Pauses between tries at a disk that refuses, seconds."""


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """How the spool is: `state` is `off` (there is none), `ok`, or `refused` (the disk does not take what is to be written)."""

    state: str = "off"
    bytes: int = 0
    oldest_age_s: float = 0.0
    """Of what is not acknowledged, in time that the node was up."""
    errors: int = 0
    """Writes that failed."""
    damaged: int = 0
    """Places that could not be read."""


class Disk:
    """Whether the disk takes what is written, when to try again, and what the log was told."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never set."""
        self.errors = 0
        self.refuses_since: float | None = None
        self._clock = clock
        self._retry_at = 0.0
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_CAP_S)

    @property
    def may_be_tried(self) -> bool:
        """Whether to write now."""
        return self.refuses_since is None or self._clock() >= self._retry_at

    def retry(self) -> None:
        """Let it be tried now, whatever was said before."""
        self._retry_at = self._clock()

    def refused(self, error: OSError, where: Path, memory_bytes: int) -> None:
        """Note that it could not be written; up to `memory_bytes` are kept meanwhile."""
        self.errors += 1
        self._retry_at = self._clock() + self._backoff.next_s()
        if self.refuses_since is None:
            self.refuses_since = self._clock()
            _log.warning(
                "cannot write the spool in %s (%s); events are kept in memory (up to %d MiB), and would not survive the agent",
                where,
                error.strerror or error,
                memory_bytes >> 20,
            )

    def took(self, where: Path) -> None:
        """Note that it could be written."""
        if self.refuses_since is not None:
            _log.info("the spool in %s can be written again after %.0f s", where, self._clock() - self.refuses_since)
            self.refuses_since = None
            self._backoff.reset()
