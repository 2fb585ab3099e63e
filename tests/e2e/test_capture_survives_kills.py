"""Agents that are killed under load, anywhere: what happened meanwhile arrives, and arrives once.

Counts say whether that is so. What happens once is named, one by one; what is repeated is summed up, by a prime number.
"""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from harness.agents import Delivered, Site
from harness.containers import Container
from harness.load import Load, stampede
from harness.sabotage import HURRIED, fatal

pytestmark = pytest.mark.kernel

MORE_THAN_FITS = 20_011
"""Prime, and more events than the ring has room for."""


def exactly(delivered: Delivered, load: Load) -> None:
    """Each event of the load arrived once, and nothing was reported lost."""
    missing, too_many = delivered.compare(load.events)
    assert too_many == Counter()
    assert missing == Counter()
    assert delivered.lost == Counter() or delivered.others, "on a shared machine others lose events, too"


def seeded() -> random.Random:
    seed = random.SystemRandom().randrange(10**6)
    print(f"random seed {seed}")  # noqa: T201 — pytest shows it when the test fails
    return random.Random(seed)  # noqa: S311 — it keeps no secret


def kill_somewhere(site: Site, chance: random.Random) -> None:
    """Start an agent and kill it, half the time while it starts, half the time while it captures."""
    with site.agent() as agent:
        if chance.random() < 0.5:
            agent.until("capturing on node")
            time.sleep(chance.uniform(0, 0.1))
        else:
            time.sleep(chance.uniform(0.1, 0.6))


def test_fifty_kills_under_load_lose_nothing_and_double_nothing(site: Site, container: Container) -> None:
    chance = seeded()
    with Load(container) as load:
        for _ in range(50):
            kill_somewhere(site, chance)
    site.finish()

    exactly(site.delivered(container.id), load)


def test_ten_kills_half_of_them_without_a_collector(site: Site, container: Container) -> None:
    chance = seeded()
    with Load(container) as load:
        for turn in range(10):
            if turn == 3:
                site.collector.end(signal.SIGKILL)
            if turn == 8:
                assert any(file.stat().st_size for file in site.spool.iterdir())
                site.collector.start()
            kill_somewhere(site, chance)
    site.finish()

    exactly(site.delivered(container.id), load)


MOMENTS = {
    "counts are in the ring, nobody has read them": fatal("agent.capture.folds", "Folds.report", 3, "after"),
    "what was read is not in the spool": fatal("agent.stream", "Sender.put", 3, "before"),
    "half of a step is in the spool": fatal(
        "os", "write", 3, "half", "os.readlink(f'/proc/self/fd/{arguments[0]}').endswith('.spool')"
    ),
    "a step is in the spool, and still in the rings": fatal(
        "agent.capture.generation", "Generation.release", 3, "before", "arguments[1]"
    ),
    "a step is in the spool, and no longer in the rings": fatal(
        "agent.capture.generation", "Generation.release", 3, "after", "arguments[1]"
    ),
    "folds are found no more, and not free": fatal("agent.capture.folds", "await_grace_period", 2, "after"),
    "folds are free": fatal("agent.capture.folds", "Folds.recycle", 5, "after"),
    "a batch is about to be sent": fatal("agent.outbox", "Outbox.next", 3, "after"),
    "the collector has a batch, and the agent does not know": fatal("agent.outbox", "Outbox.acknowledge", 3, "before"),
    "the agent knows it, and has not noted it": fatal("agent.outbox", "Outbox.acknowledge", 3, "after"),
    "the spool has forgotten what the collector has": fatal("agent.spool.spool", "Spool.forget", 3, "after"),
}


def test_killed_between_any_two_steps_of_its_work(site: Site, container: Container) -> None:
    with Load(container) as load:
        for moment, fault in MOMENTS.items():
            with site.agent(source=HURRIED + fault) as agent:
                words = agent.process.communicate(timeout=30)[1]
                assert agent.process.returncode == -signal.SIGKILL, f"{moment}: {words}"
    site.finish()

    exactly(site.delivered(container.id), load)


def test_an_agent_that_finds_its_probes_captures_within_a_second_of_cpu_time(site: Site) -> None:
    with site.agent() as agent:
        agent.until("capturing on node")
        cpu_s = int(Path(f"/proc/{agent.process.pid}/schedstat").read_text().split()[0]) / 1e9

    assert cpu_s < 1


REPORTING = {
    "what was lost is not in the spool": fatal("agent.stream", "Sender.put", 1, "before"),
    "it is in the spool, and nobody has noted in the kernel that it was reported": fatal(
        "agent.capture.generation", "Generation.note_reported", 1, "before", "arguments[1]"
    ),
    "it is noted": fatal("agent.capture.generation", "Generation.note_reported", 1, "after", "arguments[1]"),
}


def test_an_overflow_is_reported_once_although_those_who_report_it_are_killed(site: Site, container: Container) -> None:
    stampede(container, MORE_THAN_FITS)
    for moment, fault in REPORTING.items():
        with site.agent(source=fault) as agent:
            words = agent.process.communicate(timeout=30)[1]
            assert agent.process.returncode == -signal.SIGKILL, f"{moment}: {words}"
    site.finish()

    delivered = site.delivered(container.id)
    missing = 1 + 1 + MORE_THAN_FITS + 1 - delivered.total  # the container's own exec, and the program's exec and exit
    assert delivered.lost["RING_FULL"]
    # On a shared machine others' containers may have lost events, too, be it the only one that they had. What two of those
    # who are killed report is twice as much.
    lost = delivered.lost.total()
    assert 0 < missing <= lost
    assert lost < 2 * missing or delivered.others
