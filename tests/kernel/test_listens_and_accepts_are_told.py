"""Who waits for connections, and from where they come: each peer once, repeats counted."""

import contextlib
import ipaddress
import subprocess
from collections.abc import Iterator

import pytest
from harness.capture import Capture, Seen
from harness.containers import Container
from harness.world import World
from kernel.workload import PYTHON, PYTHON_EXE
from peerwatch.columns import EventKind, Protocol

pytestmark = pytest.mark.kernel

NUMBER = 211

# Takes so many connections and says when it is ready; `how` is the system call.
SERVE = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None)
def serve(address, port, number, how='accept4', **options):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    with socket.create_server((address, port), family=family, backlog=1000, **options) as server:
        print('ready', flush=True)
        for _ in range(number):
            if how == 'accept4': server.accept()[0].close()
            else: os.close(libc.accept(server.fileno(), None, None))
"""


@contextlib.contextmanager
def serving(container: Container, script: str) -> Iterator[None]:
    """Serve until the script ends."""
    with subprocess.Popen(container.exec_command(PYTHON, "-c", SERVE + script), stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield
        assert server.wait(20) == 0


CONNECT = """
import socket, sys
address, port, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for _ in range(number): socket.create_connection((address, port)).close()
"""


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])  # noqa: S104 — in a container's own network
def test_a_listen_names_address_and_port_at_once(capture: Capture, containers: list[Container], address: str) -> None:
    containers[0].exec(PYTHON, "-c", SERVE + f"serve({address!r}, 7701, 0)")

    seen = capture.until(lambda seen: bool(listens(seen, 7701)), ask=False)

    assert listens(seen, 7701) == [address]
    (row,) = seen.rows(EventKind.LISTEN, port=7701, container=containers[0].id)
    assert seen.exe(int(seen.table.process[row])) == PYTHON_EXE


def test_a_port_that_the_kernel_chose_is_named(capture: Capture, containers: list[Container]) -> None:
    script = "import socket\nwith socket.socket() as server:\n    server.listen(); print(server.getsockname()[1])"
    port = int(containers[0].exec(PYTHON, "-c", script).stdout)

    seen = capture.until(lambda seen: bool(seen.rows(EventKind.LISTEN)))

    assert seen.table.listens.port.tolist() == [port]


def test_a_listen_that_failed_is_none(capture: Capture, containers: list[Container]) -> None:
    # Two sockets may have the same name until one of them listens.
    script = """
import os, socket
both = [socket.socket() for _ in range(2)]
for each in both:
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    each.bind(('127.0.0.1', 7702))
both[0].listen()
if os.fork() == 0:
    try: both[1].listen()
    except OSError: os._exit(7)
