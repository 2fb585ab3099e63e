"""`peerwatch-agent run` once its options are read: the process that lives for months.

The parser of the command line takes 10 MB, for a tenth of a second. So `run` hands its options over (`options.py`) and is
replaced: process id, parent and open files stay, the parser is gone. Nothing here may import it (a test looks).
"""

import asyncio
import contextlib
import json
import logging
import secrets
import signal
import sys
from pathlib import Path
from typing import NoReturn

from peerwatch.memory import share
from peerwatch.subjects import Subject

from agent.canary import Canary
from agent.capture.probes import Mode
from agent.errors import AgentError
from agent.options import Options
from agent.runtime import Capture, capture, pod_source, readings
from agent.spool import Limits
from agent.stream import Sender

__all__ = ["main", "stop_at_signals"]

_log = logging.getLogger("peerwatch-agent")

CLOSE_S = 5.0
"""How long `run` tries to deliver what it holds when it is stopped: less than Kubernetes' 30 s of grace."""


def stop_at_signals() -> asyncio.Event:
    """Return an event of the running loop that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def main() -> int:
    """Run with the options in the only argument; return the exit code."""
    share()
    logging.basicConfig(format="peerwatch-agent: %(message)s", level=logging.INFO)
    with contextlib.suppress(OSError):  # a name for ps and top, no more
        Path("/proc/self/comm").write_text("peerwatch-agent")
    try:
        _run(Options(**json.loads(sys.argv[1])))
    except AgentError as error:
        sys.stderr.write(f"peerwatch-agent: {' '.join(str(error).split())}\n")
        return error.exit_code
    return 0


def _run(options: Options) -> None:
    home = Subject(options.cluster, options.node)
    sender = Sender(
        options.collector,
        cluster=options.cluster,
        node=options.node,
        session=secrets.token_hex(16),
        version=options.version,
        spool=Limits(folder=Path(options.spool), max_bytes=options.spool_bytes, max_age_s=options.spool_age_s),
        credentials=options.credentials,
    )
    canary = Canary(period_s=options.canary_s) if options.canary_s else None
    with (
        pod_source(options.pods, options.kubeconfig, home) as pods,
        capture(
            sender.put,
            home=home,
            pods=pods,
            pin_dir=Path(options.pin_dir),
            mode=Mode(full=options.full, host=options.host),
            recovered=sender.recovered,
            canary=canary,
        ) as captured,
    ):
        asyncio.run(_serve(options, captured, sender, canary))


async def _serve(options: Options, captured: Capture, sender: Sender, canary: Canary | None) -> None:
    stop = stop_at_signals()
    async with contextlib.AsyncExitStack() as stack:
        if options.metrics is not None:
            from agent.metrics import MetricsServer  # noqa: PLC0415 — 3 MB, only for who wants them

            server = MetricsServer(options.metrics, lambda: readings(options.version, captured, sender, canary))
            await server.start()
            stack.push_async_callback(server.stop)
        sending = asyncio.create_task(sender.run())
        sending.add_done_callback(lambda _: stop.set())  # it ends only after close(), or by a bug that must not stay unseen
        if canary is not None:
            flying = asyncio.create_task(canary.run())
            flying.add_done_callback(lambda _: stop.set())
            stack.push_async_callback(_end, flying)
        await captured.node.run(stop)
        left = await sender.close(CLOSE_S)
        await sending
    if left:
        _log.info("%d events stay in %s for the next start", left, options.spool)


async def _end(task: "asyncio.Task[NoReturn]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main())
