"""What was an attack: one label per incident, in the form in which recordings carry them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from peerwatch.times import format_time, parse_time

__all__ = ["Label"]

Event = tuple[int, str, int]
"""Time (nanoseconds), pod's name and pid: what names an event in alerts as well."""


@dataclass(frozen=True, slots=True)
class Label:
    """One incident."""

    id: str
    technique: str
    row: int
    """Of the attack catalogue; 0: not from it."""
    visibility: str
    """Y: something of it is new for its workload; P: only arguments, counts or order give it away; N: nothing does."""
    namespace: str
    workload: str
    pods: tuple[str, ...]
    start: int
    end: int
    template: str
    variant: str
    """How it came in."""
    also: tuple[str, ...] = ()
    """What else is special: adversarial variants by their letter."""
    phase: str = "steady"
    replicas: int = 1
    lines: tuple[int, ...] = ()
    """Rows of the recording that it made."""
    events: frozenset[Event] = field(default=frozenset(), compare=False)
    """The same as evidence names them; not written."""

    def as_json(self) -> dict[str, Any]:
        """Return the label as a recording holds it."""
        return {
            "id": self.id,
            "technique": self.technique,
            "row": self.row,
            "visibility": self.visibility,
            "scope": "all" if len(self.pods) > 1 else "one",
            "namespace": self.namespace,
            "workload": self.workload,
            "pods": list(self.pods),
            "start": format_time(self.start),
            "end": format_time(self.end),
            "template": self.template,
            "variant": self.variant,
            "alsoVariants": list(self.also),
            "phase": self.phase,
            "replicas": self.replicas,
            "lines": list(self.lines),
        }

    @classmethod
    def from_json(cls, label: dict[str, Any], events: Iterable[Event] = ()) -> "Label":
        """Return what a line of `labels.jsonl` says; `events` are those of its lines."""
        return cls(
            id=label["id"],
            technique=label.get("technique", ""),
            row=label.get("row", 0),
            visibility=label["visibility"],
            namespace=label.get("namespace", ""),
            workload=label["workload"],
            pods=tuple(label["pods"]),
            start=parse_time(label["start"]),
            end=parse_time(label["end"]),
            template=label.get("template", ""),
            variant=label.get("variant", ""),
            also=tuple(label.get("alsoVariants", ())),
            phase=label.get("phase", "steady"),
            replicas=label["replicas"],
            lines=tuple(label["lines"]),
            events=frozenset(events),
        )
