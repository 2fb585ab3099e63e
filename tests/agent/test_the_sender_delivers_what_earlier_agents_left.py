"""Senders with a spool, one after the other, and a real gRPC server: everything arrives once, in order, and not too fast."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from harness.ingest import Store, collector, free_port, until
from harness.spooled import execs

from agent.pace import BURST_S, MIN_COST, Throttle
from agent.spool import Limits
from agent.step import Held, Step
from agent.stream import Pace, Sender

FAST = Pace(retry_first_s=0.02, retry_cap_s=0.2, hello_s=2, stall_s=2, tick_s=0.05)

Body = Callable[[Sender], Awaitable[None]]


def live(folder: Path, session: str, port: int, body: Body, *, pace: Pace = FAST, memory_bytes: int = 32 << 20) -> Sender:
    """Run an agent's sender for as long as `body` takes."""

    async def main() -> Sender:
        sender = Sender(
            f"127.0.0.1:{port}",
            cluster="c",
            node="n",
            session=session,
            version="1",
            spool=Limits(folder=folder),
            memory_bytes=memory_bytes,
            pace=pace,
        )
        run = asyncio.create_task(sender.run())
        await body(sender)
        await sender.close(0)
        await run
        return sender

    return asyncio.run(main())


async def put(sender: Sender, first: int, last: int, size: int = 0) -> None:
    for begin in range(first, last, 10):
        await sender.put(Step([execs(range(begin, begin + 10), size=size)], cursor={"ring": begin + 10}))


def test_what_a_day_without_a_collector_left_is_sent_first_in_order_and_once(tmp_path: Path) -> None:
    store, port = Store(), free_port()

    async def alone(sender: Sender, first: int) -> None:
        await put(sender, first, first + 100)

    for life in range(3):
        live(tmp_path, f"life-{life}", port, lambda sender, life=life: alone(sender, 100 * life))

    async def together(sender: Sender) -> None:
        assert sender.held_events == 300
        await put(sender, 300, 400)
        async with collector(store, port):
            await until(lambda: not sender.held_events)
            await put(sender, 400, 500)
            assert await sender.close(10) == 0

    last = live(tmp_path, "life-3", port, together)

    assert store.pids == list(range(500))
    assert list(store.sessions) == ["life-0", "life-1", "life-2", "life-3"]
    assert [hello.session for hello in store.hellos] == ["life-0", "life-1", "life-2", "life-3"]
    assert last.recovered.cursor == {"ring": 300}
    assert (last.counters.recovered, last.counters.produced, last.counters.acknowledged) == (300, 200, 500)


def test_what_the_collector_has_of_an_earlier_agent_is_not_sent_again(tmp_path: Path) -> None:
    store, port = Store(), free_port()

    async def unheard(sender: Sender) -> None:
        store.answer = lambda _: 0  # stored, but the agent dies before it hears of it
        async with collector(store, port):
            await put(sender, 0, 100)
            await until(lambda: len(store.received) == 10)
        await put(sender, 100, 150)

    live(tmp_path, "first", port, unheard)
    store.answer = lambda number: number

    async def next_one(sender: Sender) -> None:
        async with collector(store, port):
            assert await sender.close(10) == 0

    live(tmp_path, "second", port, next_one)

    assert store.pids == list(range(150))
    assert store.received == list(range(1, 16))


def test_an_agent_that_delivered_everything_leaves_nothing_to_ask_about(tmp_path: Path) -> None:
    store, port = Store(), free_port()

    async def body(sender: Sender) -> None:
        async with collector(store, port):
            await put(sender, 0, 100)
            assert await sender.close(10) == 0

    live(tmp_path, "first", port, body)
    live(tmp_path, "second", port, body)

    assert [hello.session for hello in store.hellos] == ["first", "second"]
    assert store.pids == [*range(100), *range(100)]


def test_an_outage_in_the_middle_of_the_backlog_costs_nothing(tmp_path: Path) -> None:
    store, port = Store(), free_port()

    async def alone(sender: Sender) -> None:
        await put(sender, 0, 500, size=500)

    live(tmp_path, "first", port, alone)

    async def body(sender: Sender) -> None:
        store.pause_s = 0.01
        for batches in (5, 15, 30):
            async with collector(store, port):
                await until(lambda batches=batches: len(store.received) > batches)
            await put(sender, 500, 500)
        store.pause_s = 0.0
        await put(sender, 500, 600)
        async with collector(store, port):
            assert await sender.close(10) == 0

    live(tmp_path, "second", port, body, memory_bytes=64_000)

    assert store.pids == list(range(600))


def test_what_waits_for_its_pod_is_recovered(tmp_path: Path) -> None:
    async def body(sender: Sender) -> None:
        await sender.put(Step(held={4: Held(execs([1, 2]), 99)}))

    live(tmp_path, "first", free_port(), body)
    found = live(tmp_path, "second", free_port(), lambda sender: sender.put(Step())).recovered

    assert [(len(held.table), held.until) for held in found.held.values()] == [(2, 99)]


def test_a_backlog_is_sent_at_a_limited_rate_and_what_is_new_is_not_held_up(tmp_path: Path) -> None:
    store, port = Store(), free_port()

    async def alone(sender: Sender) -> None:
        await put(sender, 0, 1000, size=500)  # half a megabyte

    live(tmp_path, "first", port, alone)
    begun = time.monotonic()

    async def body(sender: Sender) -> None:
        async with collector(store, port):
            await until(lambda: not sender.held_events)
            assert time.monotonic() - begun > 1
            begin = time.monotonic()
            await put(sender, 1000, 5000, size=500)
            await until(lambda: not sender.held_events)
            assert time.monotonic() - begin < 5  # at the limited rate it would take 8 seconds

    slow = Pace(retry_first_s=0.02, retry_cap_s=0.2, resend_bytes_per_s=1 << 18)
    live(tmp_path, "second", port, body, pace=slow)

    assert store.pids == list(range(5000))


def test_a_backlog_shrinks_at_the_rate_that_is_allowed() -> None:
    throttle = Throttle(1_000_000, 100.0)
    now = 100.0
    for _ in range(100):
        now += throttle.sent(100_000, now)

    assert now - 100 == pytest.approx(100 * 100_000 / 1_000_000 - BURST_S)


def test_it_shrinks_at_that_rate_however_much_is_new() -> None:
    throttle, now, backlog = Throttle(1_000_000, 0.0), 0.0, 20_000_000
    while backlog > 0:
        throttle.produced(300_000)
        backlog += 300_000
        for _ in range(4):
            now += throttle.sent(100_000, now)
            backlog -= 100_000

    assert now == pytest.approx(20 - BURST_S, abs=0.5)


def test_tiny_batches_are_not_free() -> None:
    throttle, now = Throttle(1_000_000, 0.0), 0.0
    for _ in range(1000):
        now += throttle.sent(10, now)

    assert now == pytest.approx(1000 * MIN_COST / 1_000_000 - BURST_S)


def test_after_a_pause_no_more_than_the_burst_is_allowed_at_once() -> None:
    throttle = Throttle(1_000_000, 0.0)
    throttle.sent(100_000, 0.0)

    assert throttle.sent(100_000, 3600.0) == 0
    assert throttle.sent(200_000, 3600.0) == pytest.approx(0.05)
