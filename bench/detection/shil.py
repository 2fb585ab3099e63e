"""Scores count vectors of real attacks by the product's core: `collector.detect.volume`, nothing else.

    python bench/detection/shil.py FILE.npz

FILE holds, per attack and for four containers of the same application, calls of each kind per 0.1 s: minutes of normal time
(`train`) and a test with about a normal minute before the attack. Detected: an alarm between the attack's start and success.
False: the share of the samples before with an alarm. All limits come from training minutes and one nominal share for all.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from collector.detect.volume import Habit, beyond_peers, limit, trailing

F64: TypeAlias = npt.NDArray[np.float64]
I64: TypeAlias = npt.NDArray[np.int64]

SAMPLES = 0.003
"""Nominal share of samples with a false alarm: the goal itself."""
CURVE = (0.001, 0.002, 0.005, 0.01)
"""Other nominal shares, to show what the choice costs; none of them is chosen by its result."""
WINDOWS = 0.02
"""Nominal share of windows of four replicas with a false alarm: the goal itself."""
WINDOW = 100
"""Samples in a window of 10 s."""
STEP = 10
"""Training windows overlap, one begins each second: there are three minutes only."""

Score: TypeAlias = Callable[[I64], F64]
"""Of each sample, from the counts of one container."""
Fit: TypeAlias = Callable[[list[I64]], Score]
"""From training minutes to a score."""
Group: TypeAlias = list[I64]
"""One window of each container."""
Rule: TypeAlias = Callable[[list[I64]], Callable[[Group], F64]]
"""From training minutes to a score of each replica of a group."""


@dataclass(frozen=True)
class Attack:
    """One application: training minutes and tests of its containers, with the rows in which each is attacked."""

    name: str
    train: list[I64]
    test: list[I64]
    start: list[int]
    success: list[int]


def load(file: Path) -> list[Attack]:
    """Return all attacks of a file."""
    data = np.load(file)
    index = data["index"]
    found = []
    for name in sorted({str(each) for each in index["cve"]}):
        rows = sorted(index[index["cve"] == name], key=lambda row: int(row["container"]))
        counts = {
            part: [data[f"{name}/{row['container']}/{part}"].astype(np.int64) for row in rows] for part in ("train", "test")
        }
        starts, ends = ([int(row[column]) for row in rows] for column in ("start", "success"))
        found.append(Attack(name, counts["train"], counts["test"], starts, ends))
    return found


# What a sample is scored by, from the simplest to the one in use.


def never_seen(train: list[I64]) -> Score:
    """Score 1 where something happens that never did: an allow list."""
    seen = np.concatenate(train).any(axis=0)
    return lambda counts: (counts[:, ~seen] > 0).any(axis=1).astype(np.float64)


def plain(train: list[I64]) -> Score:
    """Score by standard deviations of counts, not of their logarithms."""
    counts = np.concatenate(train)
    mean, spread = counts.mean(axis=0), counts.std(axis=0) + 1
    return lambda counts: ((counts - mean) / spread).max(axis=1)


def surprise(windows: int) -> Fit:
    """Score by the largest surprise among the items, in the last so many samples."""

    def fit(train: list[I64]) -> Score:
        habit = Habit.of(np.concatenate([trailing(each, windows) for each in train]))
        return lambda counts: habit.surprise(trailing(counts, windows)).max(axis=1)

    return fit


def summed(train: list[I64]) -> Score:
    """Score by the sum of the positive surprises, squared."""
    habit = Habit.of(np.concatenate(train))
    return lambda counts: (np.maximum(habit.surprise(counts), 0) ** 2).sum(axis=1)


def shares(train: list[I64]) -> Score:
    """Score by surprise about what is left of each item when it is scaled with the container's whole activity."""

    def scaled(counts: I64) -> F64:
        total = counts.sum(axis=1, keepdims=True)
        return np.asarray(counts * (typical / np.maximum(total, typical)), np.float64)

    typical = float(np.median(np.concatenate(train).sum(axis=1))) + 1
    habit = Habit.of(scaled(np.concatenate(train)))
    return lambda counts: habit.surprise(scaled(counts)).max(axis=1)


FITS: dict[str, Fit] = {
    "never seen (allow list)": never_seen,
    "plain counts, largest": plain,
    "surprise, sum of squares": summed,
    "surprise, scaled by activity": shares,
    "surprise, largest, 1 s": surprise(10),
    "surprise, largest, 0.3 s": surprise(3),
    "surprise, largest, 0.1 s (in use)": surprise(1),
}


