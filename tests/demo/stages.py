"""Where the story is played: live in containers on this host, or from a recording. Both give `story` the same few handles."""

import contextlib
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import grpc
from harness import World

from demo import daemons
from demo.attack import ADDRESS, PORT, attack
from demo.recorded import RECORDING, Recording, Sender, is_of
from demo.shop import CART_PORT, NAMESPACE, NODE, Shop

__all__ = ["LiveStage", "RecordedStage", "Stage"]


class Stage(Protocol):
    """What the story needs of where it is played."""

    attacked: str
    replicas: int
    limit_s: float
    """Longest time from an exec to its finding, median over what the attack did."""

    def channel(self) -> grpc.Channel:
        """Return a way to ask the collector."""

    def check(self) -> None:
        """Raise DaemonError if something that must run does not."""

    def normal_life_left(self) -> float:
        """Return the seconds until the attack."""

    def attack(self, tell: Callable[[str], None]) -> None:
        """Play the attack to its end."""

    def instructions(self) -> list[str]:
        """Return what a person can do while it is left running."""


class LiveStage:
    """Containers, probes, agent and collector on this host."""

    limit_s = 1.0

    def __init__(
        self, say: Callable[[str], None], *, replicas: int, dice: random.Random, normal_life_s: float, record: Path | None
    ) -> None:
        self.replicas = replicas
        self._say = say
        self._dice = dice
        self._normal_life_s = normal_life_s
        self._record = record
        self._stack = contextlib.ExitStack()
        self._daemons: list[daemons.Daemon] = []

    def __enter__(self) -> Self:
        """Start everything; whatever fails, what was started is removed."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Remove everything."""
        self._stack.__exit__(kind, error, traceback)

    def _start(self) -> None:
        self._world = self._stack.enter_context(World(node=NODE))
        session, pods = self._world.session, self._world.pods_file
        collector = self._run(daemons.collector(session.path))
        self.server = daemons.server_of(collector)
        self._say(f"collector: {self.server}, its data in {session.path / 'collector'}")
        self._stack.callback(daemons.uninstall, session.pins)
        agent = self._run(daemons.agent(session.path, self.server, pods, NODE, session.pins))
        daemons.wait_for_probes(agent, NODE)
        self._say(f"agent: node {NODE}, cluster {daemons.CLUSTER}")
        if self._record is not None:
            made = session.path / "recording.jsonl"
            self._stack.callback(self._keep_recording, made)
            recorder = self._run(daemons.recorder(session.path, made, pods, NODE))
            daemons.wait_for_probes(recorder, NODE)
        begin = time.monotonic()
        self._shop = Shop(self._world, self.replicas, self._dice)
        self._stack.enter_context(self._shop)
        self._say(
            f"containers: deployment shop/cart with {self.replicas} replicas, shop/db with {len(self._shop.db.replicas)}, "
            f"in {time.monotonic() - begin:.1f} s"
        )
        self._victim = self._dice.choice(self._shop.cart.replicas)
        self.attacked = self._victim.name
        self._attack_at = time.monotonic() + self._normal_life_s

    def _run(self, daemon: daemons.Daemon) -> daemons.Daemon:
        self._daemons.append(daemon)
        return self._stack.enter_context(daemon)

    def _keep_recording(self, made: Path) -> None:
        if self._record is not None and made.exists():
            # Whatever else runs on this host is nobody's business but its own.
            lines = [line for line in made.read_bytes().splitlines(keepends=True) if is_of(line, NAMESPACE)]
            self._record.write_bytes(b"".join(lines))
            self._say(f"recording: {self._record}, {len(lines)} events, {self._record.stat().st_size // 1024} KiB")

    def channel(self) -> grpc.Channel:
        """Return a way to ask the collector, which listens on loopback only."""
        return grpc.insecure_channel(self.server)

    def check(self) -> None:
        """Raise DaemonError if agent or collector is gone."""
        for daemon in self._daemons:
            daemon.check()

    def normal_life_left(self) -> float:
        """Return the seconds until the attack."""
        return self._attack_at - time.monotonic()

    def attack(self, tell: Callable[[str], None]) -> None:
        """Break into the replica that chance has chosen."""
        attack(self._world.network, self._victim.ip, {self._victim.ip: self._victim.name}, tell)

    def instructions(self) -> list[str]:
        """Return what a person can do while it is left running."""
        bin_, network = daemons.BIN, f"/run/netns/{self._world.session.name}-net"
        url = f"http://{self._shop.cart.replicas[0].ip}:{CART_PORT}/debug/lookup?name=db-0;id"
        web = [f"web page: {line}" for line in daemons.web_pages(self._daemons[0])]
        return [
            *web,
            f"{bin_}/peerwatch status --server {self.server}",
            f"{bin_}/peerwatch workloads --server {self.server}",
            f"{bin_}/peerwatch alerts --server {self.server}",
            f"break in again: nsenter --net={network} curl '{url}'",
        ]


class RecordedStage:
    """A real collector that gets a recording of the live stage over the agent's protocol."""

    limit_s = 1.0

    def __init__(self, say: Callable[[str], None], path: Path = RECORDING) -> None:
        self._say = say
        self._recording = Recording.read(path)
        self.attacked = self._recording.attacked
        self.replicas = self._recording.replicas
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the collector and begin to send."""
        try:
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="peerwatch-demo-")))
            self._collector = self._stack.enter_context(daemons.collector(directory))
            self.server = daemons.server_of(self._collector)
            self._sender = Sender(self.server, self._recording)
            self._stack.callback(self._sender.stop)
            self._sender.start()
            self._say(f"collector: {self.server}; {len(self._recording.lines)} recorded events are on their way to it")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Remove everything."""
        self._stack.__exit__(kind, error, traceback)

    def channel(self) -> grpc.Channel:
        """Return a way to ask the collector, which listens on loopback only."""
        return grpc.insecure_channel(self.server)

    def check(self) -> None:
        """Raise DaemonError if the collector is gone or refuses what it gets."""
        self._collector.check()
        if self._sender.error:
            raise daemons.DaemonError(self._sender.error)

    def normal_life_left(self) -> float:
        """Return the seconds until the attack in the recording."""
        return self._sender.here(self._recording.attack_at) - time.time()

    def attack(self, tell: Callable[[str], None]) -> None:
        """Tell what the recording holds, when it is sent."""
        tell(f"somebody got a shell through a hole of {self.attacked}, on a socket to {ADDRESS}:{PORT}")
        for at, command in self._recording.commands:
            time.sleep(max(0.0, self._sender.here(at) - time.time()))
            tell(f"ran: {command}")
        self._sender.done.wait(60)

    def instructions(self) -> list[str]:
        """Return what a person can do while it is left running."""
        commands = [f"{daemons.BIN}/peerwatch {name} --server {self.server}" for name in ("status", "workloads", "alerts")]
        return [*(f"web page: {line}" for line in daemons.web_pages(self._collector)), *commands]
