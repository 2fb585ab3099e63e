"""The agent's loop: reads the probes, joins, names, and hands tables of events on. One asyncio task; nothing here blocks.

What the kernel side lost becomes `loss` events in the stream, between the times at which it was looked at.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.subjects import Subject

from agent.assembly import assemble
from agent.capture.probes import MOST_RECORDS, Probes, boot_to_wall
from agent.capture.records import Counter
from agent.identity.resolver import Resolver
from agent.outcomes import Outcomes

__all__ = ["Node"]

GATHER_S = 0.01
"""Pause after each read: under load one read takes hundreds of events, and one event is late by no more than this."""

WAKE_S = 0.05
"""How often connects without outcome and events without pod are looked at while there are any."""

LOSS_S = 1.0
"""How often the kernel side's counters are read."""

Put = Callable[[EventColumns], Awaitable[None]]


class Node:
    """Everything between the probes and `put`. `events` counts what was handed on, `lost` what the kernel side lost."""

    def __init__(self, probes: Probes, resolver: Resolver, home: Subject, put: Put) -> None:
        """`home`: the subject of what belongs to no container, with cluster and node."""
        self.events = 0
        self.lost: dict[str, int] = {}
        self._probes = probes
        self._resolver = resolver
        self._home = home
        self._put = put
        self._outcomes = Outcomes()
        self._readable = asyncio.Event()
        self._loss_seen_at = time.time_ns()
        self._loss_due = 0
        self._torn = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set, then hand on what is left, without more waiting for pods and outcomes."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._readable.set())
        try:
            while not stop.is_set():
                for descriptor in self._probes.descriptors:
                    loop.add_reader(descriptor, self._wake)
                with contextlib.suppress(TimeoutError):
                    busy = len(self._outcomes) or len(self._resolver)
                    await asyncio.wait_for(self._readable.wait(), WAKE_S if busy else LOSS_S)
                self._readable.clear()
                await self._step(_now())
                await asyncio.sleep(GATHER_S)
        finally:
            stopping.cancel()
            self._silence()
        # Only what is there now: under load there would always be more.
        while await self._step(_now()) >= MOST_RECORDS:
            pass
        await self._step(_now() + 3600 * 10**9)  # an hour on, nothing waits any more
        await self._report_loss()

    def _wake(self) -> None:
        # The rings stay readable until they are read: one call is enough.
        self._silence()
        self._readable.set()

    def _silence(self) -> None:
        loop = asyncio.get_running_loop()
        for descriptor in self._probes.descriptors:
            loop.remove_reader(descriptor)

    async def _step(self, now: int) -> int:
        """Read once and hand on what can go out; return how many records were read."""
        records = self._probes.read()
        small = self._outcomes.join(records.small, records.outcomes, now)
        if len(small) or len(records.long):
            table = assemble(
                [small, records.long],
                self._resolver.subject_of,
                wall=boot_to_wall(),
                start_wall=self._probes.boot_offset,
            )
            tables = self._resolver.resolve(table, now)
        else:
            tables = self._resolver.overdue(now)
        for table in tables:
            self.events += len(table)
            await self._put(table)
        if now >= self._loss_due:  # not by the wall clock, which may be set back
            self._loss_due = now + int(LOSS_S * 1e9)
            await self._report_loss()
        return len(records)

    async def _report_loss(self) -> None:
        begin, self._loss_seen_at = self._loss_seen_at, time.time_ns()
        total = self._probes.counters()[Counter.RING_FULL]
        full = total - self._probes.reported_loss
        torn = self._probes.torn - self._torn
        builder = ColumnsBuilder()
        for reason, count in (("RING_FULL", full), ("TORN_RECORD", torn)):
            if count > 0:
                self.lost[reason] = self.lost.get(reason, 0) + count
                builder.loss(
                    self._loss_seen_at,
                    builder.subject(self._home),
                    reason=reason,
                    count=count,
                    begin=min(begin, self._loss_seen_at),
                    end=self._loss_seen_at,
                )
        if len(builder):
            await self._put(builder.build())
            self._probes.reported_loss = total
            self._torn = self._probes.torn


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