def samples(attacks: list[Attack], fit: Fit, share: float, *, apart: bool) -> dict[str, Any]:
    """Return how one score does on single containers.

    With `apart` the limit comes from training minutes of containers that the score was not fitted on.
    """
    found: list[bool] = []
    missed: dict[str, int] = {}
    false = normal = traces = 0
    for attack in attacks:
        score = fit(attack.train)
        if apart:
            scores = [fit(attack.train[:k] + attack.train[k + 1 :])(each) for k, each in enumerate(attack.train)]
        else:
            scores = [score(each) for each in attack.train]
        level = limit(np.concatenate(scores), share)
        for counts, start, success in zip(attack.test, attack.start, attack.success, strict=True):
            alarm = score(counts) > level
            found.append(bool(alarm[start : success + 1].any()))
            if not found[-1]:
                missed[attack.name] = missed.get(attack.name, 0) + 1
            false += int(alarm[:start].sum())
            traces += bool(alarm[:start].any())
            normal += start
    return {
        "detected": round(float(np.mean(found)), 4),
        "false_share": round(false / normal, 5),
        "traces_with_false": round(traces / len(found), 3),
        "missed": missed,
    }


# One victim among four.


def new_and_alone(train: list[I64]) -> Callable[[Group], F64]:
    """Score by how many items never happened in the workload and happen on one replica only."""
    seen = np.concatenate(train).any(axis=0)

    def score(group: Group) -> F64:
        shows = np.stack([each.any(axis=0) for each in group]) & ~seen
        return np.asarray((shows & (shows.sum(axis=0) == 1)).sum(axis=1), np.float64)

    return score


def replica_watcher(_: list[I64]) -> Callable[[Group], F64]:
    """Score by one minus the mean Jaccard similarity with the others: ReplicaWatcher's rule on names."""

    def score(group: Group) -> F64:
        sets = np.stack([each.any(axis=0) for each in group]).astype(np.float64)
        common = sets @ sets.T
        size = sets.sum(axis=1)
        similarity = common / np.maximum(size[:, None] + size[None, :] - common, 1)
        mean = (similarity.sum(axis=1) - np.diag(similarity)) / (len(group) - 1)
        return np.where(size > 0, 1 - mean, 0.0)

    return score


def among(explain: Callable[[F64], F64]) -> Rule:
    """Score by the largest surprise of the window's counts that the peers leave."""

    def fit(train: list[I64]) -> Callable[[Group], F64]:
        habit = Habit.of(np.concatenate([trailing(each, WINDOW)[WINDOW - 1 :: STEP] for each in train]))
        return lambda group: explain(habit.surprise(np.stack([each.sum(axis=0) for each in group]))).max(axis=1)

    return fit


def beyond_all(values: F64) -> F64:
    """Take off what the highest other replica shows."""
    others = np.stack([np.delete(values, each, axis=0).max(axis=0) for each in range(len(values))])
    return np.asarray(values - np.maximum(others, 0.0), np.float64)


RULES: dict[str, Rule] = {
    "ReplicaWatcher's rule": replica_watcher,
    "never seen and on one replica only": new_and_alone,
    "surprise, without peers": among(lambda values: values),
    "surprise beyond the highest peer": among(beyond_all),
    "surprise beyond the peers' median (in use)": among(beyond_peers),
}


def peers(attacks: list[Attack], rule: Rule, share: float) -> dict[str, Any]:
    """Return how one rule does on one victim among four replicas, windows of 10 s."""
    found: list[bool] = []
    right = false = benign = 0
    for attack in attacks:
        score = rule(attack.train)
        level = limit(np.array([score(group).max() for group in _together(attack.train, STEP)]), share)
        quiet = [counts[: min(attack.start)] for counts in attack.test]
        for group in _together(quiet, WINDOW):
            benign += 1
            false += bool(score(group).max() > level)
        for victim, start in enumerate(attack.start):
            group = [counts[begin - WINDOW : begin] for counts, begin in zip(attack.test, attack.start, strict=True)]
            group[victim] = attack.test[victim][start : start + WINDOW]
            values = score(group)
            found.append(bool(values.max() > level))
            right += found[-1] and int(values.argmax()) == victim
    return {
        "recall": round(float(np.mean(found)), 4),
        "false_share": round(false / benign, 4),
        "benign_windows": benign,
        "right_replica": round(right / max(sum(found), 1), 3),
    }


def _together(counts: list[I64], step: int) -> Iterator[Group]:
    for begin in range(0, min(map(len, counts)) - WINDOW + 1, step):
        yield [each[begin : begin + WINDOW] for each in counts]


def main() -> int:
    """Print the tables, one line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    if not arguments.file.exists():
        print(f"skipped: {arguments.file} is not there", file=sys.stderr)
        return 0
    attacks = load(arguments.file)
    for name, fit in FITS.items():
        for apart in (True, False):
            result = samples(attacks, fit, SAMPLES, apart=apart)
            print(json.dumps({"part": "samples", "score": name, "limit_from": "others" if apart else "all", **result}))
    for share in CURVE:
        result = samples(attacks, surprise(1), share, apart=True)
        print(json.dumps({"part": "curve", "nominal_share": share, **result}))
    for name, rule in RULES.items():
        print(json.dumps({"part": "peers", "score": name, **peers(attacks, rule, WINDOWS)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
