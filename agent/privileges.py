"""What this process may do, as the kernel sees it."""

from pathlib import Path

from agent.errors import UnsupportedError

__all__ = ["NEEDED", "effective", "require"]

# Bit numbers of include/uapi/linux/capability.h. SYS_ADMIN includes both on every kernel.
CAP_SYS_ADMIN = 21
NEEDED = {"BPF": 39, "PERFMON": 38}


def effective(status: str | None = None) -> set[str]:
    """Return which of the needed capabilities are effective; `status` is the text of /proc/self/status."""
    text = Path("/proc/self/status").read_text() if status is None else status
    bits = next(int(line.split()[1], 16) for line in text.splitlines() if line.startswith("CapEff:"))
    if bits >> CAP_SYS_ADMIN & 1:
        return set(NEEDED)
    return {name for name, bit in NEEDED.items() if bits >> bit & 1}


def require() -> None:
    """Check that probes may be loaded.

    Raises:
        UnsupportedError: a capability is missing.
    """
    missing = sorted(NEEDED.keys() - effective())
    if missing:
        raise UnsupportedError(f"no permission for eBPF: CAP_{' and CAP_'.join(missing)} missing; run as root, or grant them")
