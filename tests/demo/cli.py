"""The demo's command line: flags, what can be done here, and exit codes (0 shown, 1 not as it should be, 3 impossible here)."""

import argparse
import random
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import grpc
from harness import missing

from demo.cluster_stage import KubernetesStage, no_node
from demo.daemons import BIN
from demo.recorded import RECORDING
from demo.screen import Screen
from demo.stages import LiveStage, RecordedStage
from demo.story import tell
from demo.watcher import Watcher

__all__ = ["main"]

BTF = Path("/sys/kernel/btf/vmlinux")
LOCK = "\0peerwatch-demo"
"""An abstract socket: the kernel frees it when its holder is gone, however it went."""

NORMAL_LIFE_S = 36.0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo ARGS=…", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--recorded", action="store_true", help="from a recording: needs neither root nor eBPF")
    parser.add_argument("--kubernetes", action="store_true", help="on a real Kubernetes node, installed by the chart")
    parser.add_argument("--record", type=Path, metavar="FILE", help="also write the events to FILE")
    parser.add_argument("--replicas", type=int, default=5, metavar="N", help="replicas of shop/cart, 3 to 50 (default: 5)")
    parser.add_argument("--seed", type=int, metavar="N", help="choose the same replica again")
    parser.add_argument(
        "--normal-life", type=float, default=NORMAL_LIFE_S, metavar="SECONDS", help="before the attack (default: %(default)g)"
    )
    arguments = parser.parse_args(argv)
    if not 3 <= arguments.replicas <= 50:
        parser.error("--replicas must be 3 to 50: fewer have no peers, more do not fit a laptop")
    if arguments.record and (arguments.recorded or arguments.kubernetes):
        parser.error("--record needs a live run, without --recorded and --kubernetes")
    if arguments.recorded and arguments.kubernetes:
        parser.error("--recorded needs no node and --kubernetes needs one: give one of them")
    if arguments.seed is not None and arguments.kubernetes:
        parser.error("--seed chooses a replica; with --kubernetes the Service does")
    return arguments


def _why_not(lock: socket.socket, *, recorded: bool, kubernetes: bool) -> str:
    """Return why the demo cannot run here, or nothing; takes the lock if it can."""
    absent = [name for name in ("peerwatch", "peerwatch-agent") if not (BIN / name).exists()]
    if absent:
        return f"{', '.join(absent)} not installed in {BIN}: run `make setup`"
    if recorded:
        return (
            "" if RECORDING.exists() else f"{RECORDING} is missing; a live run makes it: make demo ARGS='--record {RECORDING}'"
        )
    why = missing() or ("" if BTF.exists() else f"needs {BTF}, a kernel with its type information")
    why = why or (no_node() if kubernetes else "")
    if why:
        return f"it {why}; a recorded run does without: make demo ARGS=--recorded"
    try:
        lock.bind(LOCK)
    except OSError:
        return "another demo is running on this host: wait for it, or end it"
    return ""


def _unwind(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _fail(sentence: str, code: int) -> int:
    sys.stderr.write(f"demo: {sentence}\n")
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    arguments = _arguments(argv)
    lock = socket.socket(socket.AF_UNIX)
    if why := _why_not(lock, recorded=arguments.recorded, kubernetes=arguments.kubernetes):
        return _fail(why, 3)
    signal.signal(signal.SIGTERM, _unwind)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with it ignored
    with lock:
        try:
            return _play(arguments)
        except (RuntimeError, ValueError) as error:  # among them AttackError and DaemonError
            return _fail(str(error), 1)
        except grpc.RpcError as error:
            return _fail(f"the collector did not answer a question: {error.code().name}: {error.details()}", 1)
        except KeyboardInterrupt:
            return _fail("interrupted; everything is removed again", 130)


def _play(arguments: argparse.Namespace) -> int:
    screen = Screen()
    stage: LiveStage | RecordedStage | KubernetesStage
    if arguments.recorded:
        stage = RecordedStage(screen.say)
    elif arguments.kubernetes:
        stage = KubernetesStage(screen.say, replicas=arguments.replicas, normal_life_s=arguments.normal_life)
    else:
        dice = random.Random(arguments.seed)  # noqa: S311 — chooses a replica, not a key
        stage = LiveStage(
            screen.say,
            replicas=arguments.replicas,
            dice=dice,
            normal_life_s=arguments.normal_life,
            record=arguments.record and arguments.record.absolute(),
        )
    screen.heading(
        "peerwatch"
        if arguments.recorded
        else "peerwatch: a real Kubernetes node, the chart, a service of five replicas"
        if arguments.kubernetes and arguments.replicas == 5
        else "peerwatch: real containers, the real agent, the real collector"
    )
    with stage, Watcher(stage.channel()) as watcher:
        verdict = tell(stage, screen, watcher)
        if arguments.keep:
            screen.heading("Left running; Ctrl-C ends it and removes everything")
            for line in stage.instructions():
                screen.console.print(f"  {line}", markup=False)
            try:
                signal.pause()
            except KeyboardInterrupt:
                screen.console.print("removing everything")
        return verdict.exit_code
