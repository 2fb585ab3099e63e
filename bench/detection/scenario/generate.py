"""Makes a recording from a seed: the cluster lives, attacks are planned into its life, and both become tables of events."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from labels import Label
from peerwatch import jsonlines
from peerwatch.columns import EventColumns

from scenario import attacks, sensors
from scenario.cluster import DAY, Cluster
from scenario.labelling import labels_of
from scenario.network import Network
from scenario.noise import let_happen
from scenario.stage import Stage
from scenario.timeline import Timeline, nanoseconds
from scenario.words import Draw

__all__ = ["ARMS", "SIZES", "Arm", "Recording", "Size", "generate"]

TABLE_ROWS = 8_192
"""Rows of a table that a detector is given at once: as much as readers of files give."""


@dataclass(frozen=True, slots=True)
class Size:
    """How long a scenario is and how much happens in it."""

    horizon: float
    """Seconds."""
    pace: float
    """How much faster than in real life things change: rollouts, scaling, nightly jobs, people."""
    fold: float
    """Seconds over which repeats are one row."""
    incidents: int


SIZES = {
    "tiny": Size(1_500, 12, 60, 12),  # for tests
    "quick": Size(7_200, 12, 60, 60),  # two hours in which a day's changes happen
    "full": Size(7 * DAY, 1, 900, 120),  # a week, about 1,100 replica-days; folded over a quarter of an hour
}


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to vary a scenario; nothing else changes with it."""

    name: str
    resolved: float = 0.9
    """Share of the addresses of the cluster and of named hosts that are known for what they are."""
    loss: float = 0.0
    """Share of rows that is lost, and reported."""
    poisoned: bool = False
    """Attacks begin with the pod, in one of three or more, and go on."""
    attacks: bool = True


ARMS = {
    arm.name: arm
    for arm in (
        Arm("resolved"),
        Arm("addresses", resolved=0.0),
        Arm("poisoned", poisoned=True),
        Arm("loss1", loss=0.01),
        Arm("loss10", loss=0.10),
        Arm("benign", attacks=False),
    )
}


@dataclass(frozen=True, slots=True)
class Recording:
    """Events, what they were, and what is an attack."""

    seed: int
    arm: Arm
    size: Size
    events: EventColumns
    """In time order."""
    noise: npt.NDArray[np.int64]
    """Per row: the row of the noise catalogue, 0 for a service's own work."""
    labels: list[Label]
    rollouts: list[tuple[str, str, int, int]]
    """Namespace, workload, begin and end (nanoseconds) of each."""

    def tables(self) -> Iterator[EventColumns]:
        """Yield the events as tables of some thousand rows."""
        for begin in range(0, len(self.events), TABLE_ROWS):
            yield self.events.take(np.arange(begin, min(begin + TABLE_ROWS, len(self.events)))).compact()

    def write(self, folder: Path) -> None:
        """Write `events.jsonl.gz` and `labels.jsonl`, as recordings of real clusters have them."""
        folder.mkdir(parents=True, exist_ok=True)
        with gzip.GzipFile(folder / "events.jsonl.gz", "wb", compresslevel=3, mtime=0) as out:
            for table in self.tables():
                out.writelines(jsonlines.write(table))
        with (folder / "labels.jsonl").open("w") as out:
            out.writelines(json.dumps(label.as_json()) + "\n" for label in self.labels)


def generate(seed: int, arm: Arm, size: Size) -> Recording:
    """Return the recording of a seed."""
    # Chances of their own for each layer: with another arm, the cluster lives the same life and meets the same attacks.
    cluster = Cluster(Draw(f"cluster {seed}"), horizon=size.horizon, pace=size.pace)
    plans = attacks.plan(cluster, Draw(f"plan {seed}"), size.incidents, poisoned=arm.poisoned) if arm.attacks else []
    network = Network(cluster, Draw(f"network {seed}"), resolved=arm.resolved)
    timeline = Timeline(cluster, network, Draw(f"events {seed}"), fold=size.fold)
    stage = Stage(cluster, timeline, Draw(f"noise {seed}"))
    for place in stage.set_up():
        let_happen(stage, place)
    for number, each in enumerate(plans):
        attacks.play(stage, each, number)
    marks = np.array([(mark.noise, mark.incident) for mark in timeline.marks], np.int64).reshape(-1, 2)
    events = timeline.builder.build()
    inside = np.flatnonzero(events.time < nanoseconds(size.horizon))
    events, marks = events.take(inside), marks[inside]
    happened = set(marks[:, 1].tolist())  # not those whose container was just starting anew; those that are lost did happen
    events, marks = sensors.sensed(events, marks, np.random.default_rng([seed, 48]), loss=arm.loss)
    return Recording(
        seed=seed,
        arm=arm,
        size=size,
        events=events,
        noise=marks[:, 0],
        labels=labels_of(plans, events, marks[:, 1], happened),
        rollouts=[
            (site.namespace, site.name, nanoseconds(begin), nanoseconds(end))
            for site in cluster.sites
            for begin, end in site.rollouts
        ],
    )
