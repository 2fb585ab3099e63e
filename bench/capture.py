"""What capturing costs, side by side: peerwatch with and without folding, libbpf-tools' execsnoop, bpftrace, and nothing.

CPU for each event is what is judged: run time of the system's BPF programs and CPU time of its processes, divided by what the
load says that it did. Operations a second stand beside it only: on a shared machine they are noise. Systems take turns in
shuffled rounds, so that what drifts meets all of them. See README.md.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from figures import Figure, Run, compare, judge, table
from harness.containers import Container
from harness.deployment import Replica
from harness.rootfs import Program
from harness.session import missing
from harness.world import World
from loads import LOADS, Load, programs
from measure import bpf_statistics, tracing_programs
from receiver import Delivered
from resident import Sizes, measure_resident
from systems import SYSTEMS, Place, Running, absent, start

__all__ = ["NotHereError", "main", "options"]

PARTS = (*LOADS, "resident")

QUIET_S = 1.5
"""Longer than the second in which folded counts go out."""


class NotHereError(Exception):
    """This machine cannot run the benchmark; the text says why."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--only", type=_names(PARTS), default=PARTS, metavar="PART,…", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--systems", type=_names(SYSTEMS), default=SYSTEMS, metavar="NAME,…", help=f"of: {', '.join(SYSTEMS)}")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each load under each system (default 3)")
    parser.add_argument("--seconds", type=float, default=5, metavar="S", help="length of one run (default 5)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes of a load (default: one for each CPU)")
    parser.add_argument(
        "--collector",
        choices=["counting", "real"],
        default="counting",
        help="who receives: an exact counter of events by kind and file (default), or the real collector, in sums of all kinds",
    )
    parser.add_argument("--pairs", type=int, default=100_000, metavar="N", help="distinct destinations (default 100,000)")
    parser.add_argument("--pair-seconds", type=float, default=60, metavar="S", help="in this time (default 60)")
    parser.add_argument("--known", type=int, default=500, metavar="N", help="containers in the metadata (default 500)")
    parser.add_argument("--quiet", type=int, default=200, metavar="N", help="running containers without events (default 200)")
    parser.add_argument("--idle-seconds", type=float, default=20, metavar="S", help="over which idle CPU is taken (default 20)")
    parser.add_argument("--churn", type=int, default=100_000, metavar="N", help="execs of the churn (default 100,000)")
    parser.add_argument("--short", type=int, default=1000, metavar="N", help="containers that live for 20 ms (default 1,000)")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="of the order of runs (default: by chance)")


def _names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return parse


def main(chosen: argparse.Namespace, results: Path) -> int:
    """Measure, print tables, add lines of JSON to `results`; return 1 if a run could not be finished.

    Raises:
        NotHereError: without root, or without what containers need.
    """
    reason = missing()
    if reason:
        raise NotHereError(reason)
    with contextlib.ExitStack() as stack, results.open("a") as stream:
        # Outermost: who ends the benchmark by a signal unwinds through it.
        world = stack.enter_context(World())
        try:
            stack.enter_context(bpf_statistics())
        except OSError as error:
            raise NotHereError(f"{error.strerror}: needs a kernel from 5.8 on, libbpf 1, and CAP_SYS_ADMIN") from None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerwatch-bench-")))
        place = Place(world, world.session.path / "bench-pods.json", folder, chosen.collector)
        bench = _Bench(chosen, place, lambda line: print(json.dumps(line), file=stream, flush=True))
        return bench.run()


