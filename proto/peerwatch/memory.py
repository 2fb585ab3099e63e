"""Memory that was used once and is not used any more. Linux with the GNU C library; elsewhere nothing happens."""

import ctypes

__all__ = ["give_back", "share"]

M_ARENA_MAX = -8
"""In malloc.h; see mallopt(3)."""


def share() -> None:
    """Have all threads that will be started take their memory from one place, of which `give_back` reaches all.

    Else each gets a place of its own, and what was freed at the end of that is never given back: after the first large piece
    that was freed, the C library keeps twice as much there (M_TRIM_THRESHOLD), and malloc_trim looks at the end of the first
    place only. A page of 500 pods left 7 MB.
    """
    _call("mallopt", ctypes.c_int(M_ARENA_MAX), ctypes.c_int(1))


def give_back() -> None:
    """Return to the system what the C library keeps of freed memory.

    It keeps more the larger the pieces were: after a list of 20,000 pods 10 MB, a quarter of what the list has left behind. A
    few milliseconds.
    """
    _call("malloc_trim", ctypes.c_size_t(0))


def _call(name: str, *arguments: object) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
