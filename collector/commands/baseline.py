"""`peerwatch baseline`: what a workload does, who decided about it, and how much of it is known."""

import enum
import json
import sys
from typing import Annotated, Any

import typer
from peerwatch.times import NANOSECONDS, format_time

from collector import baseline_files
from collector.commands import baseline_changes, baseline_compare
from collector.commands.baseline_client import Baseline, asking_baselines
from collector.commands.client import DEFAULT_SERVER, Server
from collector.commands.options import (
    CaOption,
    ClusterOption,
    ContainerOption,
    ListOutput,
    OutputOption,
    ServerOption,
    TokenOption,
    WorkloadArgument,
)
from collector.commands.show import clock, command, workload_name
from collector.commands.terminal import Cell, as_json, json_line, print_line, print_message, print_table
from collector.messages import baseline_to_proto, completeness_to_proto
from collector.records import Action, BaselineEntry, BehaviourState, Change, Completeness

__all__ = ["baseline", "in_words"]

DAY = 86_400 * NANOSECONDS
HOUR = 3_600 * NANOSECONDS
MINUTE = 60 * NANOSECONDS

_STYLE = {
    BehaviourState.CANDIDATE: "yellow",
    BehaviourState.LEARNED: "green",
    BehaviourState.APPROVED: "bold green",
    BehaviourState.REJECTED: "bold red",
    BehaviourState.EXPIRED: "red",
}

baseline = typer.Typer(name="baseline", no_args_is_help=True, rich_markup_mode=None)


class ShowOutput(enum.StrEnum):
    """How a baseline is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@baseline.callback()
def _baseline() -> None:
    """Look at what a workload does, and decide what of it is normal.

    \b
    States of a behaviour:
      candidate  seen, but too few replicas did it: what one replica does alone is never learned
      learned    supported by enough replicas
      approved   somebody said that it is normal: it is told of no replica
      rejected   somebody said that it is not: it is told of every replica that does it
      expired    it was approved until a time that is over, and is told again; or it was learned and not seen for 45 days on
                 which the workload ran, and is judged as new if it comes back
    """  # noqa: D301 — \b is Typer's mark for lines to keep


@baseline.command("show")
def show(
    workload: WorkloadArgument,
    container: ContainerOption = "",
    cluster: ClusterOption = "",
    *,
    server: ServerOption = DEFAULT_SERVER,
    ca: CaOption = "",
    token: TokenOption = "",
    output: Annotated[
        ShowOutput, typer.Option("--output", "-o", help="A table, one JSON object a line, or YAML with all evidence.")
    ] = ShowOutput.TABLE,
) -> None:
    """Show a workload's behaviours: what is learned, what is only a candidate, who decided what, and how complete it is.

    \b
    Examples:
      peerwatch baseline show shop/cart
      peerwatch baseline show shop/Deployment/cart --container app --output json
      peerwatch baseline show shop/cart --output yaml
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking_baselines(Server(server, ca, token)) as baselines:
        shown = baselines.get(baselines.find(workload, cluster), container)
    if output is ShowOutput.JSON:
        known = _completeness(shown)
        for each in shown.entries:
            # Every line is a behaviour: how complete its container is stands in each, so that no line is of another kind.
            print_message(baseline_to_proto(each), completeness=known.get(each.container))
    elif output is ShowOutput.YAML:
        sys.stdout.write(baseline_files.entries_as_yaml(shown.entries, _completeness(shown)))
    else:
        _print_baseline(shown, container)


