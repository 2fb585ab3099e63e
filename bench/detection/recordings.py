"""Recordings that are files: `events.jsonl.gz` and `labels.jsonl` in a folder, as those of real clusters are kept."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from labels import Label
from peerwatch import jsonlines
from peerwatch.columns import EventColumns
from peerwatch.times import parse_time

from collector.recordings import lines_of

__all__ = ["EVENTS", "FileRecording", "find", "read", "read_labels"]

EVENTS, LABELS = "events.jsonl.gz", "labels.jsonl"
TABLE_ROWS = 8_192
"""As `scenario.generate` cuts its tables."""


@dataclass(frozen=True, slots=True)
class FileRecording:
    """Events in time order, and what of them was an attack."""

    events: EventColumns
    labels: list[Label]

    def tables(self) -> Iterator[EventColumns]:
        """Yield the events as tables of some thousand rows."""
        for begin in range(0, len(self.events), TABLE_ROWS):
            yield self.events.take(np.arange(begin, min(begin + TABLE_ROWS, len(self.events)))).compact()


def find(folder: Path) -> list[Path]:
    """Return the folders with a labelled recording: this one, or those in it."""
    return [each for each in (folder, *sorted(folder.glob("*"))) if (each / EVENTS).exists() and (each / LABELS).exists()]


def read(folder: Path) -> FileRecording:
    """Return a folder's recording."""
    events = EventColumns.concatenate(list(jsonlines.read(lines_of(str(folder / EVENTS)))))
    return FileRecording(events.sorted_by_time(), read_labels(folder))


def read_labels(folder: Path) -> list[Label]:
    """Return the labels with the events that their lines name, as they stand in the file."""
    labels = [json.loads(line) for line in (folder / LABELS).read_text().splitlines()]
    wanted = {line for label in labels for line in label["lines"]}
    named: dict[int, tuple[int, str, int]] = {}
    with gzip.open(folder / EVENTS) as lines:
        for number, line in enumerate(lines):
            if number in wanted:
                event = json.loads(line)
                named[number] = parse_time(event["time"]), event["pod"]["name"], event["process"]["pid"]
    return [Label.from_json(label, (named[line] for line in label["lines"])) for label in labels]
