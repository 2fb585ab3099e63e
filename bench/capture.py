"""What capturing costs: CPU per event in the kernel (BPF run time) and in the agent, and how many events arrive.

Loads run in a real container: `exec` = vfork + execve of a program of three instructions, `connect` = TCP connect to a closed
loopback port. The agent streams to a real collector. Rounds with and without the agent alternate; a machine's drift then
meets both. Operations per second are noise on a shared machine: read the CPU per event and the counts.

    bench/run.py capture --rounds 5 --seconds 5
"""

import ctypes
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.containers import Container
from harness.rootfs import Program, compile_c
from harness.session import missing
from harness.world import World

from agent.capture.pins import LINKS, open_pin, unpin_all

COMMANDS = Path(sys.executable).parent
PINS = Path("/sys/fs/bpf/peerwatch-bench")
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")

TINY = 'void _start(void) { __asm__ volatile("mov $60, %eax; xor %edi, %edi; syscall"); }'
LOADS = {
    "exec": """
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **args) {
    time_t end = time(0) + atoi(args[1]);
    long done = 0;
    while (time(0) < end) {
        pid_t child = vfork();
        if (child == 0) { execl("/app/tiny", "tiny", "argument", (char *)0); _exit(1); }
        waitpid(child, 0, 0);
        done++;
    }
    printf("%ld\\n", done);
}""",
    "connect": """
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **args) {
    time_t end = time(0) + atoi(args[1]);
    long done = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x7f000001)};
    while (time(0) < end) {
        for (int i = 0; i < 100; i++, done++) {
            int s = socket(AF_INET, SOCK_STREAM, 0);
            connect(s, (struct sockaddr *)&to, sizeof to);
            close(s);
        }
    }
    printf("%ld\\n", done);
}""",
}


@dataclass
class Round:
    """One run of a load."""

    load: str
    agent: bool
    operations: int
    seconds: float
    bpf_ns: int = 0
    agent_ns: int = 0
    lost: int = 0


def run_time() -> int:
    """Return the nanoseconds that our programs have run, over all CPUs."""
    (pins,) = PINS.iterdir()  # named by the version of the probes
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    total = 0
    for name in LINKS:
        link = open_pin(pins / name)
        info = (ctypes.c_uint32 * 16)()  # struct bpf_link_info begins: type, id, prog_id
        length = ctypes.c_uint32(ctypes.sizeof(info))
        if libbpf.bpf_obj_get_info_by_fd(link, info, ctypes.byref(length)) < 0:
            raise OSError(ctypes.get_errno(), f"cannot ask about {name}")
        program = libbpf.bpf_prog_get_fd_by_id(info[2])
        lines = Path(f"/proc/self/fdinfo/{program}").read_text().splitlines()
        total += int(next(line.split()[1] for line in lines if line.startswith("run_time_ns")))
        for descriptor in (program, link):
            libc_close(descriptor)
    return total


def libc_close(descriptor: int) -> None:
    """Close a file descriptor that a library opened."""
    ctypes.CDLL(None).close(descriptor)


