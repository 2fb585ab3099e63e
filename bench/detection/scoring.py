"""What a detector's alerts are worth on a labelled recording: incidents found, alerts that are false, and how sure that is.

A hit: an alert of severity LOW or above, raised between an incident's start and five minutes after its end, that names one of
its pods and holds one of its events. All other alerts of LOW or above are false. One alert may hit several incidents, and one
hit does not excuse another alert. Counts are kept per workload, the unit that is drawn anew for the intervals.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
from detector import Alert, Severity
from labels import Label
from peerwatch.columns import NANOSECONDS, EventColumns, EventKind

__all__ = ["GRACE_S", "Interval", "Outcome", "Verdicts", "figures", "interval", "judge", "paired", "replica_days", "strata"]

GRACE_S = 300
"""Seconds after an incident's end in which an alert still belongs to it."""
ROUNDS = 1_000
"""Bootstrap rounds: the ends of a 95 % interval then rest on 25 rounds each."""

Unit: TypeAlias = tuple[str, str, int]
"""Namespace, workload and recording."""
Event: TypeAlias = tuple[int, str, int]
"""Time, pod's name and pid."""
Rollout: TypeAlias = tuple[str, str, int, int]
"""Namespace, workload, begin and end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One incident, and what a detector made of it."""

    label: Label
    unit: Unit
    found: bool
    delay: float = 0.0
    """Seconds from its first event to the first hit."""
    right: bool | None = None
    """The first alert that holds one of its events names exactly its pods; None with fewer than three replicas or no alert."""
    alerts: int = 0
    """Hits: more than one is a repetition."""
    severity: int = 0
    """The highest of its hits, 0 if there is none."""


@dataclass(frozen=True, slots=True)
class FalseAlert:
    """An alert that is none."""

    alert: Alert
    unit: Unit
    noise: int
    """Row of the noise catalogue that most of its evidence is of; -1: an attack's events, but late or of the wrong pod."""
    rollout: bool


@dataclass(slots=True)
class Verdicts:
    """All that came of a detector on one or more recordings."""

    outcomes: list[Outcome] = field(default_factory=list)
    false: list[FalseAlert] = field(default_factory=list)
    days: Counter[Unit] = field(default_factory=Counter)
    """Replica-days per unit."""
    rollouts: int = 0
    infos: int = 0
    seconds: float = 0.0
    events: int = 0
    pace: float = 1.0
    """How much faster than in real life things changed."""

    def __iadd__(self, other: "Verdicts") -> Self:
        """Take the verdicts of another recording in."""
        self.outcomes += other.outcomes
        self.false += other.false
        self.days.update(other.days)
        self.rollouts += other.rollouts
        self.infos += other.infos
        self.seconds += other.seconds
        self.events += other.events
        self.pace = other.pace
        return self


def judge(
    alerts: Iterable[Alert],
    labels: Sequence[Label],
    *,
    days: Mapping[tuple[str, str], float],
    recording: int = 0,
    rollouts: Sequence[Rollout] = (),
    noise: Mapping[Event, int] | None = None,
) -> Verdicts:
    """Judge the alerts on one recording.

    Args:
        alerts: what the detector said, INFO included.
        labels: what was an attack; `Label.events` names its events.
        days: replica-days per (namespace, workload).
        recording: number of the recording, to tell its workloads from others'.
        rollouts: namespace, workload, begin and end of each.
        noise: row of the noise catalogue per event, as evidence names it; 0 where it is a service's own work.
    """
    told = sorted((each for each in alerts if each.severity >= Severity.LOW), key=lambda each: each.time)
    verdicts = Verdicts(days=Counter({(*key, recording): value for key, value in days.items()}), rollouts=len(rollouts))
    by_event: dict[Event, list[int]] = {}
    for number, alert in enumerate(told):
        for event in alert.evidence:
            by_event.setdefault(event, []).append(number)
    true: set[int] = set()
    for label in labels:
        touching = sorted({number for event in label.events for number in by_event.get(event, ())})
        hits = [
            each
            for each in touching
            if label.start <= told[each].time <= label.end + GRACE_S * NANOSECONDS and told[each].pods & set(label.pods)
        ]
        true.update(hits)
        verdicts.outcomes.append(
            Outcome(
                label,
                (label.namespace, label.workload, recording),
                found=bool(hits),
                delay=(told[hits[0]].time - label.start) / NANOSECONDS if hits else 0.0,
                right=told[touching[0]].pods == set(label.pods) if touching and label.replicas >= 3 else None,
                alerts=len(hits),
                severity=max((told[each].severity for each in hits), default=0),
            )
        )
    attacked = {event for label in labels for event in label.events}
    for number, alert in enumerate(told):
        if number not in true:
            verdicts.false.append(_false(alert, recording, rollouts, noise or {}, attacked))
    return verdicts


