"""From process trees to events, as an agent would have sent them.

Folding is the agent's, over a longer time: repeats of one thing within `fold` seconds are one row with a count, the first of
them told at its time. (The agent flushes each second; scenarios of days would be too large. What is new is never held back.)
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from peerwatch.columns import NANOSECONDS, ColumnsBuilder, ProcessFlag, Protocol
from peerwatch.subjects import Container, ContainerKind, Pod, Subject

from scenario.cluster import Cluster, Life, Site
from scenario.network import Dial, Network
from scenario.script import Node, fill, parse
from scenario.words import Draw

__all__ = ["BEGIN", "Mark", "Place", "Process", "Timeline", "nanoseconds"]

BEGIN = 1_790_000_000 * NANOSECONDS
"""When every scenario begins: only differences matter."""

MOST_PIDS = 65_536
"""Pids come around within hours on a busy node, and so they do here: a pid alone is no identity."""

SHIM = "/usr/bin/containerd-shim-runc-v2"


def nanoseconds(seconds: float) -> int:
    """Return the event time of a scenario's second."""
    return BEGIN + int(seconds * 1_000_000) * 1_000


@dataclass(frozen=True, slots=True)
class Mark:
    """Why an event is there: a row of the noise catalogue (0: the service's own work), or an incident."""

    noise: int = 0
    incident: int = -1


@dataclass(frozen=True, slots=True)
class Process:
    """A running process image."""

    row: int
    pid: int
    start: int
    exe: str
    ancestors: tuple[str, ...]
    ancestor_ids: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Place:
    """One container of one pod, and what runs in it all the time."""

    site: Site
    life: Life
    subject: int
    values: dict[str, str]
    begin: float
    end: float
    main: Process | None = None
    workers: list[Process] = field(default_factory=list)
    """Children of the main program that run the same file."""