class _Bench:
    """One run of the benchmark."""

    def __init__(self, chosen: argparse.Namespace, place: Place, write: Callable[[dict[str, object]], None]) -> None:
        self._chosen = chosen
        self._place = place
        self._write = write
        self._files = programs()
        self._replicas: dict[int, Replica] = {}
        self._failed = 0

    def run(self) -> int:
        """Run everything; print what came out."""
        others = tracing_programs()
        self._write(self._machine(others))
        if others:
            names = ", ".join(sorted(set(others))[:5])
            _say(f"{len(others)} BPF programs of others trace on this machine and slow every system, none included: {names} …")
        systems = [name for name in self._chosen.systems if not self._skip(name)]
        runs = self._rounds(systems)
        figures = compare(runs)
        if "resident" in self._chosen.only:
            figures += self._resident(systems)
        for figure in figures:
            self._write({"bench": "capture"} | figure.line())
        print("\n".join([*table(runs), "", *judge(figures)]))
        return 1 if self._failed else 0

    def _machine(self, others: list[str]) -> dict[str, object]:
        return {
            "bench": "capture",
            "type": "machine",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "load": os.getloadavg()[0],
            "others": others,
            "options": {name: value for name, value in vars(self._chosen).items() if name != "names"},
        }

    def _skip(self, system: str) -> bool:
        reason = absent(system)
        if reason:
            _say(f"without {system}: {reason}")
        return bool(reason)

    def _replica(self, user: int) -> Replica:
        """Return the pod that the loads of a user run in."""
        if user not in self._replicas:
            program = Program(argv=("/app/quiet",), files=self._files, user=user)
            self._replicas[user] = self._place.world.deploy(f"load-{user}", program=program).replicas[0]
            self._place.pods_file.write_bytes(self._place.world.pods_file.read_bytes())
        return self._replicas[user]

    def _rounds(self, systems: list[str]) -> list[Run]:
        chance = random.Random(self._chosen.seed)
        loads = [LOADS[name] for name in self._chosen.only if name in LOADS]
        if shutil.which("stress-ng") is None and LOADS["stress"] in loads:
            _say("without stress: stress-ng is not installed; on Debian: apt-get install stress-ng")
            loads.remove(LOADS["stress"])
        if absent("peerwatch"):  # then the other is what there is
            loads = [replace(load, systems=tuple(sorted({*load.systems, "peerwatch-full"} - {"peerwatch"}))) for load in loads]
        runs: list[Run] = []
        for number in range(1, self._chosen.rounds + 1):
            turns = [
                (load, system)
                for load in loads
                for system in load.systems
                if system in systems and (load.name != "pairs" or number == 1)
            ]
            chance.shuffle(turns)
            for load, system in turns:
                try:
                    run = self._measure(number, load, system)
                except (RuntimeError, OSError) as error:
                    self._failed += 1
                    _say(f"round {number}/{self._chosen.rounds}: {load.name} under {system} failed: {error}")
                    continue
                runs.append(run)
                self._write({"bench": "capture", "type": "run"} | asdict(run))
                _say(
                    f"round {number}/{self._chosen.rounds}: {load.name:<8} {system:<15} {run.cpu_us:8.2f} µs "
                    f"(BPF {run.bpf_us:.2f}), {run.rate:,.0f}/s, {run.operations:,} operations, "
                    f"{'' if run.delivered is None else f'{run.delivered:,} delivered, '}{run.lost_events:,} lost"
                )
        return runs

    def _measure(self, number: int, load: Load, system: str) -> Run:
        container = self._replica(load.user).container
        seconds = min(load.longest_s, self._chosen.pair_seconds if load.name == "pairs" else self._chosen.seconds)
        with (
            start(system, load.name, self._place) as running,
            load.begin(
                container,
                seconds,
                *([str(self._chosen.pairs)] if load.name == "pairs" else []),
                workers=self._chosen.workers,
            ) as waiting,
        ):
            running.settle(QUIET_S)
            resident = running.memory().resident
            delivered, ran, cpu = running.delivered(), running.ran(), running.cpu_ns()
            operations = waiting.go()
            own = running.ran()  # before anything else is executed
            running.settle(QUIET_S)
            ran, cpu = (own if load.kind == "" else running.ran()) - ran, running.cpu_ns() - cpu
            now, after = running.memory(), running.delivered()
            return Run(
                round=number,
                load=load.name,
                unit=load.unit,
                system=system,
                operations=operations.count,
                elapsed_ns=operations.elapsed_ns,
                load_ns=operations.cpu_ns,
                bpf_ns=ran.time_ns,
                bpf_runs=ran.runs,
                bpf_missed=ran.missed,
                reader_ns=cpu,
                delivered=_arrived(running, load, container, delivered, after),
                told=running.receiver is None or running.receiver.exact,
                rows=after.rows - delivered.rows,
                addresses=after.addresses[container.id] - delivered.addresses[container.id],
                repeated=after.repeated - delivered.repeated,
                lost=dict(after.lost - delivered.lost),
                resident_before=resident,
                resident=now.resident,
                anonymous=now.anonymous,
                peak=now.peak,
                map_bytes=running.objects.map_bytes(),
                start_s=running.started.seconds,
                start_cpu_s=running.started.cpu_seconds,
                loader_peak=running.started.child_peak,
                delays_s=after.delays_s[len(delivered.delays_s) :],
            )

    def _resident(self, systems: list[str]) -> list[Figure]:
        ours = [name for name in systems if name.startswith("peerwatch")]
        if not ours:
            return []
        chosen = self._chosen
        sizes = Sizes(chosen.known, chosen.quiet, chosen.idle_seconds, chosen.churn, chosen.short)
        try:
            return measure_resident(self._place, ours[0], self._replica(0), sizes, _say)
        except (RuntimeError, OSError) as error:
            self._failed += 1
            _say(f"resident failed: {error}")
            return []


def _arrived(running: Running, load: Load, container: Container, before: Delivered, after: Delivered) -> int | None:
    """Return how many of the load's events arrived."""
    if load.kind == "" or not (running.receiver or running.output):
        return None
    if running.receiver is None or not running.receiver.exact:
        return sum(after.events.values()) - sum(before.events.values())
    counts = [
        each.count(load.kind, load.exe, container.id) - each.count(load.kind, "/app/wait", container.id)
        for each in (before, after)
    ]
    return counts[1] - counts[0]


def _say(text: str) -> None:
    print(f"capture: {text}", file=sys.stderr)
