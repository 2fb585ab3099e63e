"""How long a batch waits for the view to hear of its pods.

Usually a moment, since agent and collector hear of them from the same server, and never long, since the agent has waited
before. What waits is not acknowledged, so nothing is lost with the collector.
"""

import asyncio
import time
from dataclasses import dataclass

import numpy as np
from peerwatch.columns import NANOSECONDS
from peerwatch.v1 import ingest_pb2

from collector.cluster.watching import ClusterWatch

__all__ = ["Patience"]

PATIENCE_NS = 5 * NANOSECONDS
"""Age of an event up to which its pod may still become known: a kubelet reports a started container within a second or two.
Events that come later than this, as those of pause containers, which no status ever names, do not wait."""

SYNC_S = 30.0
"""How long batches wait for the first lists, seconds after the start: 20,000 pods take less. Agents keep what waits."""

LOOK_S = 0.02
"""How often a batch that waits looks whether there are news."""

SUBJECTS_MAX = 4096
"""Subjects looked at, as many as a batch may have."""


@dataclass(slots=True)
class Patience:
    """Waits for one watch. `begun`: when the collector began, monotonic seconds."""

    watch: ClusterWatch
    begun: float

    async def wait(self, hello: ingest_pb2.Hello, batch: ingest_pb2.EventBatch) -> None:
        """Return when all pods of a batch are known, or there is no use in waiting any more."""
        columns = batch.columns
        if hello.cluster != self.watch.cluster:
            return
        refs = [(each.pod.uid, each.container.id) for each in columns.subjects[:SUBJECTS_MAX]]
        refs = [each for each in refs if any(each)]
        until = time.time_ns() - _age(columns.time, batch.sent_at) + PATIENCE_NS
        looked = -1
        while refs:
            if self.watch.synced:
                version = self.watch.version
                if version != looked and self.watch.knows(hello.node, refs):
                    return
                looked = version
                if time.time_ns() >= until:
                    return
            elif time.monotonic() - self.begun >= SYNC_S:
                return
            await asyncio.sleep(LOOK_S)


def _age(times: bytes, sent: int) -> int:
    """Return how long ago the last event of a column was, by the clock that it was told by; very long if it is no column.

    The collector's clock is another, and does not tell unless the agent is too old to say what its own shows.
    """
    if len(times) % 8 or not times:
        return PATIENCE_NS
    return min(PATIENCE_NS, max(0, (sent or time.time_ns()) - int(np.frombuffer(times, "<i8").max())))