@baseline.command("log")
def log(
    workload: WorkloadArgument,
    cluster: ClusterOption = "",
    *,
    server: ServerOption = DEFAULT_SERVER,
    ca: CaOption = "",
    token: TokenOption = "",
    output: OutputOption = ListOutput.TABLE,
    limit: Annotated[int, typer.Option("--limit", min=0, metavar="N", help="The newest N; 0: all.")] = 100,
) -> None:
    """List what people decided about a workload, newest first: when, who, from where, what and why.

    \b
    Examples:
      peerwatch baseline log shop/cart
      peerwatch baseline log shop/cart --output json | jq -r .author
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking_baselines(Server(server, ca, token)) as baselines:
        key = baselines.find(workload, cluster)
        changes = baselines.log(key, limit)
    if output is ListOutput.JSON:
        for each in changes:
            sys.stdout.write(json_line(json.dumps(_record(each), ensure_ascii=False)) + "\n")
        return
    if not changes:
        print_line([f"nobody decided anything about {workload_name(key)} yet"])
        return
    print_table(
        ["TIME", "WHO", "FROM", "WHAT", "CONTAINER", "BEHAVIOUR", "WHY"],
        [
            [clock(each.time), each.by, each.via, _deed(each), each.container or "-", each.key or "-", each.why]
            for each in changes
        ],
    )


for _name, _function in (baseline_changes.COMMANDS | baseline_compare.COMMANDS).items():
    baseline.command(_name)(_function)


def _print_baseline(shown: Baseline, container: str) -> None:
    if shown.lock is not None:
        lock = shown.lock
        print_line([Cell("locked", "bold"), f" by {lock.by} since {clock(lock.since)}: {lock.why}"])
    for each in shown.completeness:
        print_line([f"{each.container}: ", in_words(each)])
    if not shown.entries:
        print_line([f"nothing was seen of {workload_name(shown.workload)}{f', container {container}' if container else ''}"])
        return
    print_table(
        ["CONTAINER", "TYPE", "BEHAVIOUR", "STATE", "REPLICAS", "NODES", "COUNT", "PHASE", "LAST SEEN", "DECIDED", "EXAMPLE"],
        [
            [
                each.container,
                each.type.name,
                each.key,
                Cell(each.state.name, _STYLE[each.state]),
                f"{each.replicas} of {each.of}",
                str(each.nodes),
                str(each.count),
                "+".join(phase.name.lower() for phase in each.phases) or "-",
                clock(each.last_seen),
                _decision(each),
                command(each.example, 80),
            ]
            for each in shown.entries
        ],
        right=["REPLICAS", "NODES", "COUNT"],
    )


def _completeness(shown: Baseline) -> dict[str, dict[str, Any]]:
    """Return per container how much of it is known, as JSON and YAML have it."""
    found = {}
    for each in shown.completeness:
        fields = as_json(completeness_to_proto(each)) | {"observations": each.observations}  # which proto3 makes a text
        del fields["container"]
        found[each.container] = fields
    return found


def in_words(value: Completeness) -> str:
    """Return in plain words how much of a container is known."""
    state = "settled: what is new is told" if value.settled else "learning: what is new must be odd to be told"
    if not value.new_every:
        return f"{state}; nothing was observed long enough to say more"
    return (
        f"{state}; a new program or destination is expected every {_span(value.new_every)}"
        f" ({value.observations} observations in {_span(value.observed)})"
    )


def _span(time: int) -> str:
    """Return a time that replicas live, all together: 9 replica-days are three replicas for three days."""
    for unit, name in ((DAY, "replica-day"), (HOUR, "replica-hour")):
        if time >= unit:
            many = time / unit
            text = f"{many:.0f}" if many >= 10 else f"{many:.1f}".removesuffix(".0")
            return f"{text} {name}{'' if text == '1' else 's'}"
    minutes = max(1, round(time / MINUTE))
    return f"{minutes} replica-minute{'' if minutes == 1 else 's'}"


def _decision(entry: BaselineEntry) -> str:
    if not entry.by:
        return f"usual until {clock(entry.gone)}" if entry.gone else "-"
    return f"{entry.by}: {entry.why}" + (f" (until {clock(entry.until)})" if entry.until else "")


def _deed(change: Change) -> str:
    return change.action.name + (f" until {clock(change.until)}" if change.until else "")


def _record(change: Change) -> dict[str, str]:
    record = {
        "time": format_time(change.time),
        "author": change.by,
        "via": change.via,
        "action": change.action.name,
        "why": change.why,
    }
    if change.action not in {Action.LOCK, Action.UNLOCK}:
        record |= {"container": change.container, "type": change.type.name if change.type else "", "key": change.key}
    if change.until:
        record["until"] = format_time(change.until)
    return record
