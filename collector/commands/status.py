"""`peerwatch status`: how the collector and its agents are."""

from peerwatch.times import NANOSECONDS
from peerwatch.v1 import query_pb2

from collector.commands.client import DEFAULT_SERVER, TIMEOUT_S, Server, asking
from collector.commands.options import CaOption, ListOutput, OutputOption, ServerOption, TokenOption
from collector.commands.show import clock
from collector.commands.terminal import Cell, print_line, print_message, print_table
from collector.messages import nanoseconds

__all__ = ["status"]

WARN_NS = 365 * 86_400 * NANOSECONDS
"""A year before its end the authority of --own-ca is worth a word; the collector's log says the same (`WARN_DAYS`)."""


def status(
    server: ServerOption = DEFAULT_SERVER, ca: CaOption = "", token: TokenOption = "", output: OutputOption = ListOutput.TABLE
) -> None:
    """Say how the collector and its agents are: events, losses by reason, and what was refused.

    EVENTS is what the stored lines stand for: a folded one counts as often as it says. CANARY is an agent's own probe of
    capture: how long ago the last one came, and its delay from the event to its arrival, in which the clocks of node and
    collector differ, too.

    \b
    Examples:
      peerwatch status
      peerwatch status --output json
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking(Server(server, ca, token)) as stub:
        answer = stub.GetStatus(query_pb2.GetStatusRequest(), timeout=TIMEOUT_S)
    if output is ListOutput.JSON:
        print_message(answer)
        return
    print_line([f"collector {answer.version}, since {clock(nanoseconds(answer.started))}"])
    print_line(
        [
            f"{answer.events} events, {answer.archived_bytes / 1e6:.1f} MB archived, {answer.workloads} workloads, ",
            Cell(f"{answer.alerts} alerts", "bold red" if answer.alerts else ""),
        ]
    )
    print_line([_budget(answer)])
    for what, counts in (("refused or unusual", answer.refused), ("not judged or forgotten", answer.left_out)):
        if counts:
            print_line([f"{what}: ", ", ".join(f"{name} {counts[name]}" for name in sorted(counts))])
    ends = nanoseconds(answer.authority_ends)
    if answer.HasField("authority_ends") and ends - nanoseconds(answer.now) < WARN_NS:
        print_line(
            [Cell(f"the collector's authority ends on {clock(ends)}: docs/operate.md says how to make a new one", "bold red")]
        )
    print_line([])
    if not answer.agents:
        print_line(["no agent has connected yet: start one with peerwatch-agent run --collector HOST:PORT"])
        return
    print_table(
        ["CLUSTER", "NODE", "AGENT", "STATE", "LAST BATCH", "CANARY", "EVENTS", "LOST"],
        [
            [
                each.cluster,
                each.node,
                each.version,
                Cell("connected", "green") if each.connected else Cell("gone", "yellow"),
                clock(nanoseconds(each.last_batch)),
                _canary(each, nanoseconds(answer.now)),
                str(each.events),
                ", ".join(f"{reason} {each.lost[reason]}" for reason in sorted(each.lost)) or "0",
            ]
            for each in answer.agents
        ],
        right=["EVENTS"],
    )


def _budget(answer: query_pb2.GetStatusResponse) -> str:
    days = answer.replica_days
    spent = f"{answer.alerts / days:.3f}" if days else "-"
    return f"alerts per replica and day: {spent} in {days:.1f} replica-days, budget {answer.budget:g}"


def _canary(agent: query_pb2.GetStatusResponse.Agent, now: int) -> str:
    if not agent.HasField("last_canary"):
        return "-"
    age = (now - nanoseconds(agent.last_canary)) / NANOSECONDS
    return f"{age:.0f} s ago, delay {agent.canary_delay.ToNanoseconds() / NANOSECONDS:.3f} s"
