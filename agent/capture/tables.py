"""Looks at an array map without a call: a mapped view of its records."""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["map_table"]


def map_table(table: int, record: np.dtype[Any], number: int) -> npt.NDArray[Any]:
    """Return a view of an array map's `number` records as they are at each moment, without copying them."""
    size = -(-number * record.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
    return np.frombuffer(mmap.mmap(table, size, mmap.MAP_SHARED, mmap.PROT_READ), record, number)
