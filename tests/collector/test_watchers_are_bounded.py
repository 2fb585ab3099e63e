import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest
from collector_harness import PROGRAM, SECOND, Daemon, Events

from collector.daemon.watchers import TooManyWatchersError, Watchers
from collector.ingest.counters import Counters
from collector.records import Incident, IncidentKind, Severity, WorkloadKey


def incident(number: int) -> Incident:
    return Incident(
        id=str(number),
        revision=1,
        time=number,
        first_event=number,
        severity=Severity.HIGH,
        score=1.0,
        kind=IncidentKind.NEW_BEHAVIOUR,
        workload=WorkloadKey("test", "shop", "Deployment", "cart"),
        replicas=(),
        compared=0,
        sharing=0,
        behaviours=(),
        evidence=(),
        techniques=(),
        reason="",
        loss_in_window=0,
    )


def test_a_slow_watcher_loses_its_oldest_and_that_is_counted() -> None:
    counters = Counters()

    async def watch() -> tuple[list[str], list[str]]:
        watchers = Watchers(counters, queue_max=5)
        slow, quick = watchers.join(), watchers.join()
        seen = []
        for number in range(23):
            watchers.publish([incident(number)])
            seen.append(quick.get_nowait().id)
        return [slow.get_nowait().id for _ in range(slow.qsize())], seen

    slow, quick = asyncio.run(watch())
    assert slow == ["18", "19", "20", "21", "22"]
    assert len(quick) == 23
    assert counters["watch_dropped"] == 18


def test_the_number_of_watchers_is_bounded() -> None:
    async def join() -> None:
        watchers = Watchers(Counters(), watchers_max=2)
        first = watchers.join()
        watchers.join()
        with pytest.raises(TooManyWatchersError):
            watchers.join()
        watchers.leave(first)
        watchers.join()

    asyncio.run(join())


def test_a_follower_is_told_while_it_happens_until_ctrl_c_ends_it_without_a_word(
    daemons: Callable[..., Daemon], impatient: tuple[str, str], events: Events
) -> None:
    daemon = daemons(*impatient)
    follow = subprocess.Popen(
        [*PROGRAM, "alerts", "--follow", "--output", "json", "--namespace", "shop"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PEERWATCH_SERVER": daemon.address},
        text=True,
    )
    agent, now = daemon.agent(), time.time_ns()
    agent.store(1, events.table(begin=now - 80 * SECOND))
    agent.store(2, events.table(begin=now - 30 * SECOND))
    # The follower may still be on its way: what is told before it comes, it lists.
    agent.store(3, events.table(begin=now - 29 * SECOND, only=3, exe="/usr/bin/nc"))
    guard = threading.Timer(60, follow.kill)
    guard.start()
    line = follow.stdout.readline()
    follow.send_signal(signal.SIGINT)
    _, err = follow.communicate()
    guard.cancel()
    assert (follow.returncode, err) == (0, "")
    told = json.loads(line)
    assert told["workload"] == {"kind": "Deployment", "name": "cart"}
    assert [replica["pod"] for replica in told["replicas"]] == ["cart-3"]
    assert told["peers"]["sharing"] == 0
