"""What is left in a stream that nobody takes any more."""

import os
from typing import BinaryIO

__all__ = ["discard"]


def discard(stream: BinaryIO) -> None:
    """Let go of what is left in a stream that cannot be written: it would fail again when it is closed, or at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