def cpu_ns(pid: int) -> int:
    """Return the CPU time of all threads of a process (schedstat: exact, not sampled)."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


@contextmanager
def daemons(world: World, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run collector and agent; yield the agent's process and the collector's address."""
    collector = subprocess.Popen(
        [COMMANDS / "peerwatch", "collector", "--listen", "127.0.0.1:0", "--data", folder / "data"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert collector.stdout is not None
    address = next(word for word in collector.stdout.readline().replace(",", " ").split() if word.startswith("127.0.0.1:"))
    command = ["run", "--collector", address, "--pods", world.pods_file, "--node", world.node, "--pin-dir", PINS]
    agent = subprocess.Popen([COMMANDS / "peerwatch-agent", *command], stderr=subprocess.PIPE)
    assert agent.stderr is not None
    while b"capturing" not in (line := agent.stderr.readline()):
        if not line:
            raise RuntimeError("the agent ended before it captured")
    try:
        yield agent, address
    finally:
        for process in (agent, collector):
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        unpin_all(PINS)


def status(address: str) -> tuple[int, int]:
    """Return how many events the collector has and how many the agent reported lost."""
    line = subprocess.run(
        [COMMANDS / "peerwatch", "status", "--server", address, "--output", "json"], capture_output=True, text=True, check=True
    ).stdout
    answer = json.loads(line)
    lost = sum(int(count) for agent in answer.get("agents", []) for count in agent.get("lost", {}).values())
    return int(answer.get("events", 0)), lost


def measure(container: Container, load: str, seconds: int, agent: subprocess.Popen[bytes] | None, address: str) -> Round:
    """Run one round of a load."""
    bpf, cpu, lost = (run_time(), cpu_ns(agent.pid), status(address)[1]) if agent else (0, 0, 0)
    begin = time.monotonic()
    operations = int(container.exec(f"/app/{load}", str(seconds), timeout=seconds + 60).stdout)
    result = Round(load, agent is not None, operations, time.monotonic() - begin)
    if agent:
        settle(agent.pid)
        result.bpf_ns, result.agent_ns = run_time() - bpf, cpu_ns(agent.pid) - cpu
        result.lost = status(address)[1] - lost
    return result


def settle(pid: int) -> None:
    """Wait until the agent has worked off what it holds: its CPU use stops rising."""
    before = -1
    while (now := cpu_ns(pid)) - before > 20_000_000:
        before = now
        time.sleep(1.5)


def main(rounds: int, seconds: int, results: Path) -> None:
    """Measure all loads; print a table, append a line of JSON per figure to `results`."""
    reason = missing()
    if reason:
        print(f"capture: skipped: {reason}")
        return
    before = STATS.read_text()
    STATS.write_text("1")
    taken: list[Round] = []
    try:
        programs = {f"/app/{name}": compile_c(source) for name, source in LOADS.items()}
        files = programs | {"/app/tiny": compile_c(TINY, "-nostdlib")}
        with tempfile.TemporaryDirectory() as folder, World() as world:
            deployment = world.deploy("load", program=Program(argv=("/usr/bin/sleep", "100000"), files=files))
            container = deployment.replicas[0].container
            for number in range(rounds):
                order = [(load, with_agent) for load in LOADS for with_agent in (False, True)]
                random.shuffle(order)
                for load, with_agent in order:
                    if with_agent:
                        with daemons(world, Path(folder) / f"{number}-{load}") as (agent, address):
                            taken.append(measure(container, load, seconds, agent, address))
                    else:
                        taken.append(measure(container, load, seconds, None, ""))
                    print(f"capture: round {number + 1}/{rounds}: {taken[-1]}", file=sys.stderr)
    finally:
        STATS.write_text(before)
    report(taken, results)


def report(taken: list[Round], results: Path) -> None:
    """Print medians and ranges."""
    print(f"{'load':<8} {'BPF µs/event':>22} {'agent µs/event':>24} {'lost':>10} {'ops/s with/without':>19}")
    for load in LOADS:
        with_agent = [each for each in taken if each.load == load and each.agent]
        without = [each for each in taken if each.load == load and not each.agent]
        figures = {
            "bpf_us_per_event": [each.bpf_ns / 1e3 / each.operations for each in with_agent],
            "agent_us_per_event": [each.agent_ns / 1e3 / each.operations for each in with_agent],
            "lost_share": [each.lost / each.operations for each in with_agent],
            "slowdown": [
                (one.operations / one.seconds) / (other.operations / other.seconds)
                for one, other in zip(with_agent, without, strict=True)
            ],
        }
        cells = {name: (sorted(values)[len(values) // 2], min(values), max(values)) for name, values in figures.items()}
        with results.open("a") as stream:
            for name, (median, least, most) in cells.items():
                line = {"bench": "capture", "load": load, "figure": name, "median": median, "min": least, "max": most}
                stream.write(json.dumps(line | {"rounds": len(with_agent), "raw": figures[name]}) + "\n")
        text = {name: f"{median:.2f} ({least:.2f} to {most:.2f})" for name, (median, least, most) in cells.items()}
        print(
            f"{load:<8} {text['bpf_us_per_event']:>24} {text['agent_us_per_event']:>28} "
            f"{cells['lost_share'][0]:>8.1%} {text['slowdown']:>24}"
        )
