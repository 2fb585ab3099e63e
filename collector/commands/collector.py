"""`peerwatch collector`: the daemon."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from peerwatch.kubernetes.connection import from_kubeconfig, from_pod
from peerwatch.kubernetes.errors import NoServerError
from peerwatch.memory import share

from collector import settings_files
from collector.access.settings import AccessSettings
from collector.analysis.curated import CuratedAnalysis
from collector.commands.budget import BudgetOption
from collector.commands.client import DEFAULT_SERVER, check_address
from collector.errors import InputError

if TYPE_CHECKING:
    from collector.cluster.watching import ClusterWatch

__all__ = ["collector"]


def collector(
    listen: Annotated[
        str,
        typer.Option(
            "--listen", envvar="PEERWATCH_LISTEN", metavar="HOST:PORT", help="Where agents and commands connect; port 0: any."
        ),
    ] = DEFAULT_SERVER,
    data: Annotated[
        Path, typer.Option("--data", envvar="PEERWATCH_DATA", metavar="DIR", help="Where events and what was learned are kept.")
    ] = Path("peerwatch-data"),
    config: Annotated[
        str,
        typer.Option(
            "--config",
            envvar="PEERWATCH_CONFIG",
            metavar="FILE",
            help="Settings of detection, as backtest --config takes them.",
        ),
    ] = "",
    budget: BudgetOption = None,
    *,
    agents: Annotated[
        str,
        typer.Option(
            "--agents",
            metavar="WHO",
            help="Who may send events: kubernetes:NAMESPACE/SERVICEACCOUNT (their pods' tokens), certificates:CAFILE (with the"
            " URI peerwatch://node/NAME), or anyone.",
            show_default="anyone on this host",
        ),
    ] = "",
    users: Annotated[
        str,
        typer.Option(
            "--users",
            metavar="WHO",
            help="Who may look and decide: kubernetes (a token, and what RBAC says of peerwatch.dev), or anyone.",
            show_default="anyone on this host",
        ),
    ] = "",
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", metavar="FILE", help="The collector's certificate, PEM; read again when it changes."),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its key.")] = None,
    own_ca: Annotated[
        Path | None,
        typer.Option(
            "--own-ca",
            metavar="DIR",
            help="Keep an authority there, and a certificate of it; made and renewed by the collector.",
        ),
    ] = None,
    tls_name: Annotated[
        list[str] | None, typer.Option("--tls-name", metavar="NAME", help="A name in that certificate; may be repeated.")
    ] = None,
    publish_ca: Annotated[
        str,
        typer.Option("--publish-ca", metavar="NAMESPACE/CONFIGMAP", help="Keep its certificate in ca.crt of this ConfigMap."),
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen without encryption, for anyone: something else protects the port.")
    ] = False,
    socket: Annotated[
        Path | None,
        typer.Option("--socket", metavar="PATH", help="A socket for people who are on this host, or in this pod, already."),
    ] = None,
    kubeconfig: Annotated[
        str,
        typer.Option(
            "--kubeconfig",
            metavar="FILE",
            help="The API server that knows tokens and the cluster.",
            show_default="the one of this pod",
        ),
    ] = "",
    cluster_view: Annotated[
        str,
        typer.Option(
            "--cluster-view",
            metavar="NAME",
            help="Watch the cluster, which agents call NAME: it says whose events are, and who had an address.",
        ),
    ] = "",
) -> None:
    """Run the collector: take events from agents, learn, compare replicas, answer commands.

    It ends by itself on SIGINT or SIGTERM, with everything on disk, and goes on from there when started again. Beyond loopback
    it listens only with TLS, and only when it is said who may call.

    \b
    Examples:
      peerwatch collector
      peerwatch collector --listen 0.0.0.0:7443 --own-ca ca --tls-name collector.example --agents anyone --users kubernetes
      peerwatch collector --config strict.toml            as tried with peerwatch backtest --compare
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    share()  # before there are threads
    # Late: Parquet and the database take a second to load, and no other command needs them.
    from collector.daemon.server import CollectorSettings, serve  # noqa: PLC0415 — 0.5 s of imports that only this command needs

    check_address(listen, "--listen")
    access = AccessSettings(
        agents=agents,
        users=users,
        tls_cert=tls_cert,
        tls_key=tls_key,
        own_ca=own_ca,
        publish_ca=publish_ca,
        tls_names=tuple(tls_name or ()),
        insecure=insecure,
        socket=socket,
        kubeconfig=kubeconfig,
        cluster=cluster_view,
    )
    access.check(listen)
    watch = _watch(cluster_view, kubeconfig)
    settings = settings_files.chosen(config, budget)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    host = listen.rpartition(":")[0]

    def ready(port: int) -> None:
        sys.stdout.write(f"peerwatch collector listens on {host}:{port}, data in {data}\n")
        sys.stdout.flush()

    asyncio.run(
        serve(CollectorSettings(data=data, listen=listen, access=access, watch=watch), CuratedAnalysis(settings), ready=ready)
    )


def _watch(cluster: str, kubeconfig: str) -> "ClusterWatch | None":
    if not cluster:
        return None
    from collector.cluster.view import ClusterView  # noqa: PLC0415 — as the server above
    from collector.cluster.watching import ClusterWatch  # noqa: PLC0415 — as above

    try:
        return ClusterWatch(ClusterView(cluster), from_kubeconfig(kubeconfig) if kubeconfig else from_pod())
    except NoServerError as error:
        raise InputError(f"--cluster-view: {error}; run in a pod with a service account, or give --kubeconfig FILE") from error
