"""What a process has io_uring do is told like what it does itself: sends, connects, accepts, listens, whichever way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.capture import Capture, Seen
from harness.containers import Container, run
from harness.rootfs import Program, compile_c
from harness.world import World
from peerwatch.columns import EventKind

from agent.capture.btf import VMLINUX, Btf
from agent.capture.offsets import offset_macros
from agent.capture.pins import ANCHORS, URING_TRACEPOINTS
from agent.capture.probes import Probes

pytestmark = pytest.mark.kernel

URING = "/app/uring"

# `uring WHAT PORT NUMBER`, without liburing: one submission after the other. Its code is 3 if there is no io_uring.
SOURCE = r"""
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

#define LISTEN 57 /* IORING_OP_LISTEN is younger than many systems' headers */

static struct io_uring_params p;
static struct io_uring_sqe *entries, *entry;
static char *queue;
static int ring, descriptors[2];
static struct sockaddr_in to = {.sin_family = AF_INET};

static unsigned *word(unsigned offset) { return (unsigned *)(queue + offset); }

static struct io_uring_sqe *begin(int operation, int fd) {
    unsigned place = *word(p.sq_off.tail) & *word(p.sq_off.ring_mask);
    word(p.sq_off.array)[place] = place;
    entry = memset(&entries[place], 0, sizeof *entries);
    entry->opcode = operation;
    entry->fd = fd;
    return entry;
}

static void submit(void) {
    __atomic_store_n(word(p.sq_off.tail), *word(p.sq_off.tail) + 1, __ATOMIC_RELEASE);
    int sleeping = p.flags & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0;
    if (syscall(__NR_io_uring_enter, ring, 1, 0, sleeping, 0, 0) < 0) exit(4);
}

static int finish(void) {
    while (__atomic_load_n(word(p.cq_off.tail), __ATOMIC_ACQUIRE) == *word(p.cq_off.head))
        if (syscall(__NR_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0) exit(5);
    unsigned head = *word(p.cq_off.head);
    int result = ((struct io_uring_cqe *)word(p.cq_off.cqes))[head & *word(p.cq_off.ring_mask)].res;
    __atomic_store_n(word(p.cq_off.head), head + 1, __ATOMIC_RELEASE);
    return result;
}

static int expect(int good) {
    int result = finish();
    if (!good) return result;
    if (result < 0) { fprintf(stderr, "%s\n", strerror(-result)); exit(6); }
    return result;
}

static int listener(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&to, sizeof to)) exit(7);
    return fd;
}

static void visit(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) exit(8);
    close(fd);
}

