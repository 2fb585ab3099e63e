"""`peerwatch-agent`: run, record, check, uninstall. Thin: options in, one of the parts called, exit codes out.

Exit codes: 0 done, 1 the answer is no, 2 the call or its input is wrong, 3 this machine cannot do it; each with one line on
stderr.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, BinaryIO, Protocol

import typer
from peerwatch import jsonlines
from peerwatch.columns import EventColumns
from peerwatch.subjects import Subject

from agent import privileges
from agent.capture.probes import PIN_FOLDER, Probes, own_folder, uninstall as remove_probes, uninstall_abandoned
from agent.check import examine
from agent.errors import AgentError, ConfigError, UnsupportedError
from agent.identity.index import PodIndex
from agent.identity.podfile import PodFile
from agent.identity.resolver import Resolver
from agent.node import Node
from agent.stream import Sender

__all__ = ["main"]

_log = logging.getLogger("peerwatch-agent")

HOST = socket.gethostname()

CLOSE_S = 5.0
"""How long `run` tries to deliver what it holds when it is stopped: less than Kubernetes' 30 s of grace."""

app = typer.Typer(
    name="peerwatch-agent",
    help="Sees what the containers of this node execute and whom they connect to, and says whose they are.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Pods = Annotated[
    Path | None,
    typer.Option(
        "--pods", metavar="FILE", help="Pod metadata from a Kubernetes PodList (JSON or YAML), read again when it changes."
    ),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig", metavar="FILE", help="Pod metadata from the API server that this file names.", envvar="KUBECONFIG"
    ),
]
NodeName = Annotated[
    str, typer.Option("--node", help="This node's name in Kubernetes.", envvar="NODE_NAME", show_default="the host's name")
]
Cluster = Annotated[str, typer.Option("--cluster", help="The cluster's name.", envvar="PEERWATCH_CLUSTER")]
PinDir = Annotated[Path, typer.Option("--pin-dir", metavar="DIR", help="Where the probes live in the BPF file system.")]


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,  # noqa: FBT002 — a flag
) -> None:
    if show:
        typer.echo(f"peerwatch-agent {version('peerwatch')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(  # noqa: PLR0917 — options, given by name
    collector: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the collector listens.", envvar="PEERWATCH_COLLECTOR")
    ],
    pods: Pods = None,
    kubeconfig: Kubeconfig = None,
    node: NodeName = HOST,
    cluster: Cluster = "default",
    pin_dir: PinDir = PIN_FOLDER,
) -> None:
    """Capture, name and stream events to the collector, until SIGINT or SIGTERM.

    Without --pods and --kubeconfig, a pod asks the API server it runs under. The probes stay attached when the agent ends,
    so that a restart loses nothing; `peerwatch-agent uninstall` removes them.

    Example: peerwatch-agent run --collector collector.example:7443 --pods pods.json
    """
    _check_address(collector)
    privileges.require()
    sender = Sender(collector, cluster=cluster, node=node, session=secrets.token_hex(16), version=version("peerwatch"))

    async def serve() -> None:
        stop = _stop_at_signals()
        sending = asyncio.create_task(sender.run())
        sending.add_done_callback(lambda _: stop.set())  # it ends only after close(), or by a bug that must not stay unseen
        await _capture(stop, pods, kubeconfig, Subject(cluster, node), pin_dir, sender.put)
        left = await sender.close(CLOSE_S)
        await sending
        if left:
            _log.warning("%d events were not delivered before the end", left)

    asyncio.run(serve())


@app.command()
def record(
    output: Annotated[
        str, typer.Option("--output", metavar="FILE", help="Where the events go, one JSON line each; - is stdout.")
    ],
    pods: Pods = None,
    kubeconfig: Kubeconfig = None,
    node: NodeName = HOST,
    cluster: Cluster = "default",
) -> None:
    """Capture events into a file, until SIGINT or SIGTERM; then say on stderr how many there were and how many were lost.

    Needs no collector, and does not disturb an agent that runs. Its own probes are removed at the end.

    Example: peerwatch-agent record --output - --pods pods.json | jq .process.exe
    """
    privileges.require()
    uninstall_abandoned()
    folder = own_folder("record")

    async def write(stream: BinaryIO) -> Node:
        async def put(table: EventColumns) -> None:
            try:
                stream.writelines(jsonlines.write(table))
                stream.flush()
            except OSError as error:
                _discard(stream)
                if isinstance(error, BrokenPipeError):
                    raise
                raise UnsupportedError(f"cannot write {output}: {error.strerror}; what was recorded before is there") from None

        return await _capture(_stop_at_signals(), pods, kubeconfig, Subject(cluster, node), folder, put)

    with _output(output) as stream:
        try:
            captured = asyncio.run(write(stream))
        finally:
            remove_probes(folder)
    lost = ", ".join(f"{count} {reason}" for reason, count in sorted(captured.lost.items())) or "none"
    typer.echo(f"peerwatch-agent: {captured.events} events, lost: {lost}", err=True)


