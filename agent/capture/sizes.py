"""How large what the probes hold is. All of it is allocated when they are loaded, so no load makes it grow."""

from dataclasses import dataclass

__all__ = ["SIZES", "Sizes"]

_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of rings, entries of tables. Together 19 MiB of kernel memory: see docs/operate.md."""

    small_ring: int = 2048 * _PAGE
    """Events of usual size, 640 bytes each: 13,107, a third of a second of the fastest exec loop measured on two cores."""

    long_ring: int = 512 * _PAGE
    """Events with long arguments or paths, 8 KiB each: 256 of them."""

    folds: int = 4096
    """Kinds of events whose repeats are counted. What finds no place is handed over one by one."""

    images: int = 2048
    """Process images whose description is kept. What was evicted is worked out again."""

    cgroups: int = 1024
    """Cgroups whose names are kept: more than any node has containers (the kubelet's default limit is 110 pods)."""

    attempts: int = 4096
    """TCP connects under way. One for which there is no place is told at once, as IN_PROGRESS."""

    repeats: int = 8192
    """Processes that live and whose exec was a repeat. One for which there is no place is told by itself."""

    def macros(self) -> dict[str, int]:
        """Return macro → value for the probes."""
        return {
            "SMALL_RING_PAGES": self.small_ring // _PAGE,
            "LONG_RING_PAGES": self.long_ring // _PAGE,
            "FOLDS": self.folds,
            "IMAGES": self.images,
            "CGROUPS": self.cgroups,
            "ATTEMPTS": self.attempts,
            "REPEATS": self.repeats,
        }


SIZES = Sizes()
