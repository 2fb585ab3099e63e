"""Linux capabilities: bits in columns, names for people. Numbers as in the kernel's `include/uapi/linux/capability.h`.

A capability that this list does not know, of a newer kernel, is called by its number: `CAP_41`.
"""

from collections.abc import Iterable

__all__ = ["CAPABILITIES", "capability_mask", "capability_names"]

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    *(f"CAP_{number}" for number in range(41, 64)),
)
"""Name of each bit."""

_BITS = {name: 1 << number for number, name in enumerate(CAPABILITIES)}


def capability_names(mask: int) -> list[str]:
    """Return the names of the bits that are set, lowest first."""
    return [name for number, name in enumerate(CAPABILITIES) if mask >> number & 1] if mask else []


def capability_mask(names: Iterable[str]) -> int:
    """Return the bits of these names; a name that is none is left out."""
    mask = 0
    for name in names:
        mask |= _BITS.get(name, 0)
    return mask
