"""`peerwatch backtest`: what detection would have said about recorded events."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from collector.backtest import RecordingError, run
from collector.commands.alerts import print_incident_json
from collector.commands.recordings import STDIN, check_files
from collector.commands.terminal import escape
from collector.errors import InputError

__all__ = ["backtest"]


def backtest(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Event lines, also gzip; - is standard input.")],
    *,
    skip_bad_lines: Annotated[bool, typer.Option("--skip-bad-lines", help="Count lines that are no event, and go on.")] = False,
) -> None:
    """Learn and detect over recorded events, in event time, offline. Incidents come out as JSON Lines.

    The same files give the same incidents, whenever and wherever. A summary goes to standard error.

    \b
    Examples:
      peerwatch backtest events.jsonl
      peerwatch backtest monday.jsonl.gz tuesday.jsonl.gz | jq -r 'select(.severity == "HIGH") | .reason'
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    check_files(files)
    sources: list[Path | Literal["-"]] = [Path(name) if name != STDIN else STDIN for name in files]
    try:
        for incident in run(sources, skip_bad_lines=skip_bad_lines, report=_report):
            print_incident_json(incident)
    except RecordingError as error:
        raise InputError(str(error)) from error


def _report(text: str) -> None:
    sys.stderr.write(escape(text) + "\n")
