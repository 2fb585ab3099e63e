"""What one turn of the agent's loop hands on, as a whole: once a step is safe, the kernel's buffers may be freed of it."""

from dataclasses import dataclass, field

from peerwatch.columns import EventColumns

__all__ = ["Held", "Recovered", "Step"]


@dataclass(frozen=True, slots=True)
class Held:
    """Events that wait for their pod; `until` is the boot clock, ns, at which they go out without it."""

    table: EventColumns
    until: int


@dataclass(frozen=True, slots=True)
class Step:
    """Either all of it has happened or nothing, also for an agent that is killed meanwhile and starts again.

    `ready` goes out in this order. `held` waits from now on, by numbers that nothing else that waits has. `settled` are numbers
    that wait no more: what they stood for is in `ready`, or in `held` again and smaller. `cursor` says how far the kernel side
    was consumed, key by key; it replaces what earlier steps said.
    """

    ready: list[EventColumns] = field(default_factory=list)
    held: dict[int, Held] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)
    cursor: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an earlier agent knew when it ended, however it ended. Empty for the first one.

    The cursor is empty after a reboot, too: what it counted is gone with the kernel that had it.
    """

    cursor: dict[str, int] = field(default_factory=dict)
    held: dict[int, Held] = field(default_factory=dict)
