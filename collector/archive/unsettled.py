"""Connects and accepts of which it was not known, when they came, whether an address still was whose it had been.

They are written with a mark in the place of a peer, which no reader gets to see: it becomes the peer's name or nothing.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from peerwatch.columns import EventColumns, EventKind, Peer
from peerwatch.subjects import Workload

__all__ = ["UNSETTLED", "unsettled", "without_marks"]

UNSETTLED = Peer("", Workload("Unsettled", ""))
"""The mark. No object has this kind; what an agent says of peers is not used where a cluster is watched."""

_PEERS = {EventKind.CONNECT: "connects", EventKind.ACCEPT: "accepts"}


def unsettled(table: EventColumns) -> npt.NDArray[np.bool_]:
    """Say of each event whether it carries the mark."""
    marked = np.zeros(len(table), bool)
    if UNSETTLED in table.peers:
        numbers = _numbers(table)
        for kind, name in _PEERS.items():
            marked[table.rows_of(kind)] = np.isin(getattr(table, name).peer, numbers)
    return marked


def without_marks(table: EventColumns) -> EventColumns:
    """Return the same events; those that carry the mark have no peer."""
    if UNSETTLED not in table.peers:
        return table
    numbers = _numbers(table)
    parts = {name: getattr(table, name) for name in _PEERS.values()}
    parts = {
        name: replace(part, peer=np.where(np.isin(part.peer, numbers), 0, part.peer).astype(np.uint32))
        for name, part in parts.items()
    }
    return replace(table, **parts)


def _numbers(table: EventColumns) -> list[int]:
    """Return the numbers of the mark: one, as long as we wrote the table."""
    return [number for number, peer in enumerate(table.peers, 1) if peer == UNSETTLED]
