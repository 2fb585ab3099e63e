"""The agent's loop: reads the probes, names events, and hands them on in steps. One asyncio task; nothing here blocks for long.

What was read stays in the rings until its step is safe: an agent that is killed loses nothing that its successor does not find
there. What the kernel side lost becomes `loss` events in the stream, between the times at which it was looked at.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from peerwatch.columns import ColumnsBuilder, EventColumns, EventKind
from peerwatch.subjects import Subject

from agent.assembly import assemble
from agent.capture.generation import MOST_RECORDS, Generation
from agent.capture.probes import Probes, boot_to_wall
from agent.capture.records import Counter
from agent.identity.resolver import Resolution, Resolver
from agent.step import Step

__all__ = ["Node", "pause_after"]

_log = logging.getLogger(__name__)

GATHER_S = 0.025
"""Pause after each read. What comes alone goes out at once; what comes all the time waits half of this in the mean, and costs
40 turns of the loop a second however little each brings: a turn takes one to two milliseconds."""

MOST_GATHER_S = 0.1
"""The same under a flood, where nothing is alone and turns are what it costs."""

FLOOD_PER_S = 4000
"""Records a second that are a flood: a turn of 25 ms would bring a hundred, and cost more by itself than they do."""

WORTH_A_TURN = 3072
"""Records that a turn may wait for in a flood: a quarter of the ring. Beyond, it costs little beside them."""

BUSY_S = 0.05
"""How often connects without outcome and events without pod are looked at while there are any."""

IDLE_S = 1.0
"""How often it is looked whether there are any: a connect to a host that does not answer is told this and `HOLD_NS` late."""

HOLD_NS = 200_000_000
"""A TCP connect without an end is told as under way after this: longer than most round trips inside and between regions, short
enough for detection within a second."""

REPORT_NS = 1_000_000_000
"""How often what the kernel counted is asked for, and what it lost."""

RECYCLE_NS = 2_000_000_000
"""How often folds that are no longer used are looked for: as long as the shortest time that makes one idle."""

Put = Callable[[Step], Awaitable[None]]
Observe = Callable[[EventColumns, int], None]


class Node:
    """Everything between the probes and `put`. `events` and `rows` count what was read, `lost` what the kernel lost."""

    def __init__(
        self,
        probes: Probes,
        resolver: Resolver,
        home: Subject,
        put: Put,
        *,
        recovered: Mapping[str, int] | None = None,
        observe: Observe | None = None,
    ) -> None:
        """Take up where the agent before has ended.

        Args:
            probes: attached; what they replaced is read first, then removed.
            resolver: names events.
            home: the subject of what belongs to no container, with cluster and node.
            put: takes a step; when it returns, the step is safe.
            recovered: up to where the probes were read in the last step that was safe.
            observe: sees each table as it was read, and the wall clock.
        """
        self.events = dict.fromkeys(EventKind, 0)
        self.rows = dict.fromkeys(EventKind, 0)
        self.lost: dict[str, int] = {}
        self._probes = probes
        self._resolver = resolver
        self._home = home
        self._put = put
        self._recovered = dict(recovered or {})
        self._observe = observe
        self._woken: asyncio.Future[None] | None = None
        self._folded = 0
        self._counted = True
        self._report_due = self._recycle_due = 0
        self._looked_at = time.time_ns()
        self._torn = self._unreadable = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set, then hand on what is left, without more waiting for pods and outcomes."""
        for generation in (*self._probes.replaced, self._probes.current):
            generation.release(self._recovered)
        for generation in list(self._probes.replaced):
            await self._drain(generation)
            self._probes.remove(generation)
        current = self._probes.current
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake())
        before = _now()
        try:
            while not stop.is_set():
                under_way = self._look(current)
                await self._wait(current, BUSY_S if under_way or len(self._resolver) else IDLE_S)
                now = _now()
                if under_way:
                    current.tell(current.overdue(now - HOLD_NS))
                read = await self._turn(current, now)
                if 0 < read < MOST_RECORDS:
                    await asyncio.sleep(pause_after(read, (now - before) / 1e9))
                before = now
        finally:
            stopping.cancel()
        current.folds.report()
        current.tell(current.overdue(before=2**63))
        await self._drain(current)
        await self._hand_on(current, self._resolver.overdue(_now() + 3600 * 10**9), {})  # an hour on, nothing waits any more

    def _look(self, generation: Generation) -> bool:
        """Note whether the kernel side has counted anything since the last look; return whether connects are under way."""
        counters = generation.counters()
        self._counted |= counters[Counter.FOLDED] != self._folded
        self._folded = counters[Counter.FOLDED]
        return counters[Counter.STARTED] != counters[Counter.ENDED]

    async def _wait(self, generation: Generation, seconds: float) -> None:
        """Wait until the rings have something, `stop` is set, or the time is up."""
        if generation.unread:  # it came meanwhile
            await asyncio.sleep(0)
            return
        # A future and a timer: asyncio.wait_for() would make a task each time, which is most of what an idle agent does.
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        for descriptor in generation.descriptors:
            loop.add_reader(descriptor, self._wake)
        try:
            await self._woken
        finally:
            timer.cancel()
            for descriptor in generation.descriptors:
                loop.remove_reader(descriptor)

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def _drain(self, generation: Generation) -> None:
        """Hand on what probes hold now; under load there would always be more."""
        read = MOST_RECORDS
        while read >= MOST_RECORDS:
            self._report_due = 0  # each time: counts that found no room in a full ring find some now
            self._counted = True
            read = await self._turn(generation, _now())

    async def _turn(self, generation: Generation, now: int) -> int:
        """Read once and hand on what can go out; return how many records were read."""
        report = now >= self._report_due  # not by the wall clock, which may be set back
        if report:
            self._report_due = now + REPORT_NS
            if self._counted:  # again, too, if there was anything: a full ring may have had no room for it
                self._counted = generation.folds.report() > 0
        records = generation.read()
        if len(records):
            table = self._assemble(generation, [records.small, records.long])
            self._count(table)
            if self._observe is not None:
                self._observe(table, time.time_ns())
            resolution = self._resolver.resolve(table, now)
        else:
            resolution = self._resolver.overdue(now)
        cursor = records.cursor if len(records) else {}
        if report:
            losses, reported = self._losses(generation)
            resolution.ready.extend(losses)
            cursor |= reported
        await self._hand_on(generation, resolution, cursor)
        if now >= self._recycle_due:
            self._recycle_due = now + RECYCLE_NS
            generation.folds.recycle(now)
        return max(len(records.small), len(records.long))

    def _assemble(self, generation: Generation, parts: list[npt.NDArray[Any]]) -> EventColumns:
        """Return the events of these records; one that cannot be understood costs itself, and is counted as lost."""
        wall, start_wall = boot_to_wall(), generation.boot_offset
        try:
            return assemble(parts, self._resolver.subject_of, wall=wall, start_wall=start_wall)
        except (ValueError, OverflowError) as error:
            _log.warning("records that make no sense: %s; they are reported as lost", error)
        tables = []
        for record in (part[row : row + 1] for part in parts for row in range(len(part))):
            try:
                tables.append(assemble([record], self._resolver.subject_of, wall=wall, start_wall=start_wall))
            except (ValueError, OverflowError):
                self._unreadable += max(1, int(record["count"][0]))
        return EventColumns.concatenate(tables) if tables else ColumnsBuilder().build()

    async def _hand_on(self, generation: Generation, resolution: Resolution, cursor: dict[str, int]) -> None:
        if resolution.ready or resolution.held or resolution.settled or cursor:
            await self._put(Step(resolution.ready, resolution.held, resolution.settled, cursor))
            generation.release(cursor)
            generation.note_reported(cursor)

    def _count(self, table: EventColumns) -> None:
        rows = np.bincount(table.kind, minlength=max(EventKind) + 1)
        events = np.bincount(table.kind, table.counts(), minlength=max(EventKind) + 1)
        for kind in EventKind:
            self.rows[kind] += int(rows[kind])
            self.events[kind] += int(events[kind])

    def _losses(self, generation: Generation) -> tuple[list[EventColumns], dict[str, int]]:
        """Return what was lost since the last look, as events, and the cursor that says so."""
        begin, self._looked_at = self._looked_at, time.time_ns()
        lost, reported = generation.losses(self._recovered)
        counts = {counter.name: count for counter, count in lost.items()}
        torn, self._torn = generation.torn - self._torn, generation.torn
        unreadable, self._unreadable = self._unreadable, 0
        if torn + unreadable > 0:
            counts["TORN_RECORD"] = torn + unreadable
        builder = ColumnsBuilder()
        for reason, count in counts.items():
            self.lost[reason] = self.lost.get(reason, 0) + count
            builder.loss(
                self._looked_at,
                builder.subject(self._home),
                reason=reason,
                count=count,
                begin=min(begin, self._looked_at),
                end=self._looked_at,
            )
        return [builder.build()] if len(builder) else [], reported


def pause_after(records: int, seconds: float) -> float:
    """Return how long to gather, seconds, when the last so many brought so many records."""
    if records < FLOOD_PER_S * seconds:
        return GATHER_S
    return min(MOST_GATHER_S, max(GATHER_S, WORTH_A_TURN * seconds / records))


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
