"""Runs peerwatch and the baselines over scenarios and recordings, and says what they found, missed and got wrong.

    make bench-detection ARGS="--size quick --seeds development"
    python bench/detection/run.py --arms resolved,addresses --seeds 101-109 --results bench/detection/RESULTS.md

Exit code 0: measured, whatever came out; 2: the call is wrong.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402 — after the path is set, as all below
import recordings  # noqa: E402 — see above
import report  # noqa: E402 — see above
import scoring  # noqa: E402 — see above
import shil  # noqa: E402 — see above
from detector import Detector, Severity, peerwatch  # noqa: E402 — see above
from scenario import ARMS, SIZES, Arm, Recording, Size, generate  # noqa: E402 — see above
from scoring import Event, Verdicts  # noqa: E402 — see above

DEVELOPMENT = tuple(range(1, 10))
"""Seeds to look at while thresholds are chosen."""
REPORT = tuple(range(101, 110))
"""Seeds to report on, and nothing else: who tunes on them measures his memory. Nine each, so that an interval over
(workload, seed) rests on some 340 units."""


def main_with(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; without arguments: those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--arms", default="resolved", help=f"of {', '.join(ARMS)}; comma between (default: resolved)")
    parser.add_argument("--seeds", default="1", help="development, report, or numbers as 1,2 or 101-109 (default: 1)")
    parser.add_argument(
        "--detectors", default="", help="first words of their names (peerwatch,B1,B10), comma between (default: all)"
    )
    parser.add_argument("--recordings", type=Path, help="folder with labelled recordings, judged beside the scenarios")
    parser.add_argument("--counts", type=Path, help="file with count vectors of real attacks, scored beside the scenarios")
    parser.add_argument("--write", type=Path, help="write the scenarios as recordings into this folder, judge nothing")
    parser.add_argument("--results", type=Path, help="write the tables into this file, too")
    asked = parser.parse_args(arguments)
    seeds = seeds_of(asked.seeds)
    unknown = [name for name in asked.arms.split(",") if name not in ARMS]
    detectors = detectors_of(asked.detectors)
    if asked.counts and not asked.counts.is_file():
        parser.error(f"no such file: {asked.counts}")
    if unknown or seeds is None or detectors is None:
        parser.error(f"no such arm, seeds or detectors: {asked.arms} {asked.seeds} {asked.detectors}")
    size, arms = SIZES[asked.size], [ARMS[name] for name in asked.arms.split(",")]
    if asked.write:
        for arm in arms:
            for seed in seeds:
                generate(seed, arm, size).write(asked.write / f"{asked.size}-{arm.name}-{seed}")
        return 0
    parts = [_header(asked.size, size, seeds)]
    for arm in arms:
        parts += _arm_report(arm, measure(detectors, [(seed, arm, size) for seed in seeds]))
    for folder in recordings.find(asked.recordings) if asked.recordings else []:
        parts += _recording_report(folder, detectors)
    if asked.counts:
        parts.append(shil.section(asked.counts))
    text = "\n\n".join(parts) + "\n"
    print(text)
    if asked.results:
        asked.results.write_text(text)
    return 0


def measure(detectors: Mapping[str, Detector], wanted: Iterable[tuple[int, Arm, Size]]) -> dict[str, Verdicts]:
    """Return what each detector made of these scenarios; each scenario is made once and all detectors see the same tables."""
    results = {name: Verdicts() for name in detectors}
    for number, (seed, arm, size) in enumerate(wanted):
        recording = generate(seed, arm, size)
        days = scoring.replica_days(recording.events)
        noise = noise_of(recording)
        tables = list(recording.tables())
        for name, detector in detectors.items():
            began = time.process_time()
            alerts = list(detector(iter(tables)))
            seconds = time.process_time() - began
            verdicts = scoring.judge(
                alerts, recording.labels, days=days, recording=number, rollouts=recording.rollouts, noise=noise
            )
            verdicts.seconds, verdicts.events, verdicts.pace = seconds, len(recording.events), size.pace
            verdicts.infos = sum(each.severity is Severity.INFO for each in alerts)
            results[name] += verdicts
            print(f"seed {seed} {arm.name} {name}: {seconds:.1f} s, {len(alerts)} alerts", file=sys.stderr)
    return results


def noise_of(recording: Recording) -> dict[Event, int]:
    """Return which row of the noise catalogue each event is of that is not a service's own work."""
    events, rows = recording.events, np.flatnonzero(recording.noise > 0)
    pods = [events.subjects[each].pod.name for each in events.subject[rows].tolist()]
    pids = events.processes.pid[events.process[rows]].tolist()
    return dict(zip(zip(events.time[rows].tolist(), pods, pids, strict=True), recording.noise[rows].tolist(), strict=True))


