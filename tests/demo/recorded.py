"""The same story without root: a recording of the demo, sent again by a stand-in for the agent over the agent's protocol.

Events keep their distances and are moved to now, so that the collector cannot tell them from fresh ones.
"""

import re
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import orjson
from peerwatch import jsonlines, wire
from peerwatch.times import format_time, parse_time
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc

from demo.attack import ADDRESS, PORT
from demo.daemons import CLUSTER
from demo.shop import NODE

__all__ = ["RECORDING", "Recording", "Sender", "is_of"]

RECORDING = Path(__file__).parent / "recording.jsonl"
TICK_S = 0.05
"""How often the stand-in sends what is due; an agent is not slower."""

SHELL = "/usr/bin/dash"
"""What the hole starts first, and normal life never."""

Json = dict[str, Any]

_TIME = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"')


@dataclass(frozen=True)
class Recording:
    """Lines in time order with their times, and what a reader of the story has to know."""

    lines: tuple[bytes, ...]
    times: tuple[int, ...]
    attacked: str
    replicas: int
    attack_at: int
    commands: tuple[tuple[int, str], ...]
    """What the attacker ran that nobody had run before, with the time."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a recording and find the attack in it.

        Raises:
            ValueError: there is none.
        """
        events = sorted(_events(path), key=lambda each: each[0])
        cart = [(at, event) for at, _, event in events if _workload(event) == "cart"]
        calls = [event for _, event in cart if _destination(event) == (ADDRESS, PORT)]
        if not calls:
            raise ValueError(f"{path.name} holds no connect to {ADDRESS}:{PORT}: no recording of this demo")
        attacked = calls[0]["pod"]["name"]
        execs = [(at, event) for at, event in cart if "exec" in event and event["pod"]["name"] == attacked]
        begin = min(at for at, event in execs if event["process"]["exe"] == SHELL)
        usual = {event["process"]["exe"] for at, event in cart if at < begin}
        commands = [
            (at, " ".join(event["process"]["args"]))
            for at, event in execs
            if at >= begin and event["process"]["exe"] not in usual
        ]
        return cls(
            lines=tuple(line for _, line, _ in events),
            times=tuple(at for at, _, _ in events),
            attacked=attacked,
            replicas=len({event["pod"]["name"] for _, event in cart}),
            attack_at=begin,
            commands=tuple(commands),
        )


def _events(path: Path) -> Iterator[tuple[int, bytes, Json]]:
    for line in path.read_bytes().splitlines(keepends=True):
        event = orjson.loads(line)
        yield parse_time(event["time"]), line, event


def _workload(event: Json) -> str:
    return str(event.get("pod", {}).get("workload", {}).get("name", ""))


def _destination(event: Json) -> tuple[str, int]:
    connect = event.get("connect", {})
    return connect.get("address", ""), connect.get("port", 0)


def is_of(line: bytes, namespace: str) -> bool:
    """Return whether an event is of a pod of this namespace, or a loss, which may be."""
    event = orjson.loads(line)
    return "loss" in event or event.get("pod", {}).get("namespace") == namespace


def moved(line: bytes, by: int) -> bytes:
    """Return a line with all its times later by so many nanoseconds."""
    return _TIME.sub(lambda match: b'"%b"' % format_time(parse_time(match[1].decode()) + by).encode(), line)


class Sender:
    """Sends a recording at the pace at which it happened, beginning when it is started."""

    def __init__(self, server: str, recording: Recording) -> None:
        self.recording = recording
        self.error = ""
        self.done = threading.Event()
        self._channel = grpc.insecure_channel(server)
        self._shift = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._send, name="sender", daemon=True)

    def start(self) -> None:
        """Begin; the first event happens now."""
        self._shift = time.time_ns() - self.recording.times[0]
        self._thread.start()

    def stop(self) -> None:
        """Stop sending and hang up."""
        self._closed.set()
        self._thread.join(10)
        self._channel.close()

    def here(self, time_ns: int) -> float:
        """Return when something of the recording happens now, seconds since 1970."""
        return (time_ns + self._shift) / 1e9

    def _requests(self) -> Iterator[ingest_pb2.StreamRequest]:
        hello = ingest_pb2.Hello(cluster=CLUSTER, node=NODE, session=uuid.uuid4().hex, agent_version="demo")
        yield ingest_pb2.StreamRequest(hello=hello)
        sent = sequence = 0
        times, lines = self.recording.times, self.recording.lines
        while sent < len(lines) and not self._closed.wait(TICK_S):
            due = sent
            now = time.time_ns() - self._shift
            while due < len(lines) and times[due] <= now:
                due += 1
            for table in jsonlines.read(moved(line, self._shift) for line in lines[sent:due]):
                sequence += 1
                batch = ingest_pb2.EventBatch(sequence=sequence, columns=wire.encode(table))
                yield ingest_pb2.StreamRequest(batch=batch)
            sent = due
        self.done.set()
        self._closed.wait()  # an agent stays connected

    def _send(self) -> None:
        try:
            for _acknowledgement in ingest_pb2_grpc.IngestServiceStub(self._channel).Stream(self._requests()):
                pass  # whole or not at all: who sends a recording has nothing to send again
        except grpc.RpcError as error:
            if not self._closed.is_set():
                self.error = f"the collector refused the recording: {error.code().name}: {error.details()}"
        finally:
            self.done.set()
