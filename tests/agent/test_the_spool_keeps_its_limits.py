"""Size, age and memory are bounded: the oldest is given up, at its place, and what still waits for its pod is not."""

import shutil
import subprocess
import sys
from pathlib import Path

from harness.spooled import Collector, after_a_crash, execs, open_outbox, pids, segments

from agent.outbox import Outbox
from agent.spool.age import Uptime
from agent.step import Held, Step

DAY_NS = 86_400 * 10**9


class Node:
    """Its uptime can be moved, and it can be booted."""

    def __init__(self) -> None:
        self.now = 1000 * 10**9
        self.boots = 1

    def boot(self, now: int) -> None:
        self.now, self.boots = now, self.boots + 1

    @property
    def uptime(self) -> Uptime:
        return Uptime(f"boot-{self.boots}", lambda: self.now)


def put(outbox: Outbox, first: int, last: int, *, size: int = 100, lost: int = 0) -> None:
    """Put one step for every ten of these numbers, whose execs stand for two events each."""
    for begin in range(first, last, 10):
        outbox.put(Step([execs(range(begin, begin + 10), size=size, count=2, lost=lost)]))


def disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_beyond_its_size_the_oldest_is_given_up_and_reported_first(tmp_path: Path) -> None:
    outbox, _ = open_outbox(tmp_path, max_bytes=64_000)
    put(outbox, 0, 1000)

    assert disk_bytes(tmp_path) <= 64_000
    collector = Collector().drain(outbox)

    first = collector.tables[0]
    missing = 1000 - len(collector.pids)
    assert missing > 0
    assert collector.pids == list(range(missing, 1000))
    assert [first.strings[reason] for reason in first.losses.reason] == ["SPOOL_FULL"]
    assert (first.losses.count.tolist(), first.losses.begin.tolist(), first.losses.end.tolist()) == (
        [2 * missing],
        [1],
        [missing],
    )
    assert outbox.counters.lost == {"SPOOL_FULL": 2 * missing}


def test_what_was_sent_is_not_given_up_and_the_loss_is_told_where_it_is(tmp_path: Path) -> None:
    outbox, _ = open_outbox(tmp_path, max_bytes=64_000)
    collector = Collector()
    put(outbox, 0, 100)
    written = 0
    for _ in range(10):
        batch = outbox.next(written)
        assert batch is not None
        collector.take("s", batch.request)
        written = batch.sequence
    put(outbox, 100, 2000)

    collector.drain(outbox)

    lost = collector.losses["SPOOL_FULL"] // 2
    (place,) = (index for index, table in enumerate(collector.tables) if len(table.losses))
    before = [pid for table in collector.tables[:place] for pid in pids(table)]
    after = [pid for table in collector.tables[place:] for pid in pids(table)]
    assert before == list(range(len(before)))
    assert len(before) >= 100
    assert after == list(range(len(before) + lost, 2000))


def test_losses_that_are_given_up_keep_their_reason(tmp_path: Path) -> None:
    outbox, _ = open_outbox(tmp_path, max_bytes=64_000)
    put(outbox, 0, 1000, lost=7)
    collector = Collector().drain(outbox)

    assert collector.losses == {"SPOOL_FULL": 2 * (1000 - len(collector.pids)), "RING_FULL": 700}