print(os.waitstatus_to_exitcode(os.wait()[1]))
socket.create_server(('127.0.0.1', 7703))
"""
    assert containers[0].exec(PYTHON, "-c", script).stdout == "7\n"

    seen = capture.until(lambda seen: bool(listens(seen, 7703)))

    assert listens(seen, 7702) == ["127.0.0.1"]


def test_listening_again_says_no_more_than_once_what_is_known(capture: Capture, containers: list[Container]) -> None:
    script = "for _ in range(7): serve('127.0.0.1', 7704, 0)\nserve('127.0.0.1', 7705, 0)"
    containers[0].exec(PYTHON, "-c", SERVE + script)

    at_once = capture.until(lambda seen: bool(listens(seen, 7705)), ask=False)

    assert listens(at_once, 7704) == ["127.0.0.1"]
    assert len(listens(Seen(capture.read()), 7704)) <= 2


@pytest.mark.parametrize("how", ["accept", "accept4"])
def test_accepts_of_one_peer_add_up(capture: Capture, containers: list[Container], how: str) -> None:
    with serving(containers[0], f"serve('127.0.0.1', 7706, {NUMBER}, {how!r})"):
        containers[0].exec(PYTHON, "-c", CONNECT, "127.0.0.1", "7706", "1")
        at_once = capture.until(lambda seen: bool(accepts(seen, 7706)), ask=False)
        assert accepts(at_once, 7706) == [("TCP", "127.0.0.1")]
        containers[0].exec(PYTHON, "-c", CONNECT, "127.0.0.1", "7706", str(NUMBER - 1))

    seen = capture.until(lambda seen: len(accepts(seen, 7706)) >= NUMBER)

    assert seen.counts(EventKind.ACCEPT, port=7706, container=containers[0].id) == [1, NUMBER - 1]
    assert accepts(seen, 7706) == [("TCP", "127.0.0.1")] * NUMBER
    assert len(seen.connects(7706)) == NUMBER


def test_in_full_every_accept_is_a_line(full_capture: Capture, containers: list[Container]) -> None:
    with serving(containers[0], f"serve('127.0.0.1', 7707, {NUMBER})"):
        client = subprocess.Popen(containers[0].exec_command(PYTHON, "-c", CONNECT, "127.0.0.1", "7707", str(NUMBER)))
        seen = full_capture.until(lambda seen: len(accepts(seen, 7707)) >= NUMBER)
        assert client.wait(20) == 0

    assert seen.counts(EventKind.ACCEPT, port=7707, container=containers[0].id) == [1] * NUMBER


@pytest.mark.parametrize(
    ("listener", "options", "to"),
    [("0.0.0.0", "", "ipv4"), ("::", ", dualstack_ipv6=True", "ipv4"), ("::1", "", "::1")],  # noqa: S104 — its own network
    ids=["v4", "v4-mapped", "v6"],
)
def test_peers_are_named_by_their_address(
    capture: Capture, world: World, containers: list[Container], listener: str, options: str, to: str
) -> None:
    first, second = (_address(world, container) for container in containers)
    address = first if to == "ipv4" else to
    clients = (containers[0], containers[1]) if to == "ipv4" else (containers[0],)
    with serving(containers[0], f"serve({listener!r}, 7708, {5 * len(clients)}{options})"):
        for client in clients:
            client.exec(PYTHON, "-c", CONNECT, address, "7708", "5")

    seen = capture.until(lambda seen: len(accepts(seen, 7708)) >= 5 * len(clients))

    peers = [first, second] if to == "ipv4" else [to]
    assert sorted(accepts(seen, 7708)) == sorted([("TCP", peer) for peer in peers for _ in range(5)])
    assert len(seen.rows(EventKind.ACCEPT, container=containers[0].id)) == len(seen.rows(EventKind.ACCEPT))


def test_a_peer_outside_of_all_containers_is_named(capture: Capture, world: World, containers: list[Container]) -> None:
    with serving(containers[0], "serve('0.0.0.0', 7709, 3)"):
        for _ in range(3):
            world.network.connect(_address(world, containers[0]), 7709).close()

    seen = capture.until(lambda seen: len(accepts(seen, 7709)) >= 3)

    assert accepts(seen, 7709) == [("TCP", world.network.gateway)] * 3


def test_nobody_who_came_is_no_accept(capture: Capture, containers: list[Container]) -> None:
    script = """
import socket
with socket.create_server(('127.0.0.1', 7710)) as server:
    server.setblocking(False)
    for _ in range(5):
        try: server.accept()
        except BlockingIOError: pass
with socket.create_server(('127.0.0.1', 7711)) as server, socket.create_connection(('127.0.0.1', 7711)): server.accept()
"""
    containers[0].exec(PYTHON, "-c", script)

    seen = capture.until(lambda seen: bool(accepts(seen, 7711)))

    assert len(seen.rows(EventKind.ACCEPT)) == 1


def test_sockets_that_are_files_are_no_network(capture: Capture, containers: list[Container]) -> None:
    script = """
import socket
with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
    server.bind(chr(0) + '7712')
    server.listen()
    client.connect(chr(0) + '7712')
    accepted, _ = server.accept()
    client.sendmsg([b'word'])
with socket.create_server(('127.0.0.1', 7713)) as server, socket.create_connection(('127.0.0.1', 7713)): server.accept()
"""
    containers[0].exec(PYTHON, "-c", script)

    seen = capture.until(lambda seen: bool(accepts(seen, 7713)))

    assert [len(seen.rows(kind)) for kind in (EventKind.LISTEN, EventKind.CONNECT, EventKind.ACCEPT)] == [1, 1, 1]


def listens(seen: Seen, port: int) -> list[str]:
    """Return the address of each listen on a port."""
    places = seen.table.places()[seen.rows(EventKind.LISTEN, port=port)]
    assert set(seen.table.listens.protocol[places].tolist()) <= {Protocol.TCP}
    return [_text(seen.table.listens.address[place].tobytes()) for place in places]


def accepts(seen: Seen, port: int) -> list[tuple[str, str]]:
    """Return (protocol, peer) of each accept on a port."""
    columns = seen.table.accepts
    return [
        (Protocol(columns.protocol[place]).name, _text(columns.address[place].tobytes()))
        for place in seen.table.places()[seen.rows(EventKind.ACCEPT, port=port)]
        for _ in range(int(columns.count[place]))
    ]


def _text(address: bytes) -> str:
    v6 = ipaddress.IPv6Address(address)
    return str(v6.ipv4_mapped or v6)


def _address(world: World, container: Container) -> str:
    replicas = (replica for deployment in world.deployments for replica in deployment.replicas)
    return next(replica.ip for replica in replicas if replica.container is container)
