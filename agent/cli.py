"""`peerwatch-agent`: run, record, check, uninstall. Thin: options in, one of the parts called, exit codes out.

What does the work is imported by who needs it: `run` hands over to another process, and would import all of it twice.

Exit codes: 0 done, 1 the answer is no, 2 the call or its input is wrong, 3 this machine cannot do it; each with one line on
stderr.
"""

import logging
import os
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from peerwatch.subjects import Subject

from agent import privileges
from agent.capture.compiled import forget as forget_compiled
from agent.capture.pins import PIN_FOLDER
from agent.errors import AgentError, ConfigError
from agent.options import SPOOL, Options
from agent.output import discard

__all__ = ["main"]

HOST = socket.gethostname()

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


Full = Annotated[bool, typer.Option("--full", help="Every event by itself: repeats are not counted in the kernel.")]
Host = Annotated[bool, typer.Option("--host", help="The host's own processes, too, not only those in containers.")]
SpoolDir = Annotated[
    Path,
    typer.Option(
        "--spool", metavar="DIR", help="Where events are kept until the collector has them.", envvar="PEERWATCH_SPOOL"
    ),
]


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
    full: Full = False,  # noqa: FBT002 — a flag
    host: Host = False,  # noqa: FBT002 — a flag
    spool: SpoolDir = SPOOL,
    spool_size: Annotated[
        int, typer.Option(metavar="MIB", min=1, help="How much the spool may hold; the oldest goes first.")
    ] = 256,
    spool_age: Annotated[float, typer.Option(metavar="HOURS", min=0.1, help="How old an event in the spool may become.")] = 24,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve Prometheus metrics and /healthz there.",
            envvar="PEERWATCH_METRICS",
            show_default="none are served",
        ),
    ] = None,
    canary: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How often the agent proves that it sees; 0: never.")
    ] = 60,
    ca: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Authority of the collector's certificate; waited for.",
            envvar="PEERWATCH_CA",
            show_default="no TLS",
        ),
    ] = "",
    token: Annotated[
        str,
        typer.Option(metavar="FILE", help="Token to show the collector.", envvar="PEERWATCH_TOKEN_FILE", show_default="none"),
    ] = "",
    cert: Annotated[
        str, typer.Option(metavar="FILE", help="Certificate to show, with the URI peerwatch://node/NAME.", show_default="none")
    ] = "",
    key: Annotated[str, typer.Option(metavar="FILE", help="Its key.", show_default="none")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Send to another host unencrypted.")] = False,  # noqa: FBT002 — a flag
) -> None:
    """Capture, name and stream events to the collector, until SIGINT or SIGTERM.

    Without --pods and --kubeconfig, a pod asks the API server it runs under. The probes stay attached when the agent ends,
    so that a restart loses nothing; `peerwatch-agent uninstall` removes them and the spool.

    Example: peerwatch-agent run --collector collector.example:7443 --ca ca.crt --token token --pods pods.json
    """
    _check_address("--collector", collector)
    if metrics is not None:
        _check_address("--metrics", metrics)
    options = Options(
        version=version("peerwatch"),
        collector=collector,
        cluster=cluster,
        node=node,
        pods=_text(pods),
        kubeconfig=_text(kubeconfig),
        pin_dir=str(pin_dir),
        full=full,
        host=host,
        spool=str(spool),
        spool_bytes=spool_size << 20,
        spool_age_s=spool_age * 3600,
        metrics=metrics,
        canary_s=canary,
        ca=ca,
        token=token,
        cert=cert,
        key=key,
        insecure=insecure,
    )
    options.credentials.check(collector)
    privileges.require()
    options.start()


@app.command("record")
def record_(  # noqa: PLR0917 — options, given by name
    output: Annotated[
        str, typer.Option("--output", metavar="FILE", help="Where the events go, one JSON line each; - is stdout.")
    ],
    pods: Pods = None,
    kubeconfig: Kubeconfig = None,
    node: NodeName = HOST,
    cluster: Cluster = "default",
    full: Full = False,  # noqa: FBT002 — a flag
    host: Host = False,  # noqa: FBT002 — a flag
) -> None:
    """Capture events into a file, until SIGINT or SIGTERM; then say on stderr how many there were and how many were lost.

    Needs no collector, and does not disturb an agent that runs. Its own probes are removed at the end.

    Example: peerwatch-agent record --output - --pods pods.json | jq .process.exe
    """
    privileges.require()
    from agent.capture.probes import Mode  # noqa: PLC0415 — see the module's first lines
    from agent.recording import record  # noqa: PLC0415 — see the module's first lines

    mode = Mode(full=full, host=host)
    _say(record(output, Subject(cluster, node), pods=_text(pods), kubeconfig=_text(kubeconfig), mode=mode))


@app.command()
def check() -> None:
    """Say what this node can and cannot capture, and why. Exit code 3 if the agent cannot do its job here."""
    from agent.check import examine  # noqa: PLC0415 — see the module's first lines

    findings = examine()
    width = max(len(finding.subject) for finding in findings)
    marks = {"ok": typer.colors.GREEN, "limited": typer.colors.YELLOW, "missing": typer.colors.RED}
    for finding in findings:
        mark = typer.style(f"{finding.state:<8}", fg=marks[finding.state]) if sys.stdout.isatty() else f"{finding.state:<8}"
        typer.echo(f"{mark} {finding.subject:<{width}}  {finding.text}")
    broken = [finding for finding in findings if finding.state == "missing"]
    if broken:
        _say(f"this node cannot be captured: {broken[0].subject}: {broken[0].text}")
        raise typer.Exit(3)


@app.command()
def uninstall(
    pin_dir: PinDir = PIN_FOLDER,
    spool: Annotated[
        Path | None,
        typer.Option(
            "--spool",
            metavar="DIR",
            help="The spool to remove.",
            envvar="PEERWATCH_SPOOL",
            show_default=f"{SPOOL}, unless --pin-dir is given",
        ),
    ] = None,
) -> None:
    """Detach the probes that `run` left and free what they hold; remove the spool, with the events that are in it.

    Probes in a folder of their own have a spool of their own: with --pin-dir, a spool is removed only if --spool names it.
    Compiled probes that were kept for the next start go, too.
    """
    from agent.capture.probes import uninstall as remove_probes, uninstall_abandoned  # noqa: PLC0415 — see the module's first lines
    from agent.spool import remove as remove_spool  # noqa: PLC0415 — see the module's first lines

    privileges.require()
    uninstall_abandoned()
    if spool is None and pin_dir == PIN_FOLDER:
        spool = SPOOL
    removed = [str(pin_dir)] if remove_probes(pin_dir) else []
    if pin_dir == PIN_FOLDER or "PEERWATCH_CACHE" in os.environ:
        forget_compiled()  # before the spool, whose folder may hold them
    if spool is not None and remove_spool(spool):
        removed.append(str(spool))
    nothing = " and no ".join(str(each) for each in (pin_dir, spool) if each is not None)
    typer.echo(f"removed {' and '.join(removed)}" if removed else f"nothing to remove: there is no {nothing}")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _check_address(option: str, text: str) -> None:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{option} must be HOST:PORT, for example 127.0.0.1:7443; got {text!r}")


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
        discard(sys.stdout.buffer)  # whoever read our output has enough
        code = 0
    sys.exit(code)


def _say(text: str) -> None:
    typer.echo(f"peerwatch-agent: {' '.join(text.split())}", err=True)


def _fail(text: str, code: int) -> int:
    _say(text)
    return code


if __name__ == "__main__":
    main()
