"""A pipeline with a view of a cluster on one directory, without a server, and events as an agent may tell them."""

from pathlib import Path

from cluster_objects import Cluster, container_id
from peerwatch import wire
from peerwatch.columns import ColumnsBuilder, EventColumns, Peer
from peerwatch.kubernetes.connection import ApiServer
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload
from peerwatch.v1 import ingest_pb2

from collector.analysis import Analysis
from collector.archive.journal import Journal, ReadReport
from collector.archive.selection import Selection
from collector.archive.store import Archive
from collector.cluster.completing import Completion
from collector.cluster.history import FOREVER
from collector.cluster.watching import ClusterWatch
from collector.ingest.counters import Counters
from collector.ingest.pipeline import Pipeline, Received
from collector.records import WorkloadKey
from collector.state import State

SECOND = 10**9
START = 1_790_000_100 * SECOND
WEB = WorkloadKey("test", "shop", "Deployment", "web")
VAULT = Workload("Deployment", "vault")
ADDRESS = bytes(10) + b"\xff\xff\x0a\x09\x00\x01"


def claim(uid: str, container: str = "app", *, node: str = "node-1", cluster: str = "test") -> Subject:
    """Return what an agent may say: ids that it saw, and a story."""
    pod = Pod("bank", "vault-1", uid, "10.1.9.9", VAULT, "r9", 7, "root", (("app", "vault"),))
    return Subject(
        cluster,
        node,
        pod,
        Container("vault", ContainerKind.INIT, container_id(uid + container) if container else "", "vault:1"),
    )


def table(*subjects: Subject, begin: int = START) -> EventColumns:
    """Return one exec and one connect of each, the connect to somebody that the agent names."""
    builder = ColumnsBuilder()
    peer = builder.peer(Peer("bank", VAULT))
    for number, each in enumerate(subjects):
        subject = builder.subject(each)
        process = builder.process(pid=100 + number, start_time=begin, exe="/bin/x", ancestors=["/sbin/tini"])
        builder.exec(begin + number, subject, process)
        builder.connect(begin + number, subject, process, protocol=1, address=ADDRESS, port=80, result=1, peer=peer)
    return builder.build()


class Shelf:
    """A pipeline with a view, on one directory; `again` is what a restart after kill -9 finds, with a view of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cluster = Cluster()
        self.watch = ClusterWatch(self.cluster.view, ApiServer("http://127.0.0.1:1", None, dict))
        self.heard = FOREVER  # nobody is asked here: the API server is there until a test says since when it is not
        self.watch.heard = lambda: self.heard
        self.counters = Counters()
        self.state = State.for_file(path / "state.db")
        self.journal = Journal(path / "journal", after=max(self.state.sealed(), default=0))
        self.archive = Archive(path / "archive", Completion(self.state, self.watch))
        self.pipeline = Pipeline(
            journal=self.journal, state=self.state, analysis=Analysis(), counters=self.counters, watch=self.watch
        )
        self.pipeline.recover()

    def know(self) -> None:
        """Hear of two replicas behind a service, one on each node."""
        self.cluster.owned("ReplicaSet", "web-5d9c", ("Deployment", "web"))
        self.cluster.pod("web-1", ips=["10.1.0.1"])
        self.cluster.pod("web-2", ips=["10.1.0.2"], node="node-2")
        self.cluster.service("front", ips=["10.9.0.1"])

    def store(self, sequence: int, events: EventColumns, *, node: str = "node-1", cluster: str = "test") -> None:
        hello = ingest_pb2.Hello(cluster=cluster, node=node, session="s")
        batch = ingest_pb2.EventBatch(sequence=sequence, columns=wire.encode(events))
        (outcome,) = self.pipeline.store([Received(START + 9 * SECOND, hello, batch)])[0]
        assert outcome.acknowledged == sequence

    def seal(self) -> None:
        """Put into Parquet files all that the journal has."""
        self.pipeline.rotate(START)
        for segment in self.pipeline.closed_segments():
            self.pipeline.sealed(segment, self.archive.write(segment, ReadReport()), START)

    def archive_files(self) -> list[str]:
        return [str(self.path / "archive" / each.path) for each in self.state.files()]

    def stored(self, **selected: str) -> list[EventColumns]:
        selection = Selection(**selected)
        return [each for each in self.archive.scan(self.pipeline.snapshot(selection), selection) if len(each)]

    def found(self, **selected: str) -> int:
        """Return how many events a replay finds."""
        return sum(map(len, self.stored(**selected)))

    def subjects(self) -> list[Subject]:
        return [each.subjects[number] for each in self.stored() for number in dict.fromkeys(each.subject.tolist())]

    def learned(self) -> dict[WorkloadKey, int]:
        """Return how much was counted for each workload."""
        return {
            each.key: sum(entry.count for entry in self.pipeline.baseline(each.key, "")) for each in self.pipeline.workloads()
        }

    def again(self) -> "Shelf":
        self.close()
        return Shelf(self.path)

    def close(self) -> None:
        self.journal.close()
        self.state.close()
