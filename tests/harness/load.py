"""A steady load whose every event is known: what a container did, and the events that must come of it.

Kinds of events that happen again and again are there, and kinds that happen once: of the former the sums must agree, of the
latter each must be there by itself, so that one lost and one doubled cannot make up for each other.
"""

import json
import subprocess
from collections import Counter
from types import TracebackType
from typing import Any, Self

from harness.containers import Container
from harness.rootfs import Program, compile_c

__all__ = ["NOTHING", "Load", "idle", "stampede"]

NOTHING = "/app/nothing"

_SOURCE = "int main(int count, char **arguments) { return count > 2; }"

# Closed ports refuse; a listener that never accepts leaves whoever comes after the first waiting.
_LOAD = """
import json, os, select, socket, sys, time
pause, counts = float(sys.argv[1]), dict.fromkeys(("once", "again", "refused", "scattered", "served", "sent", "pending"), 0)
listener, full = socket.create_server(("127.0.0.1", 7003)), socket.create_server(("127.0.0.1", 7004), backlog=0)
first = socket.create_connection(("127.0.0.1", 7004))
datagrams = socket.socket(type=socket.SOCK_DGRAM)
waiting = []

def spawn(*arguments):
    os.waitpid(os.posix_spawn("/app/nothing", ["nothing", *arguments], {}), 0)

def refuse(address, port):
    with socket.socket() as client: client.connect_ex((address, port))

def do(what):
    number = counts[what]
    counts[what] += 1
    match what:
        case "once": spawn(str(number))
        case "again": spawn("again", "and again")
        case "refused": refuse("127.0.0.1", 7001)
        case "scattered": refuse(f"127.1.{number >> 8}.{number & 255}", 9)
        case "sent": datagrams.sendto(b"x", ("127.0.0.1", 7002))
        case "served":
            with socket.create_connection(("127.0.0.1", 7003)), listener.accept()[0]: pass
        case "pending":
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", 7004))
            waiting.append(client)
            if len(waiting) > 5: waiting.pop(0).close()

def is_prime(number):
    return number > 1 and all(number % each for each in range(2, int(number ** 0.5) + 1))

turns = 0
while not select.select([sys.stdin], [], [], pause)[0]:
    for what, times in (("once", 1), ("again", 3), ("refused", 5), ("scattered", 1), ("served", 1), ("sent", 2)):
        for _ in range(times): do(what)
    if turns % 16 == 0: do("pending")
    turns += 1
    if turns == 1: print("begun", flush=True)
for what in counts:
    while not is_prime(counts[what]): do(what)
print(json.dumps(counts), flush=True)
"""


def idle() -> Program:
    """Return a program that sleeps, in an image that has what a load executes."""
    return Program(argv=("/usr/bin/sleep", "100000"), files={NOTHING: compile_c(_SOURCE)})


_STAMPEDE = """
import socket, sys, time
for number in range(int(sys.argv[1])):
    with socket.socket() as client: client.connect_ex((f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}", 7005))
    if number % 1000 == 999: time.sleep(0.02)
"""


def stampede(container: Container, number: int) -> None:
    """Have one process connect to so many addresses, 127.0.0.0 and what follows: more than folds have places for."""
    container.exec("/usr/bin/python3", "-c", _STAMPEDE, str(number), timeout=60)


class Load:
    """Runs in a container of `idle` until it is told to finish; then `events` says what it did."""

    def __init__(self, container: Container, *, pause_s: float = 0.02) -> None:
        self.events: Counter[Any] = Counter()
        self._container = container
        self._process = subprocess.Popen(
            container.exec_command("/usr/bin/python3", "-c", _LOAD, str(pause_s)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self.finish()
        else:
            self._process.kill()
            self._process.communicate()

    def finish(self) -> None:
        """Have it go on until each of its counts is a prime number, and end; all its events have happened then."""
        if self._process.poll() is None:
            words, _ = self._process.communicate("\n", timeout=30)
            self.events = _events(json.loads(words))


def _events(counts: dict[str, int]) -> Counter[Any]:
    """Return the events that these counts stand for, in the words of `harness.agents.Delivered`."""
    events: Counter[Any] = Counter()
    for number in range(counts["once"]):
        events["exec", str(number)] = events["exit", str(number), 0] = 1
    events["exec", "again"] = events["exit", "again", 1] = counts["again"]
    events["connect", "TCP", "127.0.0.1", 7001, "REFUSED"] = counts["refused"]
    for number in range(counts["scattered"]):
        events["connect", "TCP", f"127.1.{number >> 8}.{number & 255}", 9, "REFUSED"] = 1
    events["connect", "UDP", "127.0.0.1", 7002, "OK"] = counts["sent"]
    events["connect", "TCP", "127.0.0.1", 7003, "OK"] = counts["served"]
    events["accept", 7003] = counts["served"]
    events["connect", "TCP", "127.0.0.1", 7004, "OK"] = 1
    events["connect", "TCP", "127.0.0.1", 7004, "IN_PROGRESS"] = counts["pending"]
    events["listen", 7003] = events["listen", 7004] = 1
    return events
