from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.rootfs import Program, compile_c
from harness.session import run
from harness.world import World
from peerwatch.columns import EventKind

from agent.capture.probes import Probes

pytestmark = pytest.mark.kernel

PYTHON = "/usr/bin/python3"

# Listeners and connects of one process, all on its container's own loopback. Arguments: family, address, port, how, number.
CONNECTS = """
import select, socket, sys
family, address, port, how, number = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
family = {"4": socket.AF_INET, "6": socket.AF_INET6}[family]
kind = socket.SOCK_DGRAM if how == "udp" else socket.SOCK_STREAM
if how in ("listening", "nonblocking"):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
for _ in range(number):
    with socket.socket(family, kind) as client:
        client.setblocking(how != "nonblocking")
        error = client.connect_ex((address, port))
        if how == "nonblocking":
            select.select([], [client], [], 5)
        print(error)
"""

# connect() through io_uring, without liburing: one submission and one completion at a time.
IO_URING = """
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **args) {
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    int ring = syscall(__NR_io_uring_setup, 4, &p);
    if (ring < 0) { perror("io_uring_setup"); return 3; }
    size_t size = p.sq_off.array + p.sq_entries * 4, completions = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    if (completions > size) size = completions;
    char *sq = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entries = mmap(0, p.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                                        ring, IORING_OFF_SQES);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(args[1]))};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    for (int i = 0; i < atoi(args[2]); i++) {
        unsigned *tail = (unsigned *)(sq + p.sq_off.tail), *head = (unsigned *)(sq + p.cq_off.head);
        unsigned place = *tail & *(unsigned *)(sq + p.sq_off.ring_mask);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        memset(&entries[place], 0, sizeof *entries);
        entries[place].opcode = IORING_OP_CONNECT;
        entries[place].fd = fd;
        entries[place].addr = (unsigned long)&to;
        entries[place].off = sizeof to;
        ((unsigned *)(sq + p.sq_off.array))[place] = place;
        __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
        if (syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0) { perror("io_uring_enter"); return 3; }
        __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
        close(fd);
    }
    return 0;
}
"""


@pytest.mark.parametrize(
    ("family", "address", "port", "how", "number", "expected"),
    [
        ("4", "127.0.0.1", 7001, "listening", 7, ("TCP", "127.0.0.1", "OK")),
        ("4", "127.0.0.1", 7002, "refused", 11, ("TCP", "127.0.0.1", "REFUSED")),
        ("6", "::1", 7003, "listening", 5, ("TCP", "::1", "OK")),
        ("6", "::1", 7004, "refused", 3, ("TCP", "::1", "REFUSED")),
        ("6", "::ffff:127.0.0.1", 7005, "listening", 13, ("TCP", "127.0.0.1", "OK")),
        ("4", "127.0.0.1", 7006, "nonblocking", 17, ("TCP", "127.0.0.1", "OK")),
        ("4", "127.0.0.1", 7007, "udp", 19, ("UDP", "127.0.0.1", "OK")),
        ("6", "::1", 7008, "udp", 23, ("UDP", "::1", "OK")),
        ("4", "198.18.0.1", 7009, "unroutable", 3, ("TCP", "198.18.0.1", "UNREACHABLE")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_prime_number_of_connects_with_address_port_and_result(
    capture: Capture,
    containers: list[Container],
    family: str,
    address: str,
    port: int,
    how: str,
    number: int,
    expected: tuple[str, str, str],
) -> None:
    if how == "unroutable":
        # Its own namespace gets a route that refuses, as a NetworkPolicy or a missing route does.
        inside = f"--net=/proc/{containers[0].pid}/ns/net"
        run("nsenter", inside, "ip", "route", "replace", "unreachable", "198.18.0.0/15")
    containers[0].exec(PYTHON, "-c", CONNECTS, family, address, str(port), how, str(number))

    seen = capture.until(lambda seen: len(seen.connects(port)) >= number)

    assert seen.connects(port, containers[0].id) == [expected] * number
    assert len(seen.connects(port)) == number


def test_connects_through_io_uring(capture: Capture, world: World) -> None:
    program = Program(argv=("/usr/bin/sleep", "100000"), files={"/app/uring": compile_c(IO_URING)})
    with world.deploy("uring", program=program) as deployment:
        container = deployment.replicas[0].container
        done = container.exec("/app/uring", "7011", "29", check=False)
        if done.returncode:
            pytest.skip(f"io_uring cannot be set up here: {done.stderr.strip()}")

        seen = capture.until(lambda seen: len(seen.connects(7011)) >= 29)

        assert seen.connects(7011, container.id) == [("TCP", "127.0.0.1", "REFUSED")] * 29


def test_connects_of_different_containers_are_told_apart(capture: Capture, containers: list[Container]) -> None:
    for container, number in zip(containers, (7, 5), strict=True):
        container.exec(PYTHON, "-c", CONNECTS, "4", "127.0.0.1", "7012", "refused", str(number))

    seen = capture.until(lambda seen: len(seen.connects(7012)) >= 12)

    assert [len(seen.connects(7012, container.id)) for container in containers] == [7, 5]


def test_a_connect_names_its_process_also_when_that_was_there_before_the_probes(world: World, own_pins: Path) -> None:
    script = """
import os, socket, threading, time
while not os.path.exists("/tmp/go"): time.sleep(0.05)
def connect():
    with socket.socket() as s: s.connect_ex(("127.0.0.1", 7013))
threading.Thread(target=connect).start()
time.sleep(1000)
"""
    with world.deploy("early", program=Program(argv=(PYTHON, "-c", script))) as deployment, Probes(own_pins) as probes:
        (deployment.replicas[0].container.rootfs / "tmp/go").touch()

        seen = Capture(probes, world).until(lambda seen: bool(seen.connects(7013)))

        process = int(seen.table.process[seen.table.rows_of(EventKind.CONNECT)[0]])
        assert not seen.execs("/usr/bin/python3.11")
        assert seen.exe(process) == "/usr/bin/python3.11"
        assert seen.args(process) == [PYTHON, "-c", script]
        assert seen.flags(process) == set()  # a thread of the container's first process came from nowhere else


def test_a_connect_that_gets_no_answer_goes_out_in_progress(capture: Capture, containers: list[Container]) -> None:
    # An address of the containers' own network that nobody has: no answer to ARP for three seconds.
    script = "import socket\ns = socket.socket(); s.settimeout(1)\ntry: s.connect(('10.213.0.250', 7014))\nexcept OSError: pass"
    containers[0].exec(PYTHON, "-c", script)

    seen = capture.until(lambda seen: bool(seen.connects(7014)))

    assert [result for _, _, result in seen.connects(7014)] == ["IN_PROGRESS"]
