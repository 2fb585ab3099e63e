"""The agent's own loop in this process, as `run` has it but for the sender: what it hands on is what a test looks at."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from peerwatch.columns import ColumnsBuilder
from peerwatch.subjects import Subject

from agent.capture.probes import Mode
from agent.runtime import capture
from agent.step import Step
from harness.capture import Seen

__all__ = ["lost", "read", "read_until"]

TIMEOUT_S = 30


def read(pins: Path, mode: Mode) -> Seen:
    """Attach, read what is there, and return it."""
    return read_until(lambda _: True, pins, mode)


def read_until(condition: Callable[[Seen], bool], pins: Path, mode: Mode) -> Seen:
    """Attach, read until the condition holds, stop in order, and return all that was handed on.

    Raises:
        TimeoutError: it never held.
    """
    builder = ColumnsBuilder()

    async def run() -> None:
        stop = asyncio.Event()

        async def put(step: Step) -> None:
            for table in step.ready:
                builder.extend(table)
            if condition(Seen(builder.build())):
                stop.set()

        with capture(put, home=Subject("test", "node-1"), pods=None, pin_dir=pins, mode=mode) as captured:
            await put(Step())
            loop = asyncio.create_task(captured.node.run(stop))
            loop.add_done_callback(lambda _: stop.set())
            async with asyncio.timeout(TIMEOUT_S):
                await stop.wait()
            await loop

    asyncio.run(run())
    return Seen(builder.build().sorted_by_time())


def lost(seen: Seen) -> Counter[str]:
    """Return how many events were reported lost, by reason."""
    counts: Counter[str] = Counter()
    losses = seen.table.losses
    for reason, count in zip(losses.reason.tolist(), losses.count.tolist(), strict=True):
        counts[seen.table.strings[reason]] += count
    return counts
