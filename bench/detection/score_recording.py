"""Scores the detection on a labelled recording: attacks found, the right replica named, false alerts, time to detect.

    python bench/detection/score_recording.py FOLDER [--verbose]

FOLDER holds `events.jsonl.gz` (the event contract) and `labels.jsonl`: one attack a line with `lines` (0-based lines of the
events that it made), `start`, `end`, `pods`, `visibility` (Y: something of it is new for its workload; P: only arguments,
counts or order give it away) and `replicas`. What is found and what is false is `scoring`'s business.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import recordings
import scoring
from detector import Severity, alerts_of

from collector import backtest

if TYPE_CHECKING:
    from collector.records import Incident

SLOW_S = 60


def main() -> int:
    """Score one recording and print the result, one line of JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--verbose", action="store_true", help="name what was missed and what was false")
    arguments = parser.parse_args()
    if arguments.folder not in recordings.find(arguments.folder):
        print(f"skipped: {arguments.folder} holds no labelled recording (events.jsonl.gz, labels.jsonl)", file=sys.stderr)
        return 0
    latest: dict[str, Incident] = {}
    for incident in backtest.run([arguments.folder / recordings.EVENTS], report=lambda text: print(text, file=sys.stderr)):
        latest[incident.id] = incident
    alerts = [each for each in alerts_of(latest.values()) if each.severity >= Severity.LOW]
    verdicts = scoring.judge(alerts, recordings.read_labels(arguments.folder), days={})
    if arguments.verbose:
        _explain(verdicts)
    print(json.dumps(result(verdicts, alerts=len(alerts))))
    return 0


def result(verdicts: scoring.Verdicts, *, alerts: int) -> dict[str, Any]:
    """Return the figures of one recording."""
    found = [each for each in verdicts.outcomes if each.found]
    rights = [each.right for each in verdicts.outcomes if each.right is not None]
    delays = [each.delay for each in found]

    def count(outcomes: list[scoring.Outcome], visibility: str) -> int:
        return sum(each.label.visibility == visibility for each in outcomes)

    return {
        "found_Y": count(found, "Y"),
        "of_Y": count(verdicts.outcomes, "Y"),
        "found_P": count(found, "P"),
        "of_P": count(verdicts.outcomes, "P"),
        "slower_than_60s": sum(delay > SLOW_S for delay in delays),
        "false_alerts": len(verdicts.false),
        "alerts": alerts,
        "right_replica": round(sum(rights) / len(rights), 3) if rights else None,
        "median_seconds": round(median(delays), 3) if delays else None,
        "slowest_seconds": round(max(delays), 1) if delays else None,
    }


def _explain(verdicts: scoring.Verdicts) -> None:
    for outcome in verdicts.outcomes:
        label = outcome.label
        if not outcome.found:
            print(f"missed {label.id} {label.visibility} {label.workload} {label.template} {label.variant}")
    for false in verdicts.false:
        print(f"false {false.alert.severity.name} {false.alert.workload.name} {false.alert.label}")


if __name__ == "__main__":
    sys.exit(main())
