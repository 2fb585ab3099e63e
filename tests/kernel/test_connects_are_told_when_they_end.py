"""A TCP connect is told once: with its result, or as under way when that takes longer than anyone wants to wait."""

import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.session import run
from kernel.workload import PYTHON, PYTHON_EXE
from peerwatch.columns import EventKind

from agent.capture.records import Counter
from agent.node import HOLD_NS

pytestmark = pytest.mark.kernel

SILENT = "10.213.0.251"
"""In the containers' own network, at a hardware address that nobody has: what is sent there is not answered, ever."""

ABSENT = "10.213.0.252"
"""In the containers' own network, without a hardware address: that it is absent is known after 3 of the kernel's questions."""

MANY = 4999
"""More than half of the places for connects under way: some of their corners are full."""

CONNECT = """
import errno, os, select, socket, sys, time
def begin(address, port, blocking=False):
    client = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
    client.setblocking(blocking)
    return client, errno.errorcode.get(client.connect_ex((address, port)), 'OK')
def end(client):
    select.select([], [client], [], 9)
    return errno.errorcode.get(client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 'OK')
"""


@contextlib.contextmanager
def waiting(container: Container, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script in a process that lives as long as the context."""
    command = container.exec_command(PYTHON, "-c", CONNECT + script + "\nsys.stdin.read()")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        yield running
        running.communicate()


@pytest.fixture
def client(containers: list[Container]) -> Iterator[Container]:
    """A container from whose network it takes 90 ms to know that a host is absent, until a test says otherwise."""
    _inside(containers[0], "ip", "neigh", "replace", SILENT, "lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", "eth0")
    _inside(containers[0], "ip", "route", "replace", "unreachable", "198.18.0.0/15")
    _ask_every(containers[0], milliseconds=30)
    yield containers[0]
    _ask_every(containers[0], milliseconds=1000)


def test_without_an_answer_it_is_told_once_as_under_way_and_not_before_it_has_had_time(
    capture: Capture, client: Container
) -> None:
    with waiting(client, f"client, _ = begin({SILENT!r}, 7601)"):
        seen = capture.until(lambda seen: bool(seen.connects(7601)))
        now = time.time_ns()
        (row,) = seen.rows(EventKind.CONNECT, port=7601)
        assert now - int(seen.table.time[row]) > HOLD_NS

    seen = capture.until(lambda seen: bool(seen.exits(PYTHON_EXE)))
    assert seen.connects(7601, client.id) == [("TCP", SILENT, "IN_PROGRESS")]


def test_nobody_tells_of_it_unasked(capture: Capture, client: Container) -> None:
    with waiting(client, f"client, _ = begin({SILENT!r}, 7602); begin('127.0.0.1', 7603); print(0, flush=True)") as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        seen = capture.until(lambda seen: bool(seen.connects(7603)), ask=False)

    assert not seen.connects(7602)


def test_an_end_after_it_was_told_as_under_way_is_not_told_again(capture: Capture, client: Container) -> None:
    _ask_every(client, milliseconds=250)
    done = client.exec(PYTHON, "-c", CONNECT + f"client, _ = begin({ABSENT!r}, 7619); print(end(client))")
    assert done.stdout == "EHOSTUNREACH\n"

    # The agent would have asked in between.
    seen = capture.until(lambda seen: bool(seen.exits(PYTHON_EXE)))

    assert len(seen.connects(7619, client.id)) == 1


def test_one_that_ends_while_the_agent_waits_has_its_result(capture: Capture, client: Container) -> None:
    script = f"client, first = begin({ABSENT!r}, 7604); print(first, end(client))"
    assert client.exec(PYTHON, "-c", CONNECT + script).stdout == "EINPROGRESS EHOSTUNREACH\n"

    seen = capture.until(lambda seen: bool(seen.connects(7604)))

    assert seen.connects(7604) == [("TCP", ABSENT, "UNREACHABLE")]


def test_a_blocking_one_that_fails_on_its_way_is_told_once(capture: Capture, client: Container) -> None:
    script = f"for _ in range(3): print(begin({ABSENT!r}, 7605, True)[1])"
    assert client.exec(PYTHON, "-c", CONNECT + script).stdout == "EHOSTUNREACH\n" * 3

    seen = capture.until(lambda seen: len(seen.connects(7605)) >= 3)

    assert seen.connects(7605) == [("TCP", ABSENT, "UNREACHABLE")] * 3


@pytest.mark.parametrize("ending", ["client.close()", "client.shutdown(2)", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_one_that_its_process_gives_up_is_told_once(capture: Capture, client: Container, ending: str) -> None:
    script = f"\nfor number in range(5):\n  if os.fork() == 0: client, _ = begin({SILENT!r}, 7606); {ending}; os._exit(0)\n"
    client.exec(PYTHON, "-c", CONNECT + script + "for number in range(5): os.wait()")

    seen = capture.until(lambda seen: len(seen.connects(7606)) >= 5)

    assert seen.connects(7606) == [("TCP", SILENT, "IN_PROGRESS")] * 5


def test_the_same_socket_may_try_again_and_again(capture: Capture, client: Container) -> None:
    script = f"""
client, _ = begin('127.0.0.1', 7607, True)
for _ in range(4): client.connect_ex(('127.0.0.1', 7607))
with socket.create_server(('127.0.0.1', 7608)): client.connect_ex(('127.0.0.1', 7608))
client.connect_ex(('127.0.0.1', 7608))                          # it is connected: this is none
with socket.socket() as other:
    other.setblocking(False)
    for _ in range(3): other.connect_ex(({SILENT!r}, 7609))     # one that is under way
"""
    client.exec(PYTHON, "-c", CONNECT + script)

    seen = capture.until(lambda seen: bool(seen.connects(7609)))

    assert seen.connects(7607) == [("TCP", "127.0.0.1", "REFUSED")] * 5
    assert seen.connects(7608) == [("TCP", "127.0.0.1", "OK")]
    assert seen.connects(7609) == [("TCP", SILENT, "IN_PROGRESS")]


def test_an_error_that_nobody_fetched_hides_no_later_one(capture: Capture, client: Container) -> None:
    """The first ends behind the back of its process; the last ends within connect(), before a packet is sent."""
    script = f"""
for _ in range(7):
    client, first = begin({ABSENT!r}, 7610)
    print(first, end(client), *(errno.errorcode[client.connect_ex(('198.18.0.1', 7611))] for _ in range(2)))
"""
    # The second only hears that the first has ended.
    assert client.exec(PYTHON, "-c", CONNECT + script).stdout == "EINPROGRESS EHOSTUNREACH ECONNABORTED EHOSTUNREACH\n" * 7

    seen = capture.until(lambda seen: bool(seen.exits(PYTHON_EXE)))

    assert seen.connects(7610) == [("TCP", ABSENT, "UNREACHABLE")] * 7
    assert seen.connects(7611) == [("TCP", "198.18.0.1", "UNREACHABLE")] * 7


def test_one_without_a_free_address_of_its_own_is_told_as_an_error(capture: Capture, client: Container) -> None:
    # Both ends of the second would be those of the first.
    script = """
with socket.create_server(('127.0.0.1', 7612)):
    both = [socket.socket() for _ in range(2)]
    for each in both:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind(('127.0.0.1', 7613))
    print([errno.errorcode.get(each.connect_ex(('127.0.0.1', 7612)), 'OK') for each in both])
"""
    assert client.exec(PYTHON, "-c", CONNECT + script).stdout == "['OK', 'EADDRNOTAVAIL']\n"

    seen = capture.until(lambda seen: len(seen.connects(7612)) >= 2)

    assert sorted(result for _, _, result in seen.connects(7612)) == ["ERROR", "OK"]


def test_more_than_there_are_places_are_told_once_each(capture: Capture, client: Container) -> None:
    """Where four of a kind are under way in one corner of the table, the fifth is told at once."""
    before = capture.probes.current.counters()[Counter.ATTEMPTS_FULL]
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({MANY + 99}, {MANY + 99}))
clients = [begin({SILENT!r}, 7614)[0] for _ in range({MANY})]
print('begun', flush=True)
"""
    with waiting(client, script) as running:
        assert running.stdout is not None
        if not running.stdout.readline():
            pytest.skip(f"needs {MANY} open files: ulimit -Hn")
        capture.until(lambda seen: len(seen.connects(7614)) >= MANY)
    seen = capture.until(lambda seen: bool(seen.exits(PYTHON_EXE)))

    assert seen.connects(7614) == [("TCP", SILENT, "IN_PROGRESS")] * MANY
    assert capture.probes.current.counters()[Counter.ATTEMPTS_FULL] > before


def test_a_socket_in_the_memory_of_one_that_was_closed_does_not_end_its_connect(capture: Capture, client: Container) -> None:
    """A closed socket's memory is used again at once, here by the listening side of the next connection."""
    script = f"""
with socket.create_server(('127.0.0.1', 7615), backlog=100):
    for _ in range(31):
        with socket.socket() as ready:
            begin({SILENT!r}, 7616)[0].close()
            ready.connect(('127.0.0.1', 7615))
"""
    client.exec(PYTHON, "-c", CONNECT + script)

    seen = capture.until(lambda seen: len(seen.connects(7615)) + len(seen.connects(7616)) >= 62)

    assert seen.connects(7615) == [("TCP", "127.0.0.1", "OK")] * 31
    assert seen.connects(7616) == [("TCP", SILENT, "IN_PROGRESS")] * 31


def test_multipath_tcp_is_tcp(capture: Capture, client: Container) -> None:
    script = """
try: socket.socket(proto=262).close()
except OSError: sys.exit(3)
with socket.create_server(('127.0.0.1', 7617), backlog=100):
    for port in (7617, 7618):
        for _ in range(5): socket.socket(proto=262).connect_ex(('127.0.0.1', port))
"""
    if client.exec(PYTHON, "-c", CONNECT + script, check=False).returncode == 3:
        pytest.skip("this kernel has no multipath TCP")

    seen = capture.until(lambda seen: bool(seen.exits(PYTHON_EXE)))

    assert seen.connects(7617) == [("TCP", "127.0.0.1", "OK")] * 5
    assert seen.connects(7618) == [("TCP", "127.0.0.1", "REFUSED")] * 5


def _inside(container: Container, *command: str) -> None:
    run("nsenter", f"--net=/proc/{container.pid}/ns/net", *command)


def _ask_every(container: Container, *, milliseconds: int) -> None:
    """Set how often the kernel asks for a hardware address, three times before it gives up."""
    _inside(container, "sh", "-c", f"echo {milliseconds} > /proc/sys/net/ipv4/neigh/eth0/retrans_time_ms")
    _inside(container, "ip", "neigh", "flush", "to", ABSENT)
