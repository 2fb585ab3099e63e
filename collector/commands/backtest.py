"""`peerwatch backtest`: what detection would have said about recorded events."""

import sys
from typing import Annotated

import typer

from collector.backtest import run
from collector.commands.alerts import print_incident_json, print_incidents
from collector.commands.options import ListOutput
from collector.commands.terminal import escape
from collector.recordings import check_files

__all__ = ["backtest"]


def backtest(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Event lines, also gzip; - is standard input.")],
    *,
    output: Annotated[
        ListOutput,
        typer.Option("--output", "-o", help="Every revision as one JSON object a line, or a table of the last ones."),
    ] = ListOutput.JSON,
    skip_bad_lines: Annotated[bool, typer.Option("--skip-bad-lines", help="Count lines that are no event, and go on.")] = False,
) -> None:
    """Learn and detect over recorded events, in event time, offline. Incidents come out as JSON Lines.

    The same files give the same incidents, whenever and wherever. A summary goes to standard error.

    \b
    Examples:
      peerwatch backtest events.jsonl
      peerwatch backtest --output table events.jsonl
      peerwatch backtest monday.jsonl.gz tuesday.jsonl.gz | jq -r 'select(.severity == "HIGH") | .reason'
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    check_files(files)
    last = {}
    for incident in run(files, skip_bad_lines=skip_bad_lines, report=_report):
        if output is ListOutput.JSON:
            print_incident_json(incident)
        else:
            last[incident.id] = incident
    if output is ListOutput.TABLE:
        print_incidents(list(last.values()), output)


def _report(text: str) -> None:
    sys.stderr.write(escape(text) + "\n")
