"""Who the agent sends to while it is measured: counts what arrives, exactly and by file and container, and how late it is.

Two of them. `Counting` is an ingest service of our own in a process of its own: it speaks the agents' protocol, acknowledges at
once, and can say what no command of the collector says in one number. `Collecting` is the real collector, asked by
`peerwatch status`: sums of all kinds, but end to end.
"""

import asyncio
import contextlib
import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from peerwatch.columns import EventColumns, EventKind
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc
from peerwatch.wire import decode

__all__ = ["Collecting", "Counting", "Delivered", "Mark", "Receiver"]

ANSWER_S = 60
"""The counting process answers between two batches; longer means that it is dead."""

MAX_MESSAGE = 64 << 20
"""Larger than any batch: what an agent may send is not what is measured here."""

PEERWATCH = Path(sys.executable).parent / "peerwatch"

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Mark:
    """An exec whose first argument begins with `#`: that argument, the file, and whose it was said to be."""

    text: str
    exe: str
    container: str
    pod: str


@dataclass
class Delivered:
    """What arrived since the beginning. `events` counts what rows stand for, by (container id, kind, file)."""

    events: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rows: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    """Batches that came again and were counted once."""
    addresses: Counter[str] = field(default_factory=Counter)
    """Distinct (address, port) of connects, by container id."""
    delays_s: list[float] = field(default_factory=list)
    """From the time that an exec has as its first argument, after `@`, until it arrived."""
    marks: list[Mark] = field(default_factory=list)

    def count(self, kind: str, exe: str = "", container: str = "") -> int:
        """Return how many events there were of a kind, of a file, in a container; empty: of any."""
        return sum(
            count
            for (of, kind_of, exe_of), count in self.events.items()
            if kind in {"", kind_of} and exe in {"", exe_of} and container in {"", of}
        )


class Receiver(Protocol):
    """Where an agent sends."""

    address: str
    exact: bool
    """Whether events can be told by kind, file and container; else all are in one sum."""

    def delivered(self) -> Delivered:
        """Return what arrived so far."""

    def close(self) -> None:
        """End."""


class Counting:
    """An ingest service that counts, in a process of its own."""

    exact = True

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # gRPC and fork do not go together
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.address = f"127.0.0.1:{self._answer(int)}"

    def delivered(self) -> Delivered:
        """Return what arrived so far."""
        self._pipe.send("delivered")
        return self._answer(Delivered)

    def close(self) -> None:
        """End."""
        self._pipe.close()  # it ends by itself when it reads the end
        self._process.join(10)
        self._process.kill()

    def _answer(self, kind: type[_Answer]) -> _Answer:
        if not self._pipe.poll(ANSWER_S):
            raise RuntimeError(f"the counting receiver did not answer in {ANSWER_S} s")
        answer = self._pipe.recv()
        assert isinstance(answer, kind)
        return answer


class Collecting:
    """The real collector, with its data in a folder."""

    exact = False

    def __init__(self, data: Path) -> None:
        command = ["setpriv", "--pdeathsig", "TERM", PEERWATCH, "collector", "--listen", "127.0.0.1:0", "--data", data]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None
        words = self._process.stdout.readline().replace(",", " ").split()
        self.address = next((word for word in words if word.startswith("127.0.0.1:")), "")
        if not self.address:
            raise RuntimeError(f"the collector did not say where it listens: {' '.join(words)!r}")

    def delivered(self) -> Delivered:
        """Return what arrived so far, by `peerwatch status`."""
        command = [PEERWATCH, "status", "--server", self.address, "--output", "json"]
        answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        lost: Counter[str] = Counter()
        for agent in answer.get("agents", []):
            lost.update({reason: int(count) for reason, count in agent.get("lost", {}).items()})
        return Delivered(Counter({("", "any", ""): int(answer.get("events", 0))}), lost=lost)

    def close(self) -> None:
        """End."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _serve(pipe: Connection) -> None:
    """Run in the process of `Counting`: serve agents, answer questions, end when the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the benchmark, which closes the pipe
    asyncio.run(_Service(pipe).run())


