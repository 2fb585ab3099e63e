"""`peerwatch collector`: the daemon."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from collector import settings_files
from collector.analysis.curated import CuratedAnalysis
from collector.commands.client import DEFAULT_SERVER, check_address
from collector.commands.options import BudgetOption

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
) -> None:
    """Run the collector: take events from agents, learn, compare replicas, answer commands.

    It ends by itself on SIGINT or SIGTERM, with everything on disk, and goes on from there when started again.

    \b
    Examples:
      peerwatch collector
      peerwatch collector --listen 0.0.0.0:7443 --data /var/lib/peerwatch
      peerwatch collector --config strict.toml            as tried with peerwatch backtest --compare
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    # Late: Parquet and the database take a second to load, and no other command needs them.
    from collector.daemon.server import CollectorSettings, serve  # noqa: PLC0415 — 0.5 s of imports that only this command needs

    check_address(listen, "--listen")
    settings = settings_files.chosen(config, budget)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    host = listen.rpartition(":")[0]

    def ready(port: int) -> None:
        sys.stdout.write(f"peerwatch collector listens on {host}:{port}, data in {data}\n")
        sys.stdout.flush()

    asyncio.run(serve(CollectorSettings(data=data, listen=listen), CuratedAnalysis(settings), ready=ready))
