"""What an agent can say of itself at one moment: plain numbers, gathered when somebody asks and never while events pass.

Knows neither Prometheus nor where the numbers come from. Events are real ones: a row that stands for seven connects is seven.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["CanaryReading", "Fill", "Readings", "SpoolReading"]


@dataclass(frozen=True, slots=True)
class Fill:
    """How full something is, in its own unit."""

    used: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolReading:
    """The spool on disk. `state`: `off` (there is none), `disk`, or `memory` (the disk takes nothing)."""

    state: Literal["off", "memory", "disk"] = "off"
    bytes: Fill = Fill(0, 0)
    oldest_s: float = 0.0
    """Age of the oldest event that is not delivered, seconds; 0 with none."""

    errors: int = 0
    """Writes that failed."""

    damaged: int = 0
    """Places that could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryReading:
    """One kind of the agent's own events. None: none of this kind was seen yet."""

    sent: int = 0
    missed: int = 0
    """Those that did not come back in time."""

    age_s: float | None = None
    """How long ago the last one came back, seconds."""

    latency_s: float | None = None
    """From the kernel's time stamp to the agent's hand, the last time, seconds."""

    worst_s: float | None = None
    """The longest of these since the start, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """All numbers of one moment. Counts are since the start of the agent, save `kernel`: since the probes were attached.

    What is in `events` or `recovered` is delivered, or lost here, or held, or foreign: `unaccounted` is 0 at every moment.
    With what was lost before the agent could read it, `produced` = `delivered` + lost + held + `foreign`.
    """

    version: str
    events: Mapping[str, int] = field(default_factory=dict)
    """Taken from the probes, by kind; what is lost is none of these kinds."""

    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows that carry these events, by kind."""

    recovered: int = 0
    """Events that the agent before this one left in the spool."""

    delivered: int = 0
    """Events that the collector has acknowledged."""

    lost_in_kernel: Mapping[str, int] = field(default_factory=dict)
    """Lost before the agent could read them, by reason."""

    lost_in_agent: Mapping[str, int] = field(default_factory=dict)
    """Lost after they were read, by reason."""

    held: Mapping[str, int] = field(default_factory=dict)
    """Events in the agent's hands, by what they wait for: `pod`, `collector`."""

    unresolved: int = 0
    """Events that were sent without a pod."""

    foreign: int = 0
    """Events that were left out because their cgroup is no container's."""

    kernel: Mapping[str, int] = field(default_factory=dict)
    """The kernel side's own counters, by name."""

    rings: Mapping[str, Fill] = field(default_factory=dict)
    """Ring buffers, bytes."""

    tables: Mapping[str, Fill] = field(default_factory=dict)
    """The kernel side's tables, entries."""

    spool: SpoolReading = SpoolReading()

    connected: bool = False
    """Whether the collector has answered on the present connection."""

    connections: int = 0
    """How often a collector has answered on a new connection."""

    pods: int | None = None
    """Pods known; None: there is no source of pods."""

    pods_age_s: float = 0.0
    """How long ago that source was last heard, seconds."""

    pods_requests: int = 0
    """What an API server was asked for them: lists, and watches."""

    canary: Mapping[str, CanaryReading] = field(default_factory=dict)
    """The agent's own events, by kind."""

    @property
    def produced(self) -> int:
        """Events that the probes saw, and those of the run before that were not delivered then."""
        return sum(self.events.values()) + self.recovered + sum(self.lost_in_kernel.values())

    @property
    def unaccounted(self) -> int:
        """Events that went in and are neither delivered, nor lost, nor held, nor foreign: 0, or there is a bug."""
        gone = self.delivered + sum(self.lost_in_agent.values()) + self.foreign
        return sum(self.events.values()) + self.recovered - gone - sum(self.held.values())
