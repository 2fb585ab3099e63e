"""What an agent takes of a node's pods, and of the API server: two agents, one on a node with few pods, one with many.

Their pods are on paper: what costs memory is the index, and what costs requests is the watch, whether or not anything runs. Who
asked for what is the API server's own word, its audit log.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet import PaperPod
from measure import Memory, memory

from agent.capture.probes import uninstall

if TYPE_CHECKING:
    from scale import Bench

__all__ = ["FEW", "MANY", "Pair"]

FEW, MANY = 5, 500
AGENT = Path(sys.executable).with_name("peerwatch-agent")
COLLECTOR = [sys.executable, "-c", "from collector.cli import main; main()"]
HERE = Path(__file__).resolve().parent.parent
CODE = ["env", f"PYTHONPATH={HERE}:{HERE / 'proto'}"]
"""What is measured is what lies here, whatever is installed."""
SETTLE_S = 10


@dataclass(frozen=True)
class _Agent:
    name: str
    process: "subprocess.Popen[str]"
    pods: list[PaperPod]


class Pair:
    """The two agents and their collector, which believes them. Both run at the same time: what else happens meets both."""

    def __init__(self, bench: "Bench") -> None:
        self._bench = bench
        self._accounts = {name: bench.account(name) for name in ("few", "many")}
        if not bench.fleet.pods:
            bench.fleet.grow(300)
        self.pods = {name: bench.fleet.on_node(name, count) for name, count in (("few", FEW), ("many", MANY))}

    @contextlib.contextmanager
    def running(self) -> Iterator[dict[str, Memory]]:
        """Start both; what they weigh then is in the dictionary that is given."""
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._bench.folder)))
            address = stack.enter_context(self._collector(folder))
            self._agents = [stack.enter_context(self._agent(name, address, folder)) for name in self.pods]
            time.sleep(SETTLE_S)
            yield self.weigh()

    def weigh(self) -> dict[str, Memory]:
        """Return what each agent holds."""
        return {each.name: memory(each.process.pid) for each in self._agents}

    def asked(self, since: float) -> dict[str, Counter[str]]:
        """Return how often each agent has asked the API server for what, since a time in seconds since 1970."""
        found = {name: Counter[str]() for name in self.pods}
        begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
        with (self._bench.node.folder / "audit.log").open() as log:
            for event in map(json.loads, log):
                name = event["user"]["username"].rpartition(":")[2]
                if name in found and event["requestReceivedTimestamp"] >= begin:
                    found[name][f"{event['verb']} {_resource(event)}"] += 1
        return found

    def restart(self, turns: int) -> None:
        """Restart the containers of all of the many, so often."""
        for _ in range(turns):
            self._bench.writer.all(self._bench.fleet.restart(each) for each in self.pods["many"])

    def replace(self, count: int) -> None:
        """Replace so many of the many."""
        old, kept = self.pods["many"][:count], self.pods["many"][count:]
        self.pods["many"] = kept + self._bench.fleet.replaced(old)

    @contextlib.contextmanager
    def _collector(self, folder: Path) -> Iterator[str]:
        command = [*COLLECTOR, "collector", "--listen", "127.0.0.1:0", "--data", str(folder / "data")]
        with (folder / "collector.log").open("w") as log:
            process = subprocess.Popen(self._bench.node.enter(*CODE, *command), stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split("listens on ")[1].split(",")[0]
        finally:
            process.kill()
            process.communicate()

    @contextlib.contextmanager
    def _agent(self, name: str, collector: str, folder: Path) -> Iterator[_Agent]:
        pins = Path(f"/sys/fs/bpf/peerwatch-bench-{os.getpid()}-{name}")
        options = {
            "--collector": collector,
            "--node": name,
            "--cluster": "bench",
            "--pin-dir": str(pins),
            "--spool": str(folder / name),
            "--canary": "0",
        }
        words = [word for pair in options.items() for word in pair]
        command = self._bench.in_pod(self._accounts[name], *CODE, str(AGENT), "run", *words)
        log = folder / f"{name}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(command, stderr=stream, text=True)
        try:
            while "capturing on node" not in log.read_text():
                assert process.poll() is None, f"the agent has ended: {log.read_text()[-500:]}"
                time.sleep(0.1)
            yield _Agent(name, process, self.pods[name])
        finally:
            process.kill()
            process.wait()
            uninstall(pins)


def _resource(event: dict[str, Any]) -> str:
    about = event.get("objectRef", {})
    return str(about.get("resource", event["requestURI"]))
