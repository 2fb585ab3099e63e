"""Processes of `peerwatch` that need not load it: forks of one that has.

To load a command takes a fifth of a second, a collector a whole one, and tests start hundreds. What is forked has imported and
done nothing else: no channel and no file is open. From there on it is a process like any other, with its own arguments,
environment, folder, streams, memory and end. That it works from a cold start, too, is for the tests of whole programs.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TextIO

__all__ = ["Forked", "serve"]

PROGRAM = "from forks import serve; serve(); from collector.cli import main; main()"
MODULES = ("collector.daemon.server", "collector.cluster.view", "collector.cluster.watching", "typer._adapters")
"""What is loaded besides the commands; the last by Typer with the first argument, and pydantic with it: a tenth of a second."""

MESSAGE_MAX = 1 << 17
NUMBER = 16
"""Digits of a process id, and of how it ended: one may follow the other at once."""


class Forked:
    """A process that runs `peerwatch` with these arguments; with the names of `subprocess.Popen`. Streams are descriptors."""

    def __init__(
        self, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, stdin: int, stdout: int, stderr: int
    ) -> None:
        server = _server()
        self.returncode: int | None = None
        self.stdout: TextIO | None = None
        """What its caller reads, for who ends it to close."""
        self._report, report = os.pipe()
        asked = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd or Path.cwd())}
        try:
            socket.send_fds(server, [json.dumps(asked).encode()], [stdin, stdout, stderr, report])
        finally:
            os.close(report)
        self.pid = int(os.read(self._report, NUMBER))

    def poll(self) -> int | None:
        """Return how it ended, None if it has not."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return how it ended, as `subprocess` says it."""
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"peerwatch, process {self.pid}", timeout or 0)
            self.returncode = int(os.read(self._report, NUMBER))
            os.close(self._report)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)


@cache
def _server() -> socket.socket:
    """Start the process that is forked; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PEERWATCH_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [environment.get("PYTHONPATH")])])
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment
        )
    atexit.register(process.wait)
    atexit.register(ours.close)  # before that
    return ours


def serve() -> None:
    """Fork for each request; returns in the child, which is what was asked for then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when nobody can ask any more
    requests = socket.socket(fileno=int(sys.argv[1]))
    cli = importlib.import_module("collector.cli")
    for module in (*(f"collector.commands.{name}" for name in cli.COMMANDS), *MODULES):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what a child never looks at, it need not have a copy of
    children: dict[int, tuple[int, int]] = {}
    while True:
        ready = select.select([requests, *children], [], [])[0]
        for ended in children.keys() & set(ready):
            pid, report = children.pop(ended)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(BrokenPipeError):  # nobody wants to know
                os.write(report, b"%*d" % (NUMBER, code))
            os.close(ended)
            os.close(report)
        if requests not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_MAX, 4)
        if not message:
            os._exit(0)
        *streams, report = descriptors
        pid = os.fork()
        if pid == 0:
            requests.close()
            for each in (report, *children, *(other for _, other in children.values())):
                os.close(each)
            _become(json.loads(message), streams)
            return
        children[os.pidfd_open(pid)] = pid, report
        os.write(report, b"%*d" % (NUMBER, pid))
        for each in streams:
            os.close(each)


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """Have in this process what its caller said, in place of what the server has."""
    for number, (name, mode, descriptor) in enumerate(zip(("stdin", "stdout", "stderr"), "rww", streams, strict=True)):
        os.dup2(descriptor, number)
        os.close(descriptor)
        old = getattr(sys, name)
        buffering = 1 if name == "stderr" else -1
        new = open(number, mode, buffering, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115 — it stays
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    verbosity = {"GRPC_VERBOSITY": os.environ["GRPC_VERBOSITY"]}  # set when the command line is imported
    os.environ.clear()
    os.environ.update(verbosity | asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    sys.argv = ["-c", *asked["arguments"]]