def test_what_is_reported_lost_survives_the_agent(tmp_path: Path) -> None:
    outbox, _ = open_outbox(tmp_path / "spool", "first", max_bytes=64_000)
    put(outbox, 0, 1000)
    lost = outbox.counters.lost["SPOOL_FULL"]
    copy = after_a_crash(tmp_path / "spool")
    outbox.close()
    outbox, _ = open_outbox(copy, "second", max_bytes=64_000)
    put(outbox, 1000, 2000)
    lost += outbox.counters.lost["SPOOL_FULL"]

    collector = Collector().drain(outbox)

    assert collector.losses == {"SPOOL_FULL": lost}
    assert 2 * len(collector.pids) + lost == 4000
    assert collector.pids == list(range(lost // 2, 2000))
    assert len(collector.sessions) == 1  # nothing is left of the first


def test_an_agent_that_died_while_it_gave_up_the_oldest_reports_it_once(tmp_path: Path) -> None:
    outbox, spool = open_outbox(tmp_path / "spool", "first", max_bytes=64_000)
    put(outbox, 0, 300)
    before = after_a_crash(tmp_path / "spool")
    spool.give_up(spool.oldest(0), "SPOOL_FULL")
    spool.give_up(spool.oldest(0), "SPOOL_FULL")
    # The new file is there, and the ones that it replaces, too.
    for file in segments(tmp_path / "spool"):
        shutil.copy(file, before)
    spool.close()

    collector = Collector().drain(open_outbox(before, "second")[0])

    assert 2 * len(collector.pids) + collector.losses["SPOOL_FULL"] == 600
    assert collector.pids == list(range(300 - len(collector.pids), 300))


def test_events_that_are_too_old_are_given_up_and_younger_ones_are_not(tmp_path: Path) -> None:
    node = Node()
    outbox, _ = open_outbox(tmp_path, uptime=node.uptime)
    put(outbox, 0, 100)
    node.now += DAY_NS // 2
    put(outbox, 100, 200)
    outbox.tick()
    assert outbox.counters.lost == {}
    assert outbox.spool_status.oldest_age_s == 43_200

    node.now += DAY_NS // 2 + 10**9
    outbox.tick()
    collector = Collector().drain(outbox)

    assert collector.losses == outbox.counters.lost == {"SPOOL_EXPIRED": 200}
    assert collector.pids == list(range(100, 200))


def test_age_goes_on_from_agent_to_agent(tmp_path: Path) -> None:
    node = Node()
    outbox, _ = open_outbox(tmp_path, "first", uptime=node.uptime)
    put(outbox, 0, 100)
    outbox.close()
    node.now += DAY_NS + 10**9  # no agent runs

    outbox, _ = open_outbox(tmp_path, "second", uptime=node.uptime)
    outbox.tick()

    assert Collector().drain(outbox).losses == {"SPOOL_EXPIRED": 200}


def test_a_boot_makes_nothing_older_whatever_the_clocks_say_then(tmp_path: Path) -> None:
    node = Node()
    outbox, _ = open_outbox(tmp_path, "first", uptime=node.uptime)
    outbox.put(Step([execs(range(100))], {1: Held(execs([100]), 5)}, cursor={"ring": 7}))
    outbox.close()

    for session, now in (("second", 5), ("third", 400 * DAY_NS)):
        node.boot(now)
        outbox, spool = open_outbox(tmp_path, session, uptime=node.uptime)
        outbox.tick()
        assert outbox.counters.lost == {}
        assert spool.recovered.cursor == {}  # the kernel that it was about is gone
        assert [pids(held.table) for held in spool.recovered.held.values()] == [[100]]
        outbox.close()

    node.now += DAY_NS + 10**9
    outbox, _ = open_outbox(tmp_path, "fourth", uptime=node.uptime)
    outbox.tick()
    assert outbox.counters.lost == {"SPOOL_EXPIRED": 100}
    outbox.close()


def test_what_waits_stays_when_all_around_it_is_given_up(tmp_path: Path) -> None:
    outbox, _ = open_outbox(tmp_path / "spool", "first", max_bytes=64_000)
    outbox.put(Step([execs([1])], {5: Held(execs([7, 8]), 12_345), 6: Held(execs([9]), 5)}, cursor={"ring": 1}))
    put(outbox, 10, 1000)
    outbox.put(Step(settled=[6]))
    assert outbox.counters.lost["SPOOL_FULL"] > 0
    copy = after_a_crash(tmp_path / "spool")
    outbox.close()

    outbox, spool = open_outbox(copy, "second")
    (held,) = spool.recovered.held.values()

    assert (pids(held.table), held.until) == ([7, 8], 12_345)
    assert spool.recovered.cursor == {"ring": 1}
    outbox.close()


def test_what_is_acknowledged_leaves_the_disk_and_what_waits_does_not(tmp_path: Path) -> None:
    outbox, _ = open_outbox(tmp_path / "spool", "first", max_bytes=1 << 20)
    outbox.put(Step(held={1: Held(execs([7]), 5)}))
    put(outbox, 0, 5000)
    full = disk_bytes(tmp_path / "spool")
    collector = Collector()
    while (batch := outbox.next(collector.last("first"))) is not None:
        collector.take("first", batch.request)
        outbox.acknowledge(batch.sequence)
    outbox.tick()
    assert full > 500_000
    assert disk_bytes(tmp_path / "spool") < 2 * (1 << 16) + 3000  # the segment with what waits, and the newest

    copy = after_a_crash(tmp_path / "spool")
    outbox.put(Step(settled=[1]))
    outbox.close()
    outbox, spool = open_outbox(copy, "second")

    assert [pids(held.table) for held in spool.recovered.held.values()] == [[7]]
    assert not outbox
    outbox.close()


def test_a_crash_in_every_moment_of_an_outage_leaves_few_files(tmp_path: Path) -> None:
    for life in range(40):
        outbox, spool = open_outbox(tmp_path, f"session-{life}")
        spool.close()
        del outbox

    assert len(segments(tmp_path)) <= 2


BACKLOG = """
import re, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from harness.spooled import Collector, execs, open_outbox
from agent.step import Step

def rss():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10

outbox, spool = open_outbox(Path(sys.argv[1]), max_bytes=300 << 20, memory_bytes=32 << 20)
table = execs(range(1000), size=1000)
outbox.put(Step([table]))
before = rss()
for _ in range(199):
    outbox.put(Step([table]))
assert spool.size > 190 << 20
full = rss()

class Forgetful(Collector):
    taken = 0
    def take(self, session, request):
        self.taken += 1
        self._last[session] = self.taken

forgetful = Forgetful().drain(outbox)
assert forgetful.taken == 200, forgetful.taken
spool_left = sum(path.stat().st_size for path in Path(sys.argv[1]).iterdir())
print(before, full, rss(), spool_left)
"""


def test_a_backlog_of_200_mib_is_not_in_memory(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", BACKLOG, tmp_path, Path(__file__).parents[1]],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    before, full, sent, left = map(int, result.stdout.split())
    # What is kept is 4 MiB of the newest and, while it is sent, what is under way: numbers only.
    assert full - before < 16
    assert sent - before < 24
    assert left < 9 << 20