def detectors_of(names: str) -> dict[str, Detector] | None:
    """Return the detectors that are meant, None if there is no such; without names: all."""
    known: dict[str, Detector] = {"peerwatch": peerwatch}
    try:
        from baselines import ALL  # noqa: PLC0415 — they bring scikit-learn, which not everybody has
    except ImportError as error:
        print(f"without baselines: {error}", file=sys.stderr)
    else:
        known.update(ALL)
    if not names:
        return known
    chosen: dict[str, Detector] = {}
    for wanted in names.split(","):
        those = {name: detector for name, detector in known.items() if wanted in {name, name.partition(" ")[0]}}
        if not those:
            return None
        chosen.update(those)
    return chosen


def seeds_of(text: str) -> Sequence[int] | None:
    """Return the seeds that are meant, None if nobody knows."""
    named = {"development": DEVELOPMENT, "report": REPORT}
    if text in named:
        return named[text]
    try:
        ranges = [part.partition("-") for part in text.split(",")]
        return [seed for low, _, high in ranges for seed in range(int(low), int(high or low) + 1)]
    except ValueError:
        return None


def _header(name: str, size: Size, seeds: Sequence[int]) -> str:
    return f"""# Detection, {time.strftime("%Y-%m-%d", time.gmtime())}

Scenarios of size `{name}`: {size.horizon / 3600:.1f} hours each, in which things change {size.pace:g} times as fast as in
real life, seeds {", ".join(map(str, seeds))}. False alerts are per replica-day of the scenario's time; "at real pace" divides
them by {size.pace:g}, which is an estimate: rollouts, jobs and people come so much more often, requests do not.
`make bench-detection` makes these tables again."""


def _arm_report(arm: Arm, results: Mapping[str, Verdicts]) -> list[str]:
    first = next(iter(results.values()))
    days = sum(first.days.values())
    parts = [
        f"## Arm `{arm.name}`",
        f"{len(first.outcomes)} incidents, {days:.1f} replica-days, {first.rollouts} rollouts, {first.events:,} rows.",
        report.headline(results),
    ]
    if "peerwatch" in results:
        ours = results["peerwatch"]
        parts += ["### Goals", report.goals(ours), "### Operating points", report.operating_points(ours)]
        parts += ["### Strata (recall)", report.strata(results)]
        others = {name: verdicts for name, verdicts in results.items() if name != "peerwatch"}
        if others:
            parts += ["### Difference to the baselines (95 % of the paired difference)", report.wins(ours, others)]
        parts += ["### Missed by peerwatch", report.missed(ours), "### False alerts of peerwatch", report.false_alerts(ours)]
    return parts


def _recording_report(folder: Path, detectors: Mapping[str, Detector]) -> list[str]:
    recording = recordings.read(folder)
    days = scoring.replica_days(recording.events)
    tables = list(recording.tables())
    rows = []
    for name, detector in detectors.items():
        verdicts = scoring.judge(detector(iter(tables)), recording.labels, days=days)
        values = scoring.figures(verdicts)
        found = {kind: sum(each.found for each in verdicts.outcomes if each.label.visibility == kind) for kind in "YP"}
        rows.append(
            [
                name,
                f"{found['Y']}/{values['of_Y']}",
                f"{found['P']}/{values['of_P']}",
                len(verdicts.false),
                *(values[key] for key in ("right_replica", "median_s", "p95_s", "alerts_per_incident")),
            ]
        )
    head = ["detector", "Y", "P", "false", "right replica", "median s", "p95 s", "alerts/incident"]
    return [f"## Recording `{folder.name}`", report.table(head, rows)]


if __name__ == "__main__":
    sys.exit(main_with())
