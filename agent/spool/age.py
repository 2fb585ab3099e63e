"""How old what is in the spool is, by a clock that nobody sets.

Age is counted in time for which the node was up. Within a boot that is the boot clock, which runs on while the node sleeps and
no matter what becomes of the wall clock. A reboot adds nothing: only the wall clock could say how long the node was off, and
one that is wrong after a boot, years back or ahead, would give everything up at once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Age", "Uptime"]


@dataclass(frozen=True, slots=True)
class Uptime:
    """The boot that the node is in, and the time since it, ns."""

    boot: str
    now: Callable[[], int]

    @classmethod
    def of_this_node(cls) -> "Uptime":
        """Return that of the machine under us."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:  # then a boot clock that went back tells of a boot
            boot = ""
        return cls(boot, lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME))


class Age:
    """A clock that starts at 0 with the spool and goes on where its last record was written."""

    def __init__(self, uptime: Uptime) -> None:
        """Begin with a new spool."""
        self.uptime = uptime
        self._zero = uptime.now()

    def resume(self, boot: str, time: int, age: int) -> bool:
        """Go on from a record that was written at `time` of `boot`, at `age`; return whether the node was booted since."""
        now = self.uptime.now()
        rebooted = boot != self.uptime.boot or time > now
        self._zero = (now if rebooted else time) - age
        return rebooted

    def now(self) -> int:
        """Return how long the spool was in use, ns."""
        return self.uptime.now() - self._zero