class _Service(ingest_pb2_grpc.IngestServiceServicer):
    """Serves `IngestService`, counts, and answers through the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._tally = _Tally()
        self._acknowledged: dict[str, int] = {}
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Serve until the pipe ends."""
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE)])
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._pipe.send(port)
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._asked)
        await self._ended.wait()
        await server.stop(None)

    def _asked(self) -> None:
        try:
            self._pipe.recv()
            self._pipe.send(self._tally.delivered)
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._ended.set()

    async def Stream(self, requests: Any, _context: Any) -> AsyncIterator[ingest_pb2.StreamResponse]:  # noqa: ANN401, N802 — as gRPC calls it
        """Take one agent's stream; a batch that comes again is counted once."""
        session = ""
        with contextlib.suppress(asyncio.CancelledError):
            async for request in requests:
                if request.HasField("hello"):
                    session = request.hello.session
                    yield ingest_pb2.StreamResponse(acknowledged=self._acknowledged.get(session, 0))
                    continue
                if request.batch.sequence > self._acknowledged.get(session, 0):
                    self._tally.add(decode(request.batch.columns), time.time())
                    self._acknowledged[session] = request.batch.sequence
                else:
                    self._tally.delivered.repeated += 1
                yield ingest_pb2.StreamResponse(acknowledged=self._acknowledged[session])


class _Tally:
    """Adds tables up, by columns: it must not be what the agent waits for."""

    def __init__(self) -> None:
        self.delivered = Delivered()
        self._addresses: defaultdict[str, set[bytes]] = defaultdict(set)

    def add(self, table: EventColumns, now: float) -> None:
        """Count a table that arrived at `now`, seconds since 1970."""
        total = self.delivered
        total.rows += len(table)
        for reason, count in zip(table.losses.reason.tolist(), table.losses.count.tolist(), strict=True):
            total.lost[table.strings[reason]] += count
        rows = np.flatnonzero(table.kind != EventKind.LOSS)
        if not len(rows):
            return
        exe = table.processes.exe[table.process[rows]]
        keys, place = np.unique(np.stack([table.subject[rows], table.kind[rows], exe], axis=1), axis=0, return_inverse=True)
        sums = np.bincount(place.reshape(-1), _counts(table)[rows]).astype(np.int64)
        for (subject, kind, name), count in zip(keys.tolist(), sums.tolist(), strict=True):
            total.events[table.subjects[subject].container.id, EventKind(kind).name.lower(), table.strings[name]] += count
        self._note_arguments(table, now)
        self._note_addresses(table)

    def _note_addresses(self, table: EventColumns) -> None:
        ends = np.concatenate([table.connects.address, table.connects.port.reshape(-1, 1).view(np.uint8)], axis=1)
        subjects = table.subject[table.rows_of(EventKind.CONNECT)]
        for subject in np.unique(subjects).tolist():
            container = table.subjects[subject].container.id
            known = self._addresses[container]
            known.update(row.tobytes() for row in np.unique(ends[subjects == subject], axis=0))
            self.delivered.addresses[container] = len(known)

    def _note_arguments(self, table: EventColumns, now: float) -> None:
        rows = table.rows_of(EventKind.EXEC)
        lists, place = np.unique(table.processes.args[table.process[rows]], return_inverse=True)
        for number, index in enumerate(lists.tolist()):
            argument = (table.string_list(index)[1:2] or [""])[0]
            if argument[:1] not in {"@", "#"}:
                continue
            for row in rows[place.reshape(-1) == number].tolist():
                if argument[0] == "@":
                    self.delivered.delays_s.append(now - int(argument[1:]) / 1e9)
                else:
                    subject = table.subjects[table.subject[row]]
                    exe = table.strings[table.processes.exe[table.process[row]]]
                    self.delivered.marks.append(Mark(argument, exe, subject.container.id, subject.pod.name))


def _counts(table: EventColumns) -> npt.NDArray[np.int64]:
    """Return how many events each row stands for."""
    if hasattr(table, "counts"):
        return table.counts()
    counts = np.ones(len(table), np.int64)  # a contract in which only connects are folded
    counts[table.rows_of(EventKind.CONNECT)] = table.connects.count
    return counts