@app.command()
def check() -> None:
    """Say what this node can and cannot capture, and why. Exit code 3 if the agent cannot do its job here."""
    findings = examine()
    width = max(len(finding.subject) for finding in findings)
    marks = {"ok": typer.colors.GREEN, "limited": typer.colors.YELLOW, "missing": typer.colors.RED}
    for finding in findings:
        mark = typer.style(f"{finding.state:<8}", fg=marks[finding.state]) if sys.stdout.isatty() else f"{finding.state:<8}"
        typer.echo(f"{mark} {finding.subject:<{width}}  {finding.text}")
    broken = [finding for finding in findings if finding.state == "missing"]
    if broken:
        typer.echo(f"peerwatch-agent: this node cannot be captured: {broken[0].subject}: {broken[0].text}", err=True)
        raise typer.Exit(3)


@app.command()
def uninstall(pin_dir: PinDir = PIN_FOLDER) -> None:
    """Detach the probes that `run` left and free what they hold."""
    privileges.require()
    uninstall_abandoned()
    typer.echo(f"removed {pin_dir}" if remove_probes(pin_dir) else f"nothing to remove: there is no {pin_dir}")


def _stop_at_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _capture(  # noqa: PLR0917 — each is one thing, in the order of the way
    stop: asyncio.Event,
    pods: Path | None,
    kubeconfig: Path | None,
    home: Subject,
    pin_dir: Path,
    put: Callable[[EventColumns], Awaitable[None]],
) -> Node:
    """Capture until `stop` is set; return the node with its counters."""
    with _pod_source(pods, kubeconfig, home) as index, Probes(pin_dir) as probes:
        node = Node(probes, Resolver(home.cluster, home.node, index, probes.cgroup_path), home, put)
        _log.info("capturing on node %s", home.node)
        await node.run(stop)
        return node


class _Source(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


@contextlib.contextmanager
def _pod_source(pods: Path | None, kubeconfig: Path | None, home: Subject) -> Iterator[PodIndex | None]:
    if pods and kubeconfig and "KUBECONFIG" not in os.environ:
        raise ConfigError("--pods and --kubeconfig are two sources of the same: give one of them")
    index = PodIndex(home.cluster, home.node)
    if pods is not None:
        source: _Source = PodFile(str(pods), index)
    elif kubeconfig is not None or "KUBERNETES_SERVICE_HOST" in os.environ:
        from agent.identity.kubernetes import KubernetesPods  # noqa: PLC0415 — 44 MB, only for who asks an API server

        source = KubernetesPods(index, home.node, kubeconfig=str(kubeconfig) if kubeconfig else None)
    else:
        _log.warning("no source of pods: events carry container ids only; give --pods FILE or --kubeconfig FILE")
        yield None
        return
    source.start()
    try:
        yield index
    finally:
        source.stop()


@contextlib.contextmanager
def _output(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdout.buffer
        return
    try:
        stream = Path(name).open("wb")  # noqa: SIM115 — only what opening raises is the call's fault
    except OSError as error:
        raise ConfigError(f"cannot write {name}: {error.strerror}; give another --output") from None
    with stream:
        yield stream


def _discard(stream: BinaryIO) -> None:
    """Let go of what is left in a stream that cannot be written: it would fail again when it is closed, or at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _check_address(text: str) -> None:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"--collector must be HOST:PORT, for example 127.0.0.1:7443; got {text!r}")


def main() -> None:
    """Run the command line and exit with its code."""
    logging.basicConfig(format="peerwatch-agent: %(message)s", level=logging.INFO)
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        code = _fail(f"{error.format_message().rstrip('.')}; see peerwatch-agent --help", 2)
    except AgentError as error:
        code = _fail(str(error), error.exit_code)
    except BrokenPipeError:
        _discard(sys.stdout.buffer)  # whoever read our output has enough
        code = 0
    sys.exit(code)


def _fail(text: str, code: int) -> int:
    typer.echo(f"peerwatch-agent: {' '.join(text.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
