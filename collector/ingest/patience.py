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
Events that come later than this do not wait, whatever they come with: an agent has kept for so long what it knows no pod of, as
of pause containers, which no status ever names, and of containers that are not of Kubernetes."""

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
        if hello.cluster != self.watch.cluster:
            return
        begin = time.monotonic_ns()
        refs = [(each.pod.uid, each.container.id) for each in batch.columns.subjects[:SUBJECTS_MAX]]
        waits = {ref: PATIENCE_NS - age for ref, age in zip(refs, _ages(batch), strict=True) if any(ref)}
        looked = -1, 0
        while waits:
            if self.watch.synced:
                waited = time.monotonic_ns() - begin
                waits = {ref: wait for ref, wait in waits.items() if wait > waited}
                looks = self.watch.version, len(waits)
                if looks != looked and self.watch.knows(hello.node, waits):
                    return
                looked = looks
            elif time.monotonic() - self.begun >= SYNC_S:
                return
            await asyncio.sleep(LOOK_S)


def _ages(batch: ingest_pb2.EventBatch) -> list[int]:
    """Return how long ago the last event of each subject was, by the clock it was told by; very long if these are no columns.

    The collector's clock is another, and does not tell unless the agent is too old to say what its own shows.
    """
    columns, number = batch.columns, min(len(batch.columns.subjects), SUBJECTS_MAX)
    if len(columns.time) % 8 or len(columns.subject) * 2 != len(columns.time):
        return [PATIENCE_NS] * number
    subjects = np.frombuffer(columns.subject, "<u4")
    looked_at = subjects < number
    last = np.full(number, np.iinfo(np.int64).min)
    np.maximum.at(last, subjects[looked_at], np.frombuffer(columns.time, "<i8")[looked_at])
    now = batch.sent_at or time.time_ns()
    return [min(PATIENCE_NS, max(0, now - each)) for each in last.tolist()]
