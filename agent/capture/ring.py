"""Reads a BPF ring buffer whose records all have one size: a mapped file and a few numpy operations for any number of records.

Layout (kernel/bpf/ringbuf.c): a page with the consumer's position, a page with the producer's, then the data, mapped twice in
a row so that a record never wraps. Before each record stand 8 bytes: its length with a busy bit (31) and a discard bit (30).
"""

import mmap
import os
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ring"]

_BUSY = np.uint32(1 << 31)
_DISCARD = np.uint32(1 << 30)


class Ring:
    """One ring of `size` bytes; `descriptor` becomes readable when records arrive."""

    def __init__(self, descriptor: int, size: int, record: npt.DTypeLike) -> None:
        self.descriptor = descriptor
        self._size = size
        record = np.dtype(record)
        # A slot is the 8 bytes before the record and the record; sizes are chosen so that both are multiples of 8.
        self._slot = np.dtype([("length", "<u4"), ("offset", "<u4"), ("record", record)])
        page = mmap.PAGESIZE
        consumer = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        producer = mmap.mmap(descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        # numpy loads and stores the positions in one piece, as the kernel does; struct.pack_into() goes byte by byte.
        self._consumed = np.frombuffer(consumer, np.uint64, 1)
        self._end = np.frombuffer(producer, np.uint64, 1)
        self._data = np.frombuffer(producer, np.uint8, 2 * size, offset=page)
        self.torn = 0
        """Records with a length that no probe of ours writes; they were skipped."""

    def close(self) -> None:
        """Unmap and close; records that were not read stay in the ring."""
        del self._data, self._end, self._consumed  # the last references to the mappings
        os.close(self.descriptor)

    def read(self, most: int) -> npt.NDArray[Any]:
        """Return up to `most` records in the order in which probes reserved them, and free their places."""
        begin, end = int(self._consumed[0]), int(self._end[0])
        slots = min((end - begin) // self._slot.itemsize, most)
        if not slots:
            return np.empty(0, self._slot["record"])
        at = begin % self._size
        # Two views of the data follow each other, so this is in one piece also across the end.
        view = self._data[at : at + slots * self._slot.itemsize].view(self._slot)
        length = view["length"].copy()
        busy = np.flatnonzero(length & _BUSY)
        if len(busy):  # a probe on another CPU is still writing this one: it and what follows wait
            view, length = view[: busy[0]], length[: busy[0]]
        good = length == self._slot["record"].itemsize
        # A copy: the places are free once the position moves.
        records: npt.NDArray[Any] = view["record"][good]
        self.torn += int(np.count_nonzero(~good & ((length & _DISCARD) == 0)))
        self._consumed[0] = begin + len(view) * self._slot.itemsize
        return records
