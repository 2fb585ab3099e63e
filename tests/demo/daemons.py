"""The real collector and the real agent as processes of this demo: their start, their address, their end.

Each is started so that the kernel ends it with the demo, however that ends.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import grpc

__all__ = [
    "BIN",
    "CLUSTER",
    "Daemon",
    "DaemonError",
    "agent",
    "collector",
    "recorder",
    "server_of",
    "uninstall",
    "wait_for_probes",
    "web_pages",
]

CLUSTER = "demo"
BIN = Path(sys.executable).parent
START_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0
_ADDRESS = re.compile(r"\b127\.0\.0\.1:(\d+)\b")


class DaemonError(RuntimeError):
    """A daemon did not start, or ended by itself; the text holds its last words."""


class Daemon:
    """One process with its output in a file."""

    def __init__(self, name: str, argv: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._file: IO[bytes] = log.open("wb")
        # setpriv: when the demo dies, even by SIGKILL, the daemon gets SIGTERM.
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which ends them in order
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """End it, as an operator would."""
        self.stop()

    def stop(self) -> None:
        """End it with SIGINT's polite brother, and with SIGKILL if it does not listen."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._file.close()

    def words(self) -> str:
        """Return what it wrote."""
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Say if it is gone.

        Raises:
            DaemonError: it is.
        """
        if self._process.poll() is not None:
            last = "\n  ".join(self.words().strip().splitlines()[-8:])
            raise DaemonError(f"{self.name} ended with exit code {self._process.returncode}:\n  {last}")


def collector(path: Path) -> Daemon:
    """Start the collector on a free port, with its data below `path`."""
    (path / "collector").mkdir()
    argv = [str(BIN / "peerwatch"), "collector", "--listen", "127.0.0.1:0", "--data", str(path / "collector")]
    return Daemon("the collector", argv, path / "collector.log")


def server_of(daemon: Daemon) -> str:
    """Return HOST:PORT of the collector once it answers there.

    Raises:
        DaemonError: it ended, or does not answer.
    """
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        daemon.check()
        for match in _ADDRESS.finditer(daemon.words()):
            server = f"127.0.0.1:{match[1]}"
            with grpc.insecure_channel(server) as channel:
                try:
                    grpc.channel_ready_future(channel).result(timeout=1)
                except grpc.FutureTimeoutError:
                    continue
                return server
        time.sleep(0.05)
    raise DaemonError(f"the collector does not answer after {START_LIMIT_S:.0f} s; it says:\n  {daemon.words()[-500:]}")


def web_pages(daemon: Daemon) -> list[str]:
    """Return the addresses that the collector says it serves pages at."""
    return sorted(set(re.findall(r"https?://127\.0\.0\.1:\d+[^\s\"']*", daemon.words())))


def agent(path: Path, server: str, pods: Path, node: str, pins: Path) -> Daemon:
    """Start the agent."""
    command = ["run", "--collector", server, "--pods", str(pods), "--node", node, "--cluster", CLUSTER]
    command += ["--pin-dir", str(pins), "--spool", str(path / "spool")]
    return Daemon("the agent", [str(BIN / "peerwatch-agent"), *command], path / "agent.log")


def wait_for_probes(daemon: Daemon, node: str) -> None:
    """Return when an agent says that its probes are attached.

    Raises:
        DaemonError: it ended, or does not come to that.
    """
    deadline = time.monotonic() + START_LIMIT_S
    while f"capturing on node {node}" not in daemon.words():
        daemon.check()
        if time.monotonic() > deadline:
            raise DaemonError(
                f"{daemon.name} captures nothing after {START_LIMIT_S:.0f} s; it says:\n  {daemon.words()[-500:]}"
            )
        time.sleep(0.05)


def recorder(path: Path, output: Path, pods: Path, node: str) -> Daemon:
    """Start a second agent that writes events to a file."""
    command = ["record", "--output", str(output), "--pods", str(pods), "--node", node, "--cluster", CLUSTER]
    return Daemon("the recorder", [str(BIN / "peerwatch-agent"), *command], path / "recorder.log")


def uninstall(pins: Path) -> None:
    """Have the agent take its probes out of the kernel, where it leaves them for its successor."""
    if pins.exists():
        # The spool lies in the demo's own folder and goes with it.
        argv = [str(BIN / "peerwatch-agent"), "uninstall", "--pin-dir", str(pins), "--spool", str(pins / "no-spool")]
        subprocess.run(argv, capture_output=True, check=False)
