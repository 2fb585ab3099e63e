"""Real agents and a real collector that may be killed at any time, and what has arrived at the collector in the end."""

import contextlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from collector_harness import PROGRAM, Daemon
from peerwatch.v1 import event_pb2, query_pb2
from prometheus_client.parser import text_string_to_metric_families

from harness.ingest import free_port
from harness.load import NOTHING
from harness.world import World

__all__ = ["AGENT", "Agent", "Collector", "Delivered", "Site"]

AGENT = str(Path(sys.executable).with_name("peerwatch-agent"))


class Collector(Daemon):
    """A collector that comes back under the address that it had."""

    def start(self) -> "Collector":
        with (self.data.parent / f"{self.data.name}.log").open("a") as log:
            listen = self.address or f"127.0.0.1:{free_port()}"
            self.process = subprocess.Popen(
                [*PROGRAM, "collector", "--listen", listen, "--data", str(self.data)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        line = self.process.stdout.readline()
        assert "listens on" in line, self.log()
        self.address = line.split("listens on ")[1].split(",")[0]
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)

    def events(self, cluster: str) -> Iterator[event_pb2.Event]:
        """Yield all events of a cluster in order of time."""
        with self.query() as stub:
            for response in stub.ReplayEvents(query_pb2.ReplayEventsRequest(cluster=cluster), timeout=60):
                yield from response.events


# `run` replaces its process; in this one it goes on, with what was changed here.
_IN_ONE_PROCESS = """
import dataclasses, json, sys
import agent.cli, agent.daemon, agent.options
def start(options):
    sys.argv[1:] = [json.dumps(dataclasses.asdict(options))]
    sys.exit(agent.daemon.main())
agent.options.Options.start = start
agent.cli.main()
"""


class Agent:
    """One process of `peerwatch-agent run`. `source`: Python that runs before it in the same process, to make a fault."""

    def __init__(self, options: Sequence[str], *, source: str = "") -> None:
        command = [sys.executable, "-P", "-c", source + _IN_ONE_PROCESS] if source else [AGENT]
        self.process = subprocess.Popen([*command, "run", *options], stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.kill()

    def until(self, words: str) -> str:
        """Wait until it says these words on stderr, and return what it said up to there."""
        said = ""
        assert self.process.stderr is not None
        while words not in said:
            line = self.process.stderr.readline()
            assert line, f"the agent ended and has said only: {said}"
            said += line
        return said

    def kill(self) -> None:
        """Kill it, if it lives."""
        if self.process.poll() is None:
            self.process.kill()
        self._end()

    def metrics(self, port: int) -> dict[str, float]:
        """Return what it says of itself on a port, by name, those with labels summed up by name, too."""
        while True:
            assert self.process.poll() is None, "the agent ended"
            with contextlib.suppress(ConnectionError, urllib.error.URLError):  # it does not serve them yet
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                    families = text_string_to_metric_families(response.read().decode())
                break
            time.sleep(0.01)
        values: Counter[str] = Counter()
        for sample in (sample for family in families for sample in family.samples):
            name = sample.name.removeprefix("peerwatch_agent_")
            values[name] += sample.value
            for label in sample.labels.values():
                values[f"{name} {label}"] += sample.value
        return values

    def stop(self) -> str:
        """End it in order and return its last words."""
        while not _catches(self.process.pid, signal.SIGTERM):
            time.sleep(0.001)
        self.process.send_signal(signal.SIGTERM)
        words = self.process.stderr.read() if self.process.stderr else ""
        assert self._end() == 0, words
        return words

    def _end(self) -> int:
        code = self.process.wait(30)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return code


def _catches(pid: int, number: signal.Signals) -> bool:
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (number - 1) & 1)


class Site:
    """One node: agents that follow each other on the same pins and the same spool."""

    def __init__(self, collector: Collector, world: World, *, cluster: str, pins: Path, spool: Path) -> None:
        self.collector, self.world, self.cluster, self.pins, self.spool = collector, world, cluster, pins, spool

    def agent(self, *options: str, source: str = "") -> Agent:
        """Start the next agent."""
        fixed = {
            "--collector": self.collector.address,
            "--pods": str(self.world.pods_file),
            "--node": self.world.node,
            "--cluster": self.cluster,
            "--pin-dir": str(self.pins),
            "--spool": str(self.spool),
            "--canary": "0",
        }
        return Agent([*(word for pair in fixed.items() for word in pair), *options], source=source)

    def finish(self) -> None:
        """Run an agent until everything that is left has been delivered."""
        with self.agent() as agent:
            agent.until("capturing on node")
            assert "stay in" not in agent.stop()

    def delivered(self, container: str) -> "Delivered":
        """Return what has arrived."""
        return Delivered(self.collector.events(self.cluster), container)


class Delivered:
    """What has arrived of one container, in the words of `Load.events`; and what was reported lost, whosever it was."""

    def __init__(self, events: Iterator[event_pb2.Event], container: str) -> None:
        self.events: Counter[Any] = Counter()
        self.kinds: Counter[tuple[str | None, str]] = Counter()
        """What this container did, by kind and executable."""
        self.lost: Counter[str] = Counter()
        self.others = 0
        """Events of other containers on this host."""
        self.processes: set[tuple[int, int]] = set()
        """What connected, by pid and start."""
        for event in events:
            kind = event.WhichOneof("kind")
            if kind == "loss":
                self.lost[event.loss.reason] += event.loss.count
                continue
            count = getattr(getattr(event, kind), "count", 1) if kind else 0
            if event.container.id == container:
                self.kinds[kind, event.process.exe] += count
                self._add(kind, event)
            else:
                self.others += count

    @property
    def total(self) -> int:
        """Return how many events of this container have arrived, those of other programs among them."""
        return self.kinds.total()

    def compare(self, expected: Counter[Any]) -> tuple[Counter[Any], Counter[Any]]:
        """Return what did not arrive, and what arrived too often.

        Others' containers, which there are on a shared machine only, may fill rings and the table of connects under way: then
        as many events as were reported lost may be missing, and connects may be told without their result.
        """
        arrived = self.events
        if self.others:
            expected, arrived = _without_results(expected), _without_results(arrived)
        missing = expected - arrived
        if self.others and missing.total() <= self.lost.total():
            missing = Counter()
        return missing, arrived - expected

    def _add(self, kind: str | None, event: event_pb2.Event) -> None:
        is_load = event.process.exe == NOTHING
        match kind:
            case "exec" if is_load:
                self.events["exec", event.process.args[1]] += event.exec.count
            case "exit" if is_load:
                self.events["exit", event.process.args[1], event.exit.code] += event.exit.count
            case "connect":
                self.processes.add((event.process.pid, event.process.start_time.ToNanoseconds()))
                connect = event.connect
                protocol = event_pb2.Connect.Protocol.Name(connect.protocol)
                result = event_pb2.Connect.Result.Name(connect.result)
                self.events["connect", protocol, connect.address, connect.port, result] += connect.count
            case "accept":
                self.events["accept", event.accept.port] += event.accept.count
            case "listen":
                self.events["listen", event.listen.port] += 1


def _without_results(events: Counter[Any]) -> Counter[Any]:
    short: Counter[Any] = Counter()
    for event, count in events.items():
        short[event[:4]] += count  # the result of a connect is the fifth
    return short
