"""Reads a BPF ring buffer whose records all have one size: a mapped file and a few numpy operations for any number of records.

Layout (kernel/bpf/ringbuf.c): a page with the consumer's position, a page with the producer's, then the data, mapped twice in
a row so that a record never wraps. Before each record stand 8 bytes: its length with a busy bit (31) and a discard bit (30).

Reading and giving back are two steps: what was read stays in the ring until `release`, so that an agent that is killed in
between finds it again. For as long it need not be copied either.
"""

import mmap
import os
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ring"]

_BUSY = np.uint32(1 << 31)
_DISCARD = np.uint32(1 << 30)


class _Barrier:
    """Keeps loads and stores on their side of a call, also on processors that reorder them (arm64).

    Letting go of a lock and taking it again are a release and an acquire in the sense of C11: nothing passes both.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self) -> None:
        self._lock.release()
        self._lock.acquire()


class Ring:
    """One ring of `size` bytes; `descriptor` becomes readable when records arrive."""

    def __init__(self, descriptor: int, size: int, record: npt.DTypeLike) -> None:
        self.descriptor = descriptor
        self.size = size
        self._record = np.dtype(record)
        # A slot is the 8 bytes before the record and the record; sizes are chosen so that both are multiples of 8.
        self._slot = np.dtype([("length", "<u4"), ("offset", "<u4"), ("record", self._record)])
        page = mmap.PAGESIZE
        # Of the second view only as much as the slot needs that begins before the end and goes beyond it: what is mapped counts
        # as this process' memory, twice what the kernel holds if all of it were.
        mapped = size + -(-self._slot.itemsize // page) * page
        consumer = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        producer = mmap.mmap(descriptor, page + mapped, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        # numpy loads and stores the positions in one piece, as the kernel does; struct.pack_into() goes byte by byte.
        self._released = np.frombuffer(consumer, np.uint64, 1)
        self._end = np.frombuffer(producer, np.uint64, 1)
        self._data = np.frombuffer(producer, np.uint8, mapped, offset=page)
        self._barrier = _Barrier()
        self.position = int(self._released[0])
        """Up to where records were read: what `release` takes."""
        self.torn = 0
        """Records with a length that no probe of ours writes; they were skipped."""

    def close(self) -> None:
        """Unmap and close; records that were not released stay in the ring."""
        del self._data, self._end, self._released  # the last references to the mappings
        os.close(self.descriptor)

    @property
    def held(self) -> int:
        """How many bytes are in the ring: not read, or read and not released."""
        return int(self._end[0]) - int(self._released[0])

    @property
    def unread(self) -> bool:
        """Whether it holds something that was not read."""
        return int(self._end[0]) != self.position

    def read(self, most: int) -> npt.NDArray[Any]:
        """Return up to `most` records in the order in which probes reserved them, after those read before.

        They are the ring's own memory, which says something else once they are released.
        """
        begin = self.position
        records = self._read_on(most)
        if self.position // self.size == begin // self.size or len(records) == most:
            return records
        # The end of the ring was passed. As plain bytes: field by field, a copy costs more than all that is done with it.
        plain = np.dtype(("V", self._record.itemsize))
        parts = [records.getfield(plain), self._read_on(most - len(records)).getfield(plain)]
        return np.concatenate(parts).view(self._record)

    def _read_on(self, most: int) -> npt.NDArray[Any]:
        """Return what `read` does, at most to the end of the ring."""
        end = int(self._end[0])
        self._barrier()
        at = self.position % self.size
        slots = min((end - self.position) // self._slot.itemsize, most, -(-(self.size - at) // self._slot.itemsize))
        if not slots:
            return np.empty(0, self._record)
        # The data goes on behind the end of the ring for a slot, so the last one is in one piece, too.
        view = self._data[at : at + slots * self._slot.itemsize].view(self._slot)
        length = view["length"].copy()
        self._barrier()
        busy = np.flatnonzero(length & _BUSY)
        if len(busy):  # a probe on another CPU is still writing this one: it and what follows wait
            view, length = view[: busy[0]], length[: busy[0]]
        good = length == self._record.itemsize
        records: npt.NDArray[Any] = view["record"] if good.all() else view["record"][good]
        self.torn += int(np.count_nonzero(~good & ((length & _DISCARD) == 0)))
        self.position += len(view) * self._slot.itemsize
        return records

    def release(self, position: int) -> None:
        """Give back what was read up to `position`, a value that `position` had. An older one changes nothing."""
        if int(self._released[0]) < position <= int(self._end[0]):
            self._barrier()
            self._released[0] = position
            self.position = max(self.position, position)