class Timeline:
    """Writes events down."""

    def __init__(self, cluster: Cluster, network: Network, draw: Draw, *, fold: float) -> None:
        self.cluster, self.network, self.draw, self.fold = cluster, network, draw, fold
        self.builder = ColumnsBuilder()
        self.marks: list[Mark] = []
        self._pids = [draw.randrange(2_000, MOST_PIDS) for _ in cluster.nodes]

    def place(
        self,
        site: Site,
        life: Life,
        at: float,
        *,
        container: str = "app",
        kind: ContainerKind = ContainerKind.APP,
        end: float = math.inf,
    ) -> Place:
        """Start a container."""
        revision = life.revision
        subject = Subject(
            self.cluster.name,
            self.cluster.nodes[life.node],
            Pod(
                namespace=site.namespace,
                name=life.pod,
                uid=life.uid,
                ip=life.ip,
                workload=site.workload,
                revision="" if site.archetype.kind == "CronJob" else revision.hash,
                created_at=nanoseconds(life.born - 1),
                service_account=site.name,
                labels=(("app", site.name),),
            ),
            Container(
                name=container,
                kind=kind,
                id=self.draw.hex(64),
                image=f"registry.example/{site.namespace}/{site.name}-{container}:{revision.tag}",
                image_digest=f"sha256:{site.number:02d}{revision.hash}",
                started_at=nanoseconds(at),
            ),
        )
        own = {"pod": life.pod, "ip": life.ip, "node": self.cluster.nodes[life.node], "ordinal": str(life.ordinal)}
        stop = min(end, life.died, self.cluster.horizon)
        return Place(site, life, self.builder.subject(subject), {**site.values, **own}, at, stop)

    def windows(self, place: Place, every: float, *, after: float = 5.0) -> Iterator[tuple[float, int]]:
        """Yield for something periodic the time of the first run in each folding window, and how many runs there were."""
        stop = place.end
        at = place.begin + after + self.draw.uniform(0, every)
        while at < stop:
            until = min(at + max(self.fold, every), stop)
            count = max(1, int((until - at) / every))
            yield at, count
            at += count * every

    def play(
        self,
        place: Place,
        at: float,
        script: str,
        *,
        under: Process | None = None,
        mark: Mark,
        count: int = 1,
        span: float = 0.0,
        flags: int = 0,
        values: Mapping[str, str] | None = None,
        gap: tuple[float, float] = (0.002, 0.03),
    ) -> float:
        """Let a script's trees happen under a process, or from outside of the container; return when that is over."""
        known = {**place.values, **self._fresh(at), **(values or {})}
        scene = _Scene(place, mark, count, span, flags, known, gap)
        for number, node in enumerate(parse(script)):
            at = self._node(scene, at + (self.draw.uniform(*gap) if number else 0.0), node, under)
        return at

    def start(self, place: Place, at: float, command: str, *, under: Process | None = None, mark: Mark) -> Process:
        """Start a process that stays."""
        process, _ = self._exec(_Scene(place, mark, 1, 0.0, 0, place.values, (0, 0)), at, parse(command)[0], under)
        return process

    def fork(self, place: Place, at: float, parent: Process) -> Process:
        """Return a child that runs the same file: no exec, and so no event."""
        pid = self._pid(place.life.node)
        row = self.builder.process(
            pid=pid,
            start_time=nanoseconds(at),
            exe=parent.exe,
            cwd=place.site.archetype.cwd,
            uid=place.site.archetype.uid,
            gid=place.site.archetype.uid,
            parent_pid=parent.pid,
            parent_start_time=parent.start,
            parent_exe=parent.exe,
            ancestors=(parent.exe, *parent.ancestors),
            ancestor_ids=((parent.pid, parent.start), *parent.ancestor_ids),
        )
        lineage = (parent.exe, *parent.ancestors), ((parent.pid, parent.start), *parent.ancestor_ids)
        return Process(row, pid, nanoseconds(at), parent.exe, *lineage)

    def dial(
        self, place: Place, at: float, process: Process, to: str, *, mark: Mark, count: int = 1, span: float = 0.0
    ) -> None:
        """Let a running process connect."""
        text = fill(to, {**place.values, **self._fresh(at)}) if "{" in to else to
        dials = list(self.network.dials(place.site, place.life, at, text))
        for number, each in enumerate(dials):
            self.connect(place, at + number * 0.003, process, each, mark=mark, count=count, span=span)

    def connect(
        self, place: Place, at: float, process: Process, dial: Dial, *, mark: Mark, count: int = 1, span: float = 0.0
    ) -> None:
        """Write one connect down."""
        self.builder.connect(
            nanoseconds(at),
            place.subject,
            process.row,
            protocol=dial.protocol,
            address=dial.address,
            port=dial.port,
            result=dial.result,
            count=count,
            last_time=nanoseconds(at + span),
            peer=self.builder.peer(dial.peer),
        )
        self.marks.append(mark)

    def listen(self, place: Place, at: float, process: Process, port: int) -> None:
        """Write a listen down."""
        time = nanoseconds(at)
        self.builder.listen(time, place.subject, process.row, protocol=Protocol.TCP, address=bytes(16), port=port)
        self.marks.append(Mark())

    def accept(self, place: Place, at: float, process: Process, dial: Dial, *, count: int, span: float) -> None:
        """Write folded accepts down: `dial` says who came, and to which port."""
        self.builder.accept(
            nanoseconds(at),
            place.subject,
            process.row,
            protocol=Protocol.TCP,
            address=dial.address,
            port=dial.port,
            count=count,
            last_time=nanoseconds(at + span),
            peer=self.builder.peer(dial.peer),
        )
        self.marks.append(Mark())

    def _fresh(self, at: float) -> dict[str, str]:
        """Return the values that are new each time."""
        draw, day = self.draw, int(at // 86_400)
        return {
            "n": str(draw.randint(10, 99_999)),
            "uuid": draw.uuid(),
            "hex": draw.hex(12),
            "rand": draw.random_name(),
            "date": f"2026-{1 + day // 28 % 12:02d}-{1 + day % 28:02d}",
        }

    def _pid(self, node: int) -> int:
        self._pids[node] = (self._pids[node] + self.draw.randint(1, 7)) % MOST_PIDS or 300
        return self._pids[node]

    def _node(self, scene: "_Scene", at: float, node: Node, under: Process | None) -> float:
        place = scene.place
        if node.argv[0].startswith("@"):  # the service itself
            assert place.main is not None
            process, flags = (self.draw.choice(place.workers) if place.workers else place.main), scene.flags
            times = node.times * scene.count
        else:
            process, flags = self._exec(scene, at, node, under)
            times = node.times * scene.count
        for to in node.dials:
            at += self.draw.uniform(0.001, 0.02)
            text = fill(to, scene.values)
            for dial in self.network.dials(place.site, place.life, at, text):
                self.connect(place, at, process, dial, mark=scene.mark, count=times, span=scene.span)
                at += self.draw.uniform(0.001, 0.004)
        inner = scene.with_flags(flags)
        for child in node.children:
            at = self._node(inner, at + self.draw.uniform(*scene.gap), child, process)
        if not node.argv[0].startswith("@"):
            at += self.draw.uniform(0.001, 0.01)
            self.builder.exit(
                nanoseconds(at),
                place.subject,
                process.row,
                code=0,
                signal=0,
                lifetime=max(1, nanoseconds(at) - process.start),
                count=times,
                last_time=nanoseconds(at + scene.span),
            )
            self.marks.append(scene.mark)
        return at

    def _exec(self, scene: "_Scene", at: float, node: Node, under: Process | None) -> tuple[Process, int]:
        place, image = scene.place, scene.place.life.revision.image
        args = tuple(fill(each, scene.values) for each in node.argv)
        exe = image.file_of(args[0])
        script = ""
        if exe.endswith((".sh", ".cgi")):  # its first line names the shell
            script, exe = exe, image.file_of("sh")
            args = ("/bin/sh", *args)
        flags = node.flags | scene.flags
        pid, started = self._pid(place.life.node), nanoseconds(at) - self.draw.randint(300, 2_000) * 1_000
        ancestors = () if under is None else (under.exe, *under.ancestors)
        ids = () if under is None else ((under.pid, under.start), *under.ancestor_ids)
        archetype = place.site.archetype
        row = self.builder.process(
            pid=pid,
            start_time=started,
            exe=exe,
            args=args,
            cwd=archetype.cwd,
            uid=archetype.uid,
            gid=archetype.uid,
            script=script,
            parent_pid=1_200 + place.life.node if under is None else under.pid,
            parent_start_time=BEGIN - NANOSECONDS if under is None else under.start,
            parent_exe=SHIM if under is None else under.exe,
            ancestors=ancestors,
            ancestor_ids=ids,
            flags=flags,
        )
        self.builder.exec(
            nanoseconds(at), place.subject, row, count=node.times * scene.count, last_time=nanoseconds(at + scene.span)
        )
        self.marks.append(scene.mark)
        inherited = flags & (1 << ProcessFlag.TTY | 1 << ProcessFlag.INJECTED)
        return Process(row, pid, started, exe, ancestors, ids), inherited | (scene.flags & ~(1 << ProcessFlag.TTY))


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the processes of one script have in common."""

    place: Place
    mark: Mark
    count: int
    span: float
    flags: int
    values: Mapping[str, str]
    gap: tuple[float, float]

    def with_flags(self, flags: int) -> "_Scene":
        return _Scene(self.place, self.mark, self.count, self.span, flags, self.values, self.gap)
