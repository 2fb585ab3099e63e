"""Scores the detection on a labelled recording: attacks found, the right replica named, false alerts, time to detect.

    python bench/detection/score_recording.py FOLDER [--verbose]

FOLDER holds `events.jsonl.gz` (the event contract) and `labels.jsonl`: one attack a line with `lines` (0-based lines of the
events that it made), `start`, `end`, `pods`, `visibility` (Y: something of it is new for its workload; P: only arguments,
counts or order give it away) and `replicas`. An attack is found by an alert (severity LOW or above) that is raised between its
start and five minutes after its end, names its pod and holds one of its events. Every other alert is false.
"""

import argparse
import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from peerwatch.columns import NANOSECONDS
from peerwatch.jsonlines import parse_time

from collector import backtest
from collector.records import Incident, Severity

GRACE = 300 * NANOSECONDS
SLOW = 60 * NANOSECONDS


def main() -> int:
    """Score one recording and print the result, one line of JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--verbose", action="store_true", help="name what was missed and what was false")
    arguments = parser.parse_args()
    events, labels = arguments.folder / "events.jsonl.gz", arguments.folder / "labels.jsonl"
    if not events.exists() or not labels.exists():
        print(f"skipped: {arguments.folder} holds no labelled recording (events.jsonl.gz, labels.jsonl)", file=sys.stderr)
        return 0
    latest: dict[str, Incident] = {}
    for incident in backtest.run([events], report=lambda text: print(text, file=sys.stderr)):
        latest[incident.id] = incident
    alerts = [each for each in latest.values() if each.severity >= Severity.LOW]
    result = score(alerts, [json.loads(line) for line in labels.open()], events, verbose=arguments.verbose)
    print(json.dumps(result))
    return 0


def score(alerts: list[Incident], labels: list[dict[str, Any]], events: Path, *, verbose: bool) -> dict[str, Any]:
    """Return the figures for these alerts."""
    wanted = {line: label["id"] for label in labels for line in label["lines"]}
    made: dict[str, set[tuple[int, str, int]]] = {label["id"]: set() for label in labels}
    with gzip.open(events) as lines:
        for number, line in enumerate(lines):
            if number in wanted:
                event = json.loads(line)
                made[wanted[number]].add((parse_time(event["time"]), event["pod"]["name"], event["process"]["pid"]))
    found: Counter[str] = Counter()
    true: set[str] = set()
    delays: list[float] = []
    right = comparable = slow = 0
    for label in labels:
        start, end = parse_time(label["start"]), parse_time(label["end"])
        touching = [each for each in alerts if _holds(each, made[label["id"]])]
        if label["replicas"] >= 3 and touching:
            comparable += 1
            right += {each.pod for each in touching[0].replicas} == set(label["pods"])
        hits = [
            each
            for each in touching
            if start <= each.time <= end + GRACE and set(label["pods"]) & {replica.pod for replica in each.replicas}
        ]
        true |= {each.id for each in hits}
        if hits:
            found[label["visibility"]] += 1
            delay = min(each.time for each in hits) - start
            delays.append(delay / NANOSECONDS)
            slow += delay > SLOW
        elif verbose:
            print(f"missed {label['id']} {label['visibility']} {label['workload']} {label['template']} {label['variant']}")
    false = [each for each in alerts if each.id not in true]
    if verbose:
        for each in false:
            print(
                f"false {each.severity.name} {each.workload.name} {each.score} {each.reason} {[b.key for b in each.behaviours]}"
            )
    total = Counter(label["visibility"] for label in labels)
    return {
        "found_Y": found["Y"],
        "of_Y": total["Y"],
        "found_P": found["P"],
        "of_P": total["P"],
        "slower_than_60s": slow,
        "false_alerts": len(false),
        "alerts": len(alerts),
        "right_replica": round(right / comparable, 3) if comparable else None,
        "median_seconds": round(median(delays), 3) if delays else None,
        "slowest_seconds": round(max(delays), 1) if delays else None,
    }


def _holds(incident: Incident, events: set[tuple[int, str, int]]) -> bool:
    return any((each.time, each.pod, each.pid) in events for each in incident.evidence)


if __name__ == "__main__":
    sys.exit(main())
