"""Programs of 32 bits: their system calls have other numbers, and tracepoints of single calls leave them out."""

import platform
import subprocess
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.rootfs import Program, compile_c
from harness.world import World

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="needs a processor that runs programs of i386"),
]

# No C library of 32 bits is needed: _start() and system calls by `int 0x80` (asm/unistd_32.h). Connects and sends to 127.0.0.1,
# each by a call of its own and through socketcall(). Its code is 10 for each connect that was refused, 1 for each message sent.
SOURCE = """
static int sixth = 16; /* the length of an address; the sixth register cannot be named in C */

static int call(int number, int a, int b, int c, int d, int e) {
    int result;
    __asm__ volatile("push %%ebp\\n mov sixth, %%ebp\\n int $0x80\\n pop %%ebp"
                     : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), "m"(sixth) : "memory");
    return result;
}

static struct { unsigned short family, port; unsigned address; char unused[8]; } to = {2, 0, 0x0100007f};

static int by_calls_of_its_own(int kind, unsigned short port) { /* socket, connect, sendto */
    to.port = port << 8 | port >> 8;
    int fd = call(359, 2, kind, 0, 0, 0);
    return kind == 1 ? call(362, fd, (int)&to, 16, 0, 0) : call(369, fd, (int)"word", 4, 0, (int)&to);
}

static int by_socketcall(int kind, unsigned short port) {
    to.port = port << 8 | port >> 8;
    int socket[3] = {2, kind, 0};
    int fd = call(102, 1, (int)socket, 0, 0, 0);
    int connect[3] = {fd, (int)&to, 16}, send[6] = {fd, (int)"word", 4, 0, (int)&to, 16};
    return kind == 1 ? call(102, 3, (int)connect, 0, 0, 0) : call(102, 11, (int)send, 0, 0, 0);
}

void _start(void) {
    int refused = (by_calls_of_its_own(1, 7961) == -111) + (by_socketcall(1, 7962) == -111);
    int sent = (by_calls_of_its_own(2, 7963) == 4) + (by_socketcall(2, 7964) == 4);
    call(1, 10 * refused + sent, 0, 0, 0, 0);
}
"""
FLAGS = ("-m32", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-fomit-frame-pointer")


def test_their_execs_exits_and_tcp_connects_are_and_datagrams_are_not(capture: Capture, world: World) -> None:
    narrow = compile_c(SOURCE, *FLAGS)
    if not _runs(narrow):
        pytest.skip("this kernel runs no programs of 32 bits: CONFIG_IA32_EMULATION is off")
    program = Program(argv=("/usr/bin/sleep", "100000"), files={"/app/narrow": narrow})
    with world.deploy("narrow", program=program) as deployment:
        container = deployment.replicas[0].container
        container.exec("/app/narrow", check=False)

        seen = capture.until(lambda seen: bool(seen.exits("/app/narrow") and seen.connects(7962)))

        assert len(seen.execs("/app/narrow", container.id)) == 1
        assert seen.exits("/app/narrow", container.id) == [(22, 0)]
        assert [seen.connects(port, container.id) for port in (7961, 7962)] == [[("TCP", "127.0.0.1", "REFUSED")]] * 2
        assert [seen.connects(port) for port in (7963, 7964)] == [[], []]  # as `check` says: if they are, it must be told


def _runs(program: Path) -> bool:
    try:
        return subprocess.run([program], check=False).returncode == 22
    except OSError:
        return False
