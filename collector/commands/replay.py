"""`peerwatch replay`: what a pod did, from a collector or from files."""

import enum
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from peerwatch import jsonlines
from peerwatch.columns import NANOSECONDS, EventColumns
from peerwatch.v1 import query_pb2, query_pb2_grpc

from collector.archive.selection import Selection
from collector.commands.client import DEFAULT_SERVER, Server, asking
from collector.commands.options import CaOption, ServerOption, TokenOption, parse_moment
from collector.commands.recordings import read_files
from collector.commands.rows import rows
from collector.commands.terminal import json_line, print_line
from collector.commands.timeline import Timeline
from collector.commands.tree import ProcessTree
from collector.daemon.event_messages import events_from_proto
from collector.errors import InputError
from collector.messages import timestamp

__all__ = ["replay"]

SINGLE_STEP_S = 0.05
"""With --speed, events this close are shown together: a person sees no difference, and a terminal would lag."""


LONGEST_SLEEP_S = 3_600.0
"""The system takes no sleep of many years at once, which a gap in a recording at low speed can ask for."""


class ReplayOutput(enum.StrEnum):
    """How a replay is shown."""

    TIMELINE = "timeline"
    TABLE = "table"
    """The timeline: every list of every command knows this word."""
    TREE = "tree"
    JSON = "json"


def replay(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE…]", help="Event lines, also gzip; - is standard input. None: ask a collector."),
    ] = None,
    *,
    server: ServerOption = DEFAULT_SERVER,
    ca: CaOption = "",
    token: TokenOption = "",
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="From this time on, or this long ago: 15m, 2h, 1d.")
    ] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Before this time, or this long ago.")] = "",
    cluster: Annotated[str, typer.Option("--cluster", metavar="NAME", help="Only this cluster.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Only this namespace.")] = "",
    workload: Annotated[str, typer.Option("--workload", "-w", metavar="[KIND/]NAME", help="Only this workload.")] = "",
    pod: Annotated[str, typer.Option("--pod", "-p", metavar="NAME", help="Only this pod.")] = "",
    container: Annotated[str, typer.Option("--container", "-c", metavar="NAME", help="Only this container.")] = "",
    speed: Annotated[
        float, typer.Option("--speed", min=0, metavar="N", help="N times as fast as it happened; 0: at once.")
    ] = 0.0,
    output: Annotated[
        ReplayOutput, typer.Option("--output", "-o", help="A line an event, a tree of processes, or event lines.")
    ] = ReplayOutput.TIMELINE,
    skip_bad_lines: Annotated[bool, typer.Option("--skip-bad-lines", help="Count lines that are no event, and go on.")] = False,
) -> None:
    """Replay recorded events in time order: what a pod ran and whom it talked to.

    \b
    Examples:
      peerwatch replay --pod cart-5d9c8f7b6-x2x9q --since 1h
      peerwatch replay --namespace shop --workload cart --output tree
      peerwatch replay events.jsonl.gz --speed 10
      peerwatch replay --output json --since 2026-11-21T10:00:00Z > evidence.jsonl
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    selection = Selection(
        since=parse_moment(since, "--since"),
        until=parse_moment(until, "--until"),
        cluster=cluster,
        namespace=namespace,
        workload=workload,
        pod=pod,
        container=container,
    )
    if selection.until and selection.since >= selection.until:
        raise InputError("--since must be before --until")
    if files:
        _show(selection.filter(read_files(files, skip_bad_lines=skip_bad_lines)), output, speed)
        return
    with asking(Server(server, ca, token)) as stub:
        _show(_asked(stub, selection), output, speed)


def _asked(stub: query_pb2_grpc.QueryServiceStub, selection: Selection) -> Iterator[EventColumns]:
    request = query_pb2.ReplayEventsRequest(
        to=timestamp(selection.until),
        cluster=selection.cluster,
        namespace=selection.namespace,
        workload=selection.workload,
        pod=selection.pod,
        container=selection.container,
    )
    since = timestamp(selection.since)
    if since is not None:
        getattr(request, "from").CopyFrom(since)  # `from` is a word of Python
    for response in stub.ReplayEvents(request):
        yield events_from_proto(response.events)


def _show(tables: Iterator[EventColumns], output: ReplayOutput, speed: float) -> None:
    """Print the events, at the speed asked for."""
    wait = _pace(speed)
    timeline, tree = Timeline(), ProcessTree()
    shown = False
    for table in tables:
        shown = True
        if output is ReplayOutput.JSON:
            for moment, line in zip(table.time.tolist(), jsonlines.write(table), strict=True):
                wait(moment)
                sys.stdout.write(json_line(line[:-1].decode()) + "\n")
            continue
        for row in rows(table):
            if output is ReplayOutput.TREE:
                tree.add(row)
            else:
                wait(row.time)
                timeline.show(row)
    if output is ReplayOutput.TREE:
        tree.show()
    if not shown and output is not ReplayOutput.JSON:
        print_line(["no events in this selection"])


def _pace(speed: float) -> Callable[[int], None]:
    """Return a function that waits until an event is due: `speed` times as fast as it happened, 0 at once."""
    if not speed:
        return lambda _moment: None
    begun: list[tuple[float, int]] = []

    def wait(moment: int) -> None:
        if not begun:
            begun.append((time.monotonic(), moment))
        due = begun[0][0] + (moment - begun[0][1]) / NANOSECONDS / speed
        while (ahead := due - time.monotonic()) > SINGLE_STEP_S:
            sys.stdout.flush()
            time.sleep(min(ahead, LONGEST_SLEEP_S))

    return wait
