"""A real collector in its own process, an agent that speaks to it, and events to send."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from forks import Forked
from peerwatch import wire
from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc

SECOND = 1_000_000_000
PROGRAM = [sys.executable, "-c", "from collector.cli import main; main()"]


class Events:
    """Makes tables of events of the workload shop/Deployment/cart on one node."""

    of_a_table = 5 + 5 * 3
    """What the rows of `table` stand for: five execs, five connects that stand for three each; the loss for none."""

    def subject(self, pod: int = 0, *, node: str = "node-1", namespace: str = "shop", name: str = "cart") -> Subject:
        return Subject(
            "test",
            node,
            Pod(
                namespace=namespace,
                name=f"{name}-{pod}",
                uid=f"uid-{namespace}-{name}-{pod}",
                ip=f"10.1.0.{pod + 1}",
                workload=Workload("Deployment", name),
                revision="r1",
                created_at=1_700_000_000 * SECOND,
                service_account=name,
                labels=(("app", name), ("tier", "front")),
                annotations=(("peerwatch.dev/owner", "team@example.com"),),
            ),
            Container("app", ContainerKind.APP, f"{pod:064x}", "shop/cart:1", "sha256:0", 1_700_000_001 * SECOND),
        )

    def table(
        self, *, pods: int = 5, begin: int = 0, exe: str = "/usr/bin/date", node: str = "node-1", only: int = -1, **who: str
    ) -> EventColumns:
        """One exec and one connect of each pod (or of the one named), and one loss of the node."""
        begin = begin or time.time_ns()
        builder = ColumnsBuilder()
        for pod in range(pods) if only < 0 else [only]:
            subject = builder.subject(self.subject(pod, node=node, **who))
            process = builder.process(
                pid=100 + pod,
                start_time=begin,
                exe=exe,
                args=[exe, "-u", "it's"],
                cwd="/app",
                uid=1000,
                parent_pid=1,
                parent_exe="/sbin/tini",
                ancestors=["/sbin/tini"],
                flags=1 << 3,
            )
            builder.exec(begin + pod, subject, process)
            builder.connect(
                begin + pod + 1000,
                subject,
                process,
                protocol=1,
                address=bytes(10) + b"\xff\xff\x0a\x00\x00\x09",
                port=5432,
                result=1,
                count=3,
            )
        nobody = builder.subject(Subject("test", node))
        builder.loss(begin + 5000, nobody, reason="RING_FULL", count=17, begin=begin, end=begin + 1)
        return builder.build().sorted_by_time()


class Agent:
    """One stream to a collector, driven step by step."""

    def __init__(self, address: str, *, session: str = "session-1", node: str = "node-1", hello: bool = True) -> None:
        self._requests: queue.Queue[Any] = queue.Queue()
        self._channel = grpc.insecure_channel(address)
        self.responses = ingest_pb2_grpc.IngestServiceStub(self._channel).Stream(iter(self._requests.get, None), timeout=60)
        self.acknowledged = -1
        if hello:
            self.send(ingest_pb2.StreamRequest(hello=ingest_pb2.Hello(cluster="test", node=node, session=session)))
            self.wait(0)

    def send(self, request: ingest_pb2.StreamRequest) -> None:
        self._requests.put(request)

    def batch(self, sequence: int, table: EventColumns | ingest_pb2.EventColumns) -> None:
        columns = wire.encode(table) if isinstance(table, EventColumns) else table
        self.send(ingest_pb2.StreamRequest(batch=ingest_pb2.EventBatch(sequence=sequence, columns=columns)))

    def wait(self, sequence: int) -> int:
        """Wait until this sequence number is acknowledged."""
        while self.acknowledged < sequence:
            self.acknowledged = next(self.responses).acknowledged
        return self.acknowledged

    def store(self, sequence: int, table: EventColumns | ingest_pb2.EventColumns) -> None:
        self.batch(sequence, table)
        self.wait(sequence)

    def close(self) -> None:
        self._requests.put(None)
        self.responses.cancel()
        self._channel.close()


@dataclass
class Daemon:
    """A collector process."""

    data: Path
    options: tuple[str, ...] = ()
    address: str = ""
    process: "subprocess.Popen[str] | Forked | None" = None
    agents: list[Agent] = field(default_factory=list)

    def start(self) -> "Daemon":
        words, output = os.pipe()
        with open(output, "wb") as stdout, (self.data.parent / f"{self.data.name}.log").open("a") as log:  # noqa: PTH123 — a pipe
            self.process = Forked(
                ["collector", "--listen", "127.0.0.1:0", "--data", str(self.data), *self.options],
                env=os.environ,
                stdin=0,
                stdout=stdout.fileno(),
                stderr=log.fileno(),
            )
        self.process.stdout = open(words, encoding="utf-8")  # noqa: PTH123, SIM115 — a pipe; `end` closes it
        line = self.process.stdout.readline()
        assert "listens on" in line, self.log()
        self.address = line.split("listens on ")[1].split(",")[0]
        return self

    def log(self) -> str:
        return (self.data.parent / f"{self.data.name}.log").read_text()

    def agent(self, *, session: str = "session-1", node: str = "node-1", hello: bool = True) -> Agent:
        agent = Agent(self.address, session=session, node=node, hello=hello)
        self.agents.append(agent)
        return agent

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        for agent in self.agents:
            agent.close()
        self.agents.clear()
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code

    def query(self) -> "Query":
        return Query(self.address)

    def status(self) -> query_pb2.GetStatusResponse:
        with self.query() as stub:
            return stub.GetStatus(query_pb2.GetStatusRequest(), timeout=10)


class Query:
    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self.stub = query_pb2_grpc.QueryServiceStub(self._channel)

    def __enter__(self) -> query_pb2_grpc.QueryServiceStub:
        return self.stub

    def __exit__(self, *_: object) -> None:
        self._channel.close()


class Command:
    """Runs `peerwatch` as a user would, into files."""

    def __call__(
        self, *arguments: object, server: str = "", given: str | None = None, cwd: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PEERWATCH_")}
        if server:
            environment["PEERWATCH_SERVER"] = server
        with contextlib.ExitStack() as stack:
            stdin, *outputs = files = [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(3)]
            stdin.write(given or "")
            stdin.seek(0)
            words = [str(each) for each in arguments]
            streams = dict(zip(("stdin", "stdout", "stderr"), (each.fileno() for each in files), strict=True))
            code = Forked(words, env=environment, cwd=cwd, **streams).wait(60)
            for each in outputs:
                each.seek(0)
            return subprocess.CompletedProcess(words, code, *(each.read() for each in outputs))


def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    asked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < deadline, "the condition did not come true"
        time.sleep(max(0.05, now - asked))  # not more than half the time of a processor, whatever is asked
        asked = time.monotonic()
