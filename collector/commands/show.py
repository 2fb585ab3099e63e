"""How values look in tables: times, workloads, behaviours, incidents."""

import shlex
from collections.abc import Sequence

from peerwatch.times import NANOSECONDS, format_time

from collector.commands.terminal import Cell
from collector.records import BehaviourEvidence, BehaviourType, Incident, Severity, WorkloadKey

__all__ = [
    "SEVERITY_STYLE",
    "clock",
    "command",
    "deeds",
    "losses",
    "others",
    "replica_names",
    "risk",
    "severity",
    "times",
    "workload_name",
]

SEVERITY_STYLE = {
    Severity.INFO: "dim",
    Severity.LOW: "cyan",
    Severity.MEDIUM: "yellow",
    Severity.HIGH: "red",
    Severity.CRITICAL: "bold white on red",
}

SHOWN = 3
"""Behaviours or reasons that a list names; the JSON has all."""

COMMAND_MAX = 160
"""Characters of a command line in a table; longer ones end in …."""


def clock(time: int) -> str:
    """Return a time to the second, UTC."""
    return format_time(time // NANOSECONDS * NANOSECONDS) if time else "-"


def workload_name(key: WorkloadKey) -> str:
    """Return what `baseline show` takes."""
    return f"{key.namespace}/{key.kind}/{key.name}"


def command(args: Sequence[str], most: int = COMMAND_MAX) -> str:
    """Return a command line as one would type it, cut to `most` characters."""
    text = shlex.join(args)
    return text if len(text) <= most else text[: most - 1] + "…"


def times(count: int) -> str:
    """Return how often, where it was more than once."""
    return f" \N{MULTIPLICATION SIGN}{count}" if count > 1 else ""


def severity(value: Severity) -> Cell:
    """Return a severity with its colour."""
    return Cell(value.name, SEVERITY_STYLE[value])


def risk(incident: Incident) -> str:
    """Return what is at stake, and why, what weighs most first; empty where nobody knows."""
    if incident.risk is None:
        return ""
    return f"{incident.risk.rank}" + (f": {'; '.join(_some(incident.risk.reasons, 'reason'))}" if incident.risk.reasons else "")


def replica_names(incident: Incident) -> str:
    """Return which replica it is about; of several the first, and how many more."""
    names = [f"{each.pod or each.uid} ({each.container})" if each.container else each.pod for each in incident.replicas]
    return " ".join(_some(list(dict.fromkeys(names)), "replica", shown=1))


def deeds(incident: Incident) -> list[str]:
    """Return what they did, one thing each."""
    return _some([_deed(each) for each in incident.behaviours], "behaviour")


def _deed(behaviour: BehaviourEvidence) -> str:
    times = f" ({behaviour.count} times)" if behaviour.count > 1 else ""
    if behaviour.type is BehaviourType.EXEC:
        return f"ran {behaviour.key}{f': {command(behaviour.example)}' if behaviour.example else ''}{times}"
    return f"connected {behaviour.key}{times}"


def others(incident: Incident) -> str:
    """Return what the replicas that it was compared with did, and how far that can be relied on."""
    return _others(incident) + losses(incident)


def losses(incident: Incident) -> str:
    """Return what is known to be missing from the time of an incident, where something is: a peer's silence may be a loss."""
    lost = incident.loss_in_window
    return f" ({lost:,} event{'' if lost == 1 else 's'} lost around it)" if lost else ""


def _others(incident: Incident) -> str:
    if not incident.compared:
        return "no peers to compare with"
    if not incident.sharing:
        return "its only peer never did" if incident.compared == 1 else f"none of {incident.compared} peers did"
    return f"{incident.sharing} of {incident.compared} peers did, too"


def _some(texts: Sequence[str], what: str, shown: int = SHOWN) -> list[str]:
    more = len(texts) - shown
    return [*texts[:shown], *([f"and {more} more {what}{'' if more == 1 else 's'}"] if more > 0 else [])]