int main(int count, char **args) {
    const char *what = args[1];
    int number = atoi(args[3]);
    to.sin_port = htons(atoi(args[2]));
    inet_pton(AF_INET, strcmp(what, "unroutable") ? "127.0.0.1" : "198.18.0.1", &to.sin_addr);
    if (!strcmp(what, "poll")) p.flags = IORING_SETUP_SQPOLL;
    ring = syscall(__NR_io_uring_setup, 4, &p);
    if (ring < 0) { perror("io_uring_setup"); return 3; }
    size_t size = p.sq_off.array + p.sq_entries * 4, completions = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    if (completions > size) size = completions;
    queue = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    entries = mmap(0, p.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);

    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    struct iovec text = {.iov_base = "word", .iov_len = 4};
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &text, .msg_iovlen = 1};
    if (!strcmp(what, "multishot")) {
        int fd = listener();
        if (listen(fd, 16)) return 9;
        begin(IORING_OP_ACCEPT, fd)->ioprio = IORING_ACCEPT_MULTISHOT;
        submit();
        for (int i = 0; i < number; i++) { visit(); expect(1); }
    } else if (!strcmp(what, "accept") || !strcmp(what, "direct")) {
        int fd = listener(), files[1] = {-1};
        if (listen(fd, 16)) return 9;
        if (*what == 'd' && syscall(__NR_io_uring_register, ring, IORING_REGISTER_FILES, files, 1) < 0) return 10;
        for (int i = 0; i < number; i++) {
            visit();
            begin(IORING_OP_ACCEPT, fd)->file_index = *what == 'd';
            submit();
            expect(1);
        }
    } else if (!strcmp(what, "listen")) {
        int fd = listener();
        begin(LISTEN, fd)->len = 16;
        submit();
        expect(1);
    } else if (!strcmp(what, "unroutable") || !strcmp(what, "connect")) {
        for (int i = 0; i < number; i++) {
            int fd = socket(AF_INET, *what == 'c' ? SOCK_DGRAM : SOCK_STREAM, 0);
            begin(IORING_OP_CONNECT, fd);
            entry->addr = (unsigned long)&to;
            entry->off = sizeof to;
            submit();
            expect(*what == 'c');
            close(fd);
        }
    } else {
        if (!strcmp(what, "fixed") && syscall(__NR_io_uring_register, ring, IORING_REGISTER_FILES, &udp, 1) < 0) return 11;
        if (!strcmp(what, "connected") && connect(udp, (struct sockaddr *)&to, sizeof to)) return 12;
        for (int i = 0; i < number; i++) {
            if (!strcmp(what, "sendmsg")) {
                begin(IORING_OP_SENDMSG, udp)->addr = (unsigned long)&message;
                entry->len = 1;
            } else {
                begin(!strcmp(what, "zerocopy") ? IORING_OP_SEND_ZC : IORING_OP_SEND, !strcmp(what, "fixed") ? 0 : udp);
                entry->addr = (unsigned long)"word";
                entry->len = 4;
                if (strcmp(what, "connected")) { entry->addr2 = (unsigned long)&to; entry->addr_len = sizeof to; }
            }
            if (!strcmp(what, "fixed")) entry->flags = IOSQE_FIXED_FILE;
            if (!strcmp(what, "silent")) entry->flags = IOSQE_CQE_SKIP_SUCCESS;
            submit();
            if (strcmp(what, "silent")) expect(strcmp(what, "connected"));
            if (!strcmp(what, "zerocopy")) expect(1); /* that the memory is free again */
        }
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def container(world: World) -> Iterator[Container]:
    if "REQUEST_OPCODE" not in offset_macros(Btf(VMLINUX), "x86_64"):
        pytest.skip("this kernel's io_uring has no tracepoints, or others: `peerwatch-agent check` says so")
    program = Program(argv=("/usr/bin/sleep", "100000"), files={URING: compile_c(SOURCE)})
    with world.deploy("io-uring", program=program) as deployment:
        yield deployment.replicas[0].container


def ask(container: Container, what: str, port: int, number: int) -> None:
    done = container.exec(URING, what, str(port), str(number), check=False)
    if done.returncode == 3:
        pytest.skip(f"io_uring cannot be set up here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("what", "port"),
    [
        ("send", 7801),
        ("sendmsg", 7802),
        ("zerocopy", 7803),
        ("fixed", 7804),
        ("silent", 7805),
        ("poll", 7806),
        ("connect", 7807),
    ],
)
def test_udp_is_told_by_address(capture: Capture, container: Container, what: str, port: int) -> None:
    ask(container, what, port, 23)

    seen = capture.until(lambda seen: len(seen.connects(port)) >= 23)

    assert seen.connects(port, container.id) == [("UDP", "127.0.0.1", "IN_PROGRESS")] * 23
    assert seen.counts(EventKind.CONNECT, port=port) == [1, 22]
    assert {seen.exe(int(seen.table.process[row])) for row in seen.rows(EventKind.CONNECT, port=port)} == {URING}


def test_what_a_connected_socket_sends_is_told_once_by_its_connect(capture: Capture, container: Container) -> None:
    ask(container, "connected", 7808, 23)

    seen = capture.until(lambda seen: bool(seen.exits(URING)))

    assert seen.connects(7808, container.id) == [("UDP", "127.0.0.1", "OK")]


def test_a_connect_without_a_route_is_told_with_its_result(capture: Capture, container: Container) -> None:
    run("nsenter", f"--net=/proc/{container.pid}/ns/net", "ip", "route", "replace", "unreachable", "198.18.0.0/15")
    ask(container, "unroutable", 7809, 23)

    seen = capture.until(lambda seen: len(seen.connects(7809)) >= 23)

    assert seen.connects(7809, container.id) == [("TCP", "198.18.0.1", "UNREACHABLE")] * 23


@pytest.mark.parametrize(("what", "port"), [("accept", 7811), ("multishot", 7812), ("direct", 7813)])
def test_accepts_are_told_however_the_connection_is_wanted(
    capture: Capture, container: Container, what: str, port: int
) -> None:
    ask(container, what, port, 23)

    seen = capture.until(lambda seen: bool(seen.exits(URING)))

    assert sum(accepts(seen, port)) == 23
    assert [str(each) for each in seen.connects(port)] == [str(("TCP", "127.0.0.1", "OK"))] * 23


def test_a_listen_is_told(capture: Capture, container: Container) -> None:
    ask(container, "listen", 7814, 1)

    seen = capture.until(lambda seen: bool(seen.exits(URING)))

    assert len(seen.rows(EventKind.LISTEN, port=7814, container=container.id)) == 1


def test_in_full_every_send_is_a_line(full_capture: Capture, container: Container) -> None:
    ask(container, "send", 7815, 23)

    seen = full_capture.until(lambda seen: len(seen.connects(7815)) >= 23)

    assert seen.counts(EventKind.CONNECT, port=7815) == [1] * 23


def test_anchors_of_a_version_that_knew_nothing_of_it_stay_and_get_what_they_lack(
    world: World, own_pins: Path, container: Container
) -> None:
    with Probes(own_pins):
        pass
    anchors = own_pins / ANCHORS
    for name in (*URING_TRACEPOINTS, "uring_programs"):
        (anchors / name).unlink()
    before = sorted(path.name for path in anchors.iterdir())

    with Probes(own_pins) as probes:
        capture = Capture(probes, world)
        ask(container, "send", 7816, 23)
        seen = capture.until(lambda seen: len(seen.connects(7816)) >= 23)

    assert seen.connects(7816, container.id) == [("UDP", "127.0.0.1", "IN_PROGRESS")] * 23
    assert sorted({*before, *URING_TRACEPOINTS, "uring_programs"}) == sorted(path.name for path in anchors.iterdir())


def accepts(seen: Seen, port: int) -> list[int]:
    """Return how many accepts each row on a port stands for."""
    return seen.counts(EventKind.ACCEPT, port=port)
