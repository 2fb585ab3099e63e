"""How fast and how patiently the sender works."""

from dataclasses import dataclass

__all__ = ["Pace", "Throttle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things may take, seconds, and how fast a backlog is sent."""

    retry_first_s: float = 0.2
    """Pause after the first failure; each further one doubles it."""

    retry_cap_s: float = 10.0
    """Longest pause: a collector that is back hears from its agents within this time."""

    hello_s: float = 10.0
    """How long a connection and the answer to Hello may take together."""

    stall_s: float = 60.0
    """How long batches may stay without any acknowledgement before another connection is tried: a slow disk is no reason."""

    keepalive_s: float = 30.0
    """How often a silent connection is probed. A collector must permit this
    (`grpc.http2.min_recv_ping_interval_without_data_ms` of at most 20 s), or it ends the connection for too many pings."""

    keepalive_timeout_s: float = 10.0
    """How long the answer to a probe may take."""

    renewal_s: float = 30.0
    """How often is looked for a renewed token or certificate. A token is renewed when a fifth of its life is left, at least two
    minutes (the kubelet's rule, `requiresRefresh` in its token manager)."""

    tick_s: float = 2.0
    """How often is looked at what only time makes due."""

    resend_bytes_per_s: float = 8 << 20
    """How fast a backlog shrinks at most: a collector that is back has all agents' backlogs coming, and what is new."""


MIN_COST = 4096
"""What a batch counts at least, bytes: to a collector, tiny ones are not free."""

BURST_S = 0.25
"""For how long one may send as fast as it goes, seconds' worth of the rate."""


class Throttle:
    """Says how long to wait before a batch of a backlog is sent on a connection, so that the backlog shrinks at a certain rate.

    What is new meanwhile is allowed on top, else a node that produces faster than the rate would never be done. Time is passed
    in, seconds.
    """

    def __init__(self, bytes_per_s: float, now: float) -> None:
        """Begin with nothing sent."""
        self._rate = bytes_per_s
        self._allowed = self._most = bytes_per_s * BURST_S
        self._new = 0
        self._at = now

    def produced(self, size: int) -> None:
        """Note that this much has become part of the backlog."""
        self._new += size

    def sent(self, size: int, now: float) -> float:
        """Note a batch and return how long to wait before it, seconds."""
        passed = (now - self._at) * self._rate
        # Time that passes allows up to a burst; what is new is allowed whatever was saved up.
        self._allowed = max(self._allowed, min(self._most, self._allowed + passed)) + self._new - max(size, MIN_COST)
        self._new, self._at = 0, now
        return max(0.0, -self._allowed / self._rate)
