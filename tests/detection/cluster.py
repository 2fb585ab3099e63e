"""A small cluster that tells its events: `cluster` builds tables for the analysis, times in seconds since its beginning."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from peerwatch.columns import ColumnsBuilder, EventColumns, Peer, ProcessFlag
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload

from collector.analysis import Analysis
from collector.records import Incident, Severity, WorkloadKey

SECOND = 1_000_000_000
BEGIN = 1_800_000_000 * SECOND


@dataclass(frozen=True)
class Replica:
    name: str
    subject: Subject


@dataclass
class Cluster:
    """Collects events; `table` gives them in time order."""

    events: list[tuple[float, int, tuple[object, ...]]] = field(default_factory=list)
    pid: int = 1000

    def pods(
        self,
        count: int,
        *,
        revision: str = "r1",
        at: float = 0,
        workload: str = "cart",
        kind: ContainerKind = ContainerKind.APP,
        container: str = "app",
        first: int = 0,
        namespace: str = "shop",
        image: str = "",
    ) -> list[Replica]:
        own = workload if namespace == "shop" else f"{namespace}-{workload}"
        return [
            Replica(
                f"{workload}-{revision}-{number}",
                Subject(
                    "test",
                    f"node-{number % 3}",
                    Pod(
                        namespace=namespace,
                        name=f"{workload}-{revision}-{number}",
                        uid=f"uid-{own}-{revision}-{number}",
                        workload=Workload("Deployment", workload),
                        revision=revision,
                        created_at=BEGIN + int(at * SECOND),
                    ),
                    Container(name=container, kind=kind, id=f"id-{own}-{revision}-{number}", image_digest=image),
                ),
            )
            for number in range(first, first + count)
        ]

    def exec(
        self,
        at: float,
        pod: Replica,
        exe: str,
        *,
        parent: str = "/usr/bin/server",
        args: Sequence[str] = (),
        flags: Iterable[ProcessFlag] = (),
        parent_pid: int = 1,
        ancestors: Sequence[str] | None = None,
    ) -> int:
        self.pid += 1
        chain = tuple(ancestors) if ancestors is not None else ((parent,) if parent else ())
        bits = sum(1 << flag for flag in flags)
        self.events.append(
            (at, len(self.events), ("exec", pod.subject, self.pid, exe, tuple(args) or (exe,), chain, bits, parent_pid))
        )
        return self.pid

    def connect(
        self, at: float, pod: Replica, exe: str, address: tuple[str, int], *, peer: Peer | None = None, pid: int = 0
    ) -> None:
        self.pid += 1
        packed = ipaddress.ip_address(address[0]).packed
        packed = bytes(10) + b"\xff\xff" + packed if len(packed) == 4 else packed
        self.events.append((at, len(self.events), ("connect", pod.subject, pid or self.pid, exe, packed, address[1], peer)))

    def loss(self, at: float, node: str, count: int) -> None:
        self.events.append((at, len(self.events), ("loss", node, count)))

    def normal(self, pods: Sequence[Replica], begin: float, end: float, every: float = 1.0) -> None:
        """Let each replica start its server (if it begins now) and run two helpers in turn."""
        for number, pod in enumerate(pods):
            at = begin + 0.01 * number
            self.exec(at, pod, "/usr/bin/server", parent="")
            step = 0
            while at + every < end:
                at += every
                step += 1
                helper = "/usr/bin/psql" if step % 2 else "/usr/bin/convert"
                self.exec(at, pod, helper)

    def sorted(self) -> list[tuple[float, int, tuple[object, ...]]]:
        return sorted(self.events)

    def table(self, begin: int = 0, end: int | None = None) -> EventColumns:
        builder = ColumnsBuilder()
        for at, _, what in self.sorted()[begin:end]:
            add(builder, BEGIN + round(at * SECOND), what)
        return builder.build()


def add(builder: ColumnsBuilder, time: int, what: tuple) -> None:
    if what[0] == "exec":
        _, subject, pid, exe, args, chain, bits, parent_pid = what
        process = builder.process(
            pid=pid,
            start_time=time,
            exe=exe,
            args=args,
            parent_pid=parent_pid,
            parent_exe=chain[0] if chain else "",
            ancestors=chain,
            flags=bits,
        )
        builder.exec(time, builder.subject(subject), process)
    elif what[0] == "connect":
        _, subject, pid, exe, packed, port, peer = what
        process = builder.process(pid=pid, start_time=time, exe=exe, args=(exe,), ancestors=("/usr/bin/server",))
        builder.connect(
            time, builder.subject(subject), process, protocol=1, address=packed, port=port, result=1, peer=builder.peer(peer)
        )
    else:
        _, node, count = what
        builder.loss(
            time, builder.subject(Subject("test", node)), reason="RING_FULL", count=count, begin=time - SECOND, end=time
        )


CART = WorkloadKey("test", "shop", "Deployment", "cart")


def latest(incidents: Iterable[Incident]) -> list[Incident]:
    """Return the last revision of each incident, in order of first appearance."""
    found: dict[str, Incident] = {}
    for each in incidents:
        found[each.id] = each
    return list(found.values())


def analyse(cluster: Cluster, *, until: float | None = None, analysis: Analysis | None = None) -> list[Incident]:
    """Return the final incidents after all events, and after time has come to `until`."""
    analysis = analysis or Analysis()
    incidents = analysis.observe(cluster.table())
    if until is not None:
        incidents += analysis.advance(BEGIN + int(until * SECOND))
    return latest(incidents)


def alerts(incidents: Iterable[Incident]) -> list[Incident]:
    return [each for each in incidents if each.severity >= Severity.LOW]
