"""An agent killed with SIGKILL in any moment: what `put` had taken is there once, and the kernel side is read from there on.

The agent here is a process that reads numbers, as from a ring buffer, from where the spool says it was; it lets some wait,
sends, and is killed. Its collector is a file that outlives it.
"""

import subprocess
import sys
from pathlib import Path

AGENT = """
import os, random, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from harness.spooled import Collector, execs, open_outbox, pids
from agent.step import Held, Step

chance = random.Random(7)
base = Path(sys.argv[1])
taken = base / "collector"
taken.touch()

def collector():
    found, data = Collector(), taken.read_bytes()
    while len(data) >= 40 and len(data) >= 40 + int(data[32:40]):
        end = 40 + int(data[32:40])
        found.take(data[:32].decode().strip(), data[40:end])
        data = data[end:]
    taken.write_bytes(taken.read_bytes()[: taken.stat().st_size - len(data)])  # what was cut short never arrived
    return found

def agent(life, report):
    stored = collector()
    stream = taken.open("ab", buffering=0)
    outbox, spool = open_outbox(base / "spool", f"session-{life}", max_bytes=1 << 30, memory_bytes=1 << 16)
    ring = spool.recovered.cursor.get("ring", 0)
    held = {number: pids(each.table) for number, each in spool.recovered.held.items()}
    numbers = max(held, default=0)
    connected, written = "", 0
    while True:
        settled = [number for number in held if chance.random() < 0.3]
        new = list(range(ring, ring + chance.choice([1, 5, 50, 200])))
        ring += len(new)
        waiting = new[: chance.choice([0, 0, 1, 20])]
        ready = [pid for number in settled for pid in held.pop(number)] + new[len(waiting):]
        waits = {}
        if waiting:
            numbers += 1
            held[numbers] = waiting
            waits[numbers] = Held(execs(waiting), 5)
        outbox.put(Step([execs(ready)] if ready else [], waits, settled, {"ring": ring}))
        os.write(report, ring.to_bytes(8, "little"))
        for _ in range(chance.choice([0, 0, 1, 3])):
            if connected != outbox.session:
                connected, written = outbox.session, 0
                outbox.acknowledge(stored.last(connected))
                continue
            batch = outbox.next(written)
            if batch is None:
                break
            stream.write(f"{connected:<32}{len(batch.request):<8}".encode() + batch.request)
            stored.take(connected, batch.request)
            written = batch.sequence
            if chance.random() < 0.8:
                outbox.acknowledge(written)

last = 0
for life in range(50):
    reader, writer = os.pipe()
    chance.seed(life)
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            agent(life, writer)
        finally:
            os._exit(1)
    os.close(writer)
    reported = os.read(reader, 8)
    assert reported, "the agent ended by itself"
    for _ in range(chance.randrange(40)):
        reported = os.read(reader, 8)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    while rest := os.read(reader, 8):
        reported = rest
    os.close(reader)
    last = int.from_bytes(reported, "little")
    # What was taken is not forgotten; what was not may have been, if the agent could not say so any more.
    outbox, spool = open_outbox(base / "spool", f"look-{life}", max_bytes=1 << 30)
    assert 0 <= spool.recovered.cursor["ring"] - last <= 200, (life, spool.recovered.cursor, last)
    outbox.close()

outbox, spool = open_outbox(base / "spool", "last", max_bytes=1 << 30)
held = spool.recovered.held
outbox.put(Step([each.table for each in held.values()], settled=list(held)))
everything = collector().drain(outbox)
assert everything.losses == {}, everything.losses
assert sorted(everything.pids) == list(range(spool.recovered.cursor["ring"]))
print(len(everything.pids), len(everything.sessions))
"""


def test_fifty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", AGENT, tmp_path, Path(__file__).parents[1]],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    events, sessions = map(int, result.stdout.split())
    assert events > 5_000
    assert sessions > 10
