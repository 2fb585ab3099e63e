"""A collector that is told to stop does so in seconds, whatever waits to be sealed; the next run has it all."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from collector_harness import Agent, Command, Daemon, Events

SLOW = """
import asyncio, time
from pathlib import Path
from collector.analysis.curated import CuratedAnalysis
from collector.archive.store import Archive
from collector.daemon.server import CollectorSettings, serve

write = Archive.write
def slowly(*arguments):
    time.sleep(1)
    return write(*arguments)
Archive.write = slowly
settings = CollectorSettings(Path({data!r}), listen="127.0.0.1:0", segment_bytes=1)
asyncio.run(serve(settings, CuratedAnalysis(), ready=lambda port: print(port, flush=True)))
"""
BATCHES = 23


def test_what_waits_to_be_sealed_does_not_hold_up_the_end_and_is_not_lost(
    tmp_path: Path, events: Events, peerwatch: Command
) -> None:
    data = tmp_path / "data"
    slow = subprocess.Popen([sys.executable, "-c", SLOW.format(data=str(data))], stdout=subprocess.PIPE, text=True)
    agent = Agent(f"127.0.0.1:{slow.stdout.readline().strip()}")
    for number in range(1, BATCHES + 1):
        agent.store(number, events.table(begin=10**18 + number * 10**9))
    agent.close()

    begun = time.monotonic()
    slow.send_signal(signal.SIGTERM)
    assert slow.wait(30) == 0
    assert time.monotonic() - begun < 15
    slow.stdout.close()

    daemon = Daemon(data).start()
    lines = peerwatch("replay", "--output", "json", server=daemon.address).stdout.splitlines()
    assert daemon.end() == 0
    assert len(lines) == BATCHES * 11
    assert len({json.loads(line)["time"] for line in lines}) == BATCHES * 11
