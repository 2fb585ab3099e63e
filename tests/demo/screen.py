"""What a person sees: a live table on a terminal, plain lines in a pipe. Shows what it is given and asks nobody."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from peerwatch.v1 import incident_pb2, query_pb2
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from demo.verdict import Verdict
from demo.watcher import Picture

__all__ = ["Screen"]

Entry = query_pb2.GetBaselineResponse.Entry
ROWS = 16
COLOURS = {"LOW": "yellow", "MEDIUM": "yellow", "HIGH": "red", "CRITICAL": "bold red"}


class Screen:
    """One run of the demo on standard output."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self._begin = time.monotonic()
        self._live: Live | None = None
        self._shown: dict[tuple[str, int, str], str] = {}

    def say(self, text: str, style: str = "") -> None:
        """Print one line with its time."""
        self.console.print(f"[dim]{time.monotonic() - self._begin:5.1f} s[/dim]  {_styled(text, style)}")

    def heading(self, text: str) -> None:
        """Begin a chapter."""
        self.console.print()
        self.console.print(f"[bold]{escape(text)}[/bold]")

    @contextlib.contextmanager
    def learning(self) -> Iterator[None]:
        """Show pictures while it lasts: live on a terminal, changes as lines elsewhere."""
        if not self.console.is_terminal:
            yield
            return
        self._live = Live(Text("nothing learned yet"), console=self.console, refresh_per_second=4)
        try:
            with self._live:
                yield
        finally:
            self._live = None

    def picture(self, picture: Picture, progress: str) -> None:
        """Show what is learned now."""
        if self._live is not None:
            self._live.update(Group(Text(progress, "dim"), _workloads(picture), _behaviours(picture.baseline)))
            return
        for entry in picture.baseline:
            key, support = (entry.container, entry.type, entry.key), f"{entry.replicas} of {entry.of}"
            news = f"{_state(entry):9}  {support:>7} replicas  {_type(entry.type):7}  {entry.key}"
            if self._shown.get(key) != news:
                self._shown[key] = news
                self.say(news)

    def incident(self, incident: incident_pb2.Incident, learned: Sequence[Entry], replicas: int) -> None:
        """Show a finding: which replica, what it did, what its peers did."""
        severity = incident_pb2.Incident.Severity.Name(incident.severity)
        kind = incident_pb2.Incident.Kind.Name(incident.kind)
        pods = ", ".join(replica.pod for replica in incident.replicas)
        colour = COLOURS.get(severity, "")
        workload = f"{incident.namespace}/{incident.workload.name}"
        self.console.print(
            f"[{colour}]{severity}[/]  {kind}  {escape(workload)}" if colour else f"{severity}  {kind}  {workload}"
        )
        self.console.print(f"  which replica   [bold]{escape(pods)}[/bold]")
        self.console.print(f"  why             {escape(incident.reason)}")
        if incident.techniques:
            self.console.print(f"  ATT&CK          {escape(', '.join(incident.techniques))}")
        self.console.print("  what it did")
        for behaviour in incident.behaviours:
            example = f"   e.g. {' '.join(behaviour.example)}" if behaviour.example else ""
            seen = f"{behaviour.seen_on} of {behaviour.of}"
            self.console.print(f"    {_type(behaviour.type):7}  {seen:>7}  {escape(behaviour.key)}[dim]{escape(example)}[/dim]")
        peers = incident.peers
        self.console.print(
            f"  what its peers did: {peers.sharing or 'none'} of the {peers.compared} did this; all {replicas} go on with:"
        )
        for entry in _ordered(learned):
            if entry.replicas >= replicas:
                seen = f"{entry.replicas} of {entry.of}"
                self.console.print(f"    {_type(entry.type):7}  {seen:>7}  {escape(entry.key)}  [dim]{entry.count} times[/dim]")

    def verdict(self, verdict: Verdict, attacked: str) -> None:
        """Say how it ended."""
        self.console.print()
        if verdict.behaviours:
            self.console.print(
                f"From exec to finding: first {verdict.first_s * 1000:.0f} ms, "
                f"median {verdict.median_s * 1000:.0f} ms over {verdict.behaviours} behaviours."
            )
        if verdict.why:
            self.console.print(f"[bold red]Not as it should be:[/bold red] {escape(verdict.why)}.")
        else:
            self.console.print(f"[bold green]Exactly the attacked replica was flagged:[/bold green] {escape(attacked)}")


def _styled(text: str, style: str) -> str:
    return f"[{style}]{escape(text)}[/{style}]" if style else escape(text)


def _type(value: incident_pb2.BehaviourType.ValueType) -> str:
    return incident_pb2.BehaviourType.Name(value).lower()


def _state(entry: Entry) -> str:
    return Entry.State.Name(entry.state).lower()


def _ordered(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda each: (-each.replicas, each.type, -each.count, each.key))


def _workloads(picture: Picture) -> Table:
    table = Table("workload", "replicas", "learned", "candidates", "alerts", "phase", title="Workloads", title_justify="left")
    for each in picture.workloads:
        name = escape(f"{each.ref.namespace}/{each.ref.workload.name}")
        table.add_row(name, *map(str, (each.replicas, each.learned, each.candidates, each.alerts)), each.phase)
    return table


def _behaviours(entries: Sequence[Entry]) -> Table:
    table = Table("state", "support", "type", "behaviour", "times", title="What shop/cart does", title_justify="left")
    ordered = _ordered(entries)
    for each in ordered[:ROWS]:
        colour = "green" if each.state == Entry.LEARNED else "yellow"
        state = f"[{colour}]{_state(each)}[/{colour}]"
        table.add_row(state, f"{each.replicas} of {each.of}", _type(each.type), escape(each.key), str(each.count))
    if len(ordered) > ROWS:
        table.add_row("", "", "", f"and {len(ordered) - ROWS} more", "")
    return table
