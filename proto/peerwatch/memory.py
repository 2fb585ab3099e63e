"""Memory that was used once and is not used any more. Linux with the GNU C library; elsewhere nothing happens."""

import ctypes

__all__ = ["give_back"]


def give_back() -> None:
    """Return to the system what the C library keeps of freed memory, of all threads.

    It keeps more the larger the pieces were: after a list of 20,000 pods 10 MB, a quarter of what the list has left behind. A
    few milliseconds.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
