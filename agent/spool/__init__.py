"""What the agent keeps on disk until the collector has it: steps in segments, found again by the next agent.

    losses ── records ── folder ── segments ── reader ── recovery ── gaps ── spool        each knows those before it

A step is one record, and is written with one write(2) or not at all. Nothing is synchronised: what was written is in the
kernel's page cache and survives the agent, however it dies. A power cut takes the last seconds, and with them the kernel's ring
buffers that they came from.
"""

from agent.spool.disk import Disk, SpoolStatus
from agent.spool.folder import remove
from agent.spool.losses import Loss, Losses
from agent.spool.reader import End, Reader
from agent.spool.records import Acknowledged, Item
from agent.spool.segments import Segment
from agent.spool.spool import SPOOL_CORRUPT, SPOOL_EXPIRED, SPOOL_FULL, Limits, Spool, Update

__all__ = [
    "SPOOL_CORRUPT",
    "SPOOL_EXPIRED",
    "SPOOL_FULL",
    "Acknowledged",
    "Disk",
    "End",
    "Item",
    "Limits",
    "Loss",
    "Losses",
    "Reader",
    "Segment",
    "Spool",
    "SpoolStatus",
    "Update",
    "remove",
]