def _false(
    alert: Alert,
    recording: int,
    rollouts: Sequence[Rollout],
    noise: Mapping[Event, int],
    attacked: set[Event],
) -> FalseAlert:
    place = alert.workload.namespace, alert.workload.name
    during = any(place == (namespace, name) and begin <= alert.time <= end for namespace, name, begin, end in rollouts)
    rows = Counter(-1 if event in attacked else noise.get(event, 0) for event in alert.evidence)
    row = max(rows, key=lambda each: (rows[each], -each), default=0)  # of two alike always the same, whatever the order
    return FalseAlert(alert, (*place, recording), row, during)


def replica_days(events: EventColumns) -> dict[tuple[str, str], float]:
    """Return per (namespace, workload) how long its pods were seen, in days."""
    first: dict[tuple[str, str, str], int] = {}
    last: dict[tuple[str, str, str], int] = {}
    begin = np.full(len(events.subjects), np.iinfo(np.int64).max)
    end = np.zeros(len(events.subjects), np.int64)
    with_end = events.time.copy()
    for kind, part in (
        (EventKind.EXEC, events.execs),
        (EventKind.CONNECT, events.connects),
        (EventKind.ACCEPT, events.accepts),
    ):
        rows = events.rows_of(kind)
        with_end[rows] = np.maximum(with_end[rows], part.last_time)
    np.minimum.at(begin, events.subject, events.time)
    np.maximum.at(end, events.subject, with_end)
    for number, subject in enumerate(events.subjects):
        pod = subject.pod
        if pod.workload.name and end[number]:
            key = (pod.namespace, pod.workload.name, pod.uid or pod.name)
            first[key] = min(first.get(key, int(begin[number])), int(begin[number]))
            last[key] = max(last.get(key, 0), int(end[number]))
    days: Counter[tuple[str, str]] = Counter()
    for key, time in first.items():
        days[key[:2]] += (last[key] - time) / NANOSECONDS / 86_400
    return dict(days)


def strata() -> dict[str, Callable[[Outcome], bool]]:
    """Return the strata in which incidents are counted apart."""
    chosen: dict[str, Callable[[Outcome], bool]] = {
        "visible": lambda each: each.label.visibility == "Y",
        "partly": lambda each: each.label.visibility == "P",
        "invisible": lambda each: each.label.visibility == "N",
    }
    for phase in ("steady", "first hour", "rollout", "scale", "start"):
        chosen[f"visible, {phase}"] = lambda each, phase=phase: each.label.visibility == "Y" and each.label.phase == phase
    for name, low, high in (("N = 1", 1, 1), ("N = 2", 2, 2), ("N = 3-5", 3, 5), ("N >= 6", 6, 10**9)):
        chosen[f"visible, {name}"] = lambda each, low=low, high=high: (
            each.label.visibility == "Y" and low <= each.label.replicas <= high
        )
    chosen["visible, all replicas"] = lambda each: each.label.visibility == "Y" and len(each.label.pods) > 1
    for letter in "abcdefgh":
        chosen[f"variant {letter}"] = lambda each, letter=letter: letter in each.label.also and each.label.visibility != "N"
    for entry in ("rce", "queue", "cgi", "exec", "self", "dropped"):
        chosen[f"entry {entry}"] = lambda each, entry=entry: each.label.variant == entry and each.label.visibility != "N"
    return chosen


def recall(outcomes: Iterable[Outcome]) -> float:
    """Return the share that was found; not a number without incidents."""
    found = [each.found for each in outcomes]
    return sum(found) / len(found) if found else float("nan")


def macro_recall(outcomes: Iterable[Outcome]) -> float:
    """Return the mean recall over the techniques."""
    by_technique: dict[str, list[bool]] = {}
    for each in outcomes:
        by_technique.setdefault(each.label.technique, []).append(each.found)
    shares = [sum(found) / len(found) for found in by_technique.values()]
    return sum(shares) / len(shares) if shares else float("nan")


def precision(recall_: float, false_a_day: float, days: float) -> float:
    """Return the precision at one incident per so many replica-days."""
    return recall_ / (recall_ + days * false_a_day) if recall_ else 0.0


def figures(verdicts: Verdicts) -> dict[str, float]:
    """Return the figures of section "what must be shown"; shares are of 1, times seconds."""
    visible = [each for each in verdicts.outcomes if each.label.visibility == "Y"]
    partly = [each for each in verdicts.outcomes if each.label.visibility == "P"]
    found = [each for each in verdicts.outcomes if each.found]
    delays = sorted(each.delay for each in found)
    rights = [each.right for each in verdicts.outcomes if each.right is not None]
    days = sum(verdicts.days.values())
    per_day = len(verdicts.false) / days if days else float("nan")
    high = sum(each.alert.severity >= Severity.HIGH for each in verdicts.false)
    share = recall(visible)
    return {
        "recall_Y": share,
        "of_Y": len(visible),
        "macro_recall": macro_recall(visible),
        "recall_P": recall(partly),
        "of_P": len(partly),
        "false_alerts": len(verdicts.false),
        "false_per_replica_day": per_day,
        "false_at_real_pace": per_day / verdicts.pace,
        "high_false_per_replica_day": high / days if days else float("nan"),
        "false_per_rollout": sum(each.rollout for each in verdicts.false) / verdicts.rollouts if verdicts.rollouts else 0.0,
        "precision_10": precision(share, per_day, 10),
        "precision_100": precision(share, per_day, 100),
        "right_replica": sum(rights) / len(rights) if rights else float("nan"),
        "median_s": median(delays) if delays else float("nan"),
        "p95_s": delays[min(len(delays) - 1, int(0.95 * len(delays)))] if delays else float("nan"),
        "alerts_per_incident": sum(each.alerts for each in found) / len(found) if found else float("nan"),
        "replica_days": days,
        "infos": verdicts.infos,
        "events": verdicts.events,
        "seconds": verdicts.seconds,
    }


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as people read it."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(verdicts: Verdicts, chosen: Callable[[Outcome], bool], *, seed: int = 0) -> Interval:
    """Return the recall of a stratum."""
    counts = _counts(verdicts, chosen)
    return _spread(counts[:, 0], counts[:, 1], seed)


def false_interval(verdicts: Verdicts, *, seed: int = 0) -> Interval:
    """Return the false alerts per replica-day."""
    counts = _counts(verdicts, lambda _: False)
    return _spread(counts[:, 2], counts[:, 3], seed)


def paired(ours: Verdicts, theirs: Verdicts, chosen: Callable[[Outcome], bool], *, seed: int = 0) -> tuple[Interval, Interval]:
    """Return by how much our recall in a stratum is higher, and by how much our false alerts per replica-day are fewer.

    A win counts only if the interval does not hold 0. Both must have judged the same recordings.
    """
    mine, other = _counts(ours, chosen), _counts(theirs, chosen)
    picks = _picks(len(mine), seed)
    recalls = [_ratio(each[picks, 0].sum(1), each[picks, 1].sum(1)) for each in (mine, other)]
    falses = [_ratio(each[picks, 2].sum(1), each[picks, 3].sum(1)) for each in (mine, other)]
    points = [each.sum(0) for each in (mine, other)]
    better = _ratio(points[0][0], points[0][1]) - _ratio(points[1][0], points[1][1])
    fewer = _ratio(points[1][2], points[1][3]) - _ratio(points[0][2], points[0][3])
    return _between(float(better), recalls[0] - recalls[1]), _between(float(fewer), falses[1] - falses[0])


def _counts(verdicts: Verdicts, chosen: Callable[[Outcome], bool]) -> npt.NDArray[np.float64]:
    """Return per unit, in a fixed order: incidents found, incidents, false alerts, replica-days."""
    units = sorted({*verdicts.days, *(each.unit for each in verdicts.outcomes)})
    place = {unit: number for number, unit in enumerate(units)}
    counts = np.zeros((len(units), 4))
    for each in verdicts.outcomes:
        if chosen(each):
            counts[place[each.unit], :2] += each.found, 1
    for false in verdicts.false:
        if false.unit in place:
            counts[place[false.unit], 2] += 1
    for unit, days in verdicts.days.items():
        counts[place[unit], 3] = days
    return counts


def _picks(units: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, max(units, 1), (ROUNDS, units))


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> npt.NDArray[np.float64]:
    whole = np.asarray(whole, float)
    return np.divide(np.asarray(part, float), whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _spread(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64], seed: int) -> Interval:
    picks = _picks(len(part), seed)
    return _between(float(_ratio(part.sum(), whole.sum())), _ratio(part[picks].sum(1), whole[picks].sum(1)))


def _between(value: float, rounds: npt.NDArray[np.float64]) -> Interval:
    known = rounds[~np.isnan(rounds)]
    if not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.percentile(known, (2.5, 97.5))
    return Interval(value, float(low), float(high))
