"""Tables of what came out, as Markdown: the same text on the terminal and in RESULTS.md."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import scoring
from detector import Severity
from scenario.attacks import INVISIBLE
from scenario.noise import NOISE
from scoring import Outcome, Verdicts

__all__ = ["false_alerts", "goals", "headline", "missed", "operating_points", "strata", "table", "wins"]

GOALS = {
    "recall_Y": (">=", 0.985),
    "macro_recall": (">=", 0.95),
    "recall_P": (">=", 0.75),
    "false_per_replica_day": ("<=", 0.05),
    "high_false_per_replica_day": ("<=", 0.01),
    "false_per_rollout": ("<=", 0.2),
    "precision_10": (">=", 0.91),
    "right_replica": (">=", 0.97),
    "median_s": ("<=", 10.0),
    "p95_s": ("<=", 60.0),
    "alerts_per_incident": ("<=", 1.2),
}
"""What has to be reached on the report seeds; a scenario that is not of a real pace has another false-alert rate."""

COLUMNS = {
    "recall_Y": "Y",
    "macro_recall": "macro",
    "recall_P": "P",
    "false_per_replica_day": "false/replica-day",
    "false_at_real_pace": "at real pace",
    "high_false_per_replica_day": "HIGH+",
    "false_per_rollout": "/rollout",
    "precision_10": "prec. 1:10",
    "precision_100": "1:100",
    "right_replica": "right replica",
    "median_s": "median s",
    "p95_s": "p95 s",
    "alerts_per_incident": "alerts/incident",
}
MOST = 10


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table, aligned for reading as it is."""
    cells = [[_cell(value) for value in row] for row in (head, *rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    lines = [" | ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)) for row in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return str(value).replace("|", "\\|")


def headline(results: Mapping[str, Verdicts]) -> str:
    """Return one line per detector."""
    rows = []
    for name, verdicts in results.items():
        values = scoring.figures(verdicts)
        rows.append([name, *(values[column] for column in COLUMNS), f"{verdicts.seconds:.0f}"])
    return table(["detector", *COLUMNS.values(), "CPU s"], rows)


def goals(verdicts: Verdicts) -> str:
    """Return each goal, what was reached and its 95 % interval where there is one."""
    values = scoring.figures(verdicts)
    spread = {
        "recall_Y": scoring.interval(verdicts, lambda each: each.label.visibility == "Y"),
        "recall_P": scoring.interval(verdicts, lambda each: each.label.visibility == "P"),
        "false_per_replica_day": scoring.false_interval(verdicts),
    }
    rows = []
    for name, (sign, goal) in GOALS.items():
        met = values[name] >= goal if sign == ">=" else values[name] <= goal
        between = f"[{spread[name].low:.3f}, {spread[name].high:.3f}]" if name in spread else ""
        rows.append([name, f"{sign} {goal}", values[name], between, "yes" if met else "no"])
    return table(["figure", "goal", "reached", "95 %", "met"], rows)


def operating_points(verdicts: Verdicts) -> str:
    """Return what is found and what is false if only alerts of a severity and above are looked at."""
    days = sum(verdicts.days.values())
    rows = []
    for severity in Severity:
        if severity < Severity.LOW:
            continue
        shares = []
        for visibility in "YP":
            those = [each.severity >= severity for each in verdicts.outcomes if each.label.visibility == visibility]
            shares.append(sum(those) / len(those) if those else math.nan)
        false = sum(each.alert.severity >= severity for each in verdicts.false) / days if days else math.nan
        precisions = [scoring.precision(0.0 if math.isnan(shares[0]) else shares[0], false, many) for many in (10, 100)]
        rows.append([f"{severity.name} and above", *shares, false, *precisions])
    return table(["alerts", "Y", "P", "false/replica-day", "prec. 1:10", "1:100"], rows)


def strata(results: Mapping[str, Verdicts]) -> str:
    """Return recall by stratum, one column per detector; strata without incidents are left out."""
    rows = []
    for name, chosen in scoring.strata().items():
        first = next(iter(results.values()))
        many = sum(chosen(each) for each in first.outcomes)
        if many:
            shares = [scoring.recall(filter(chosen, verdicts.outcomes)) for verdicts in results.values()]
            rows.append([name, many, *shares])
    return table(["stratum", "incidents", *results], rows)


def wins(ours: Verdicts, theirs: Mapping[str, Verdicts]) -> str:
    """Return by how much peerwatch is better than each baseline, with intervals of the paired difference."""

    def chosen(each: Outcome) -> bool:
        return each.label.visibility in {"Y", "P"}

    rows = []
    for name, verdicts in theirs.items():
        better, fewer = scoring.paired(ours, verdicts, chosen)
        rows.append([name, str(better), str(fewer)])
    return table(["baseline", "recall Y and P: higher by", "false alerts per replica-day: fewer by"], rows)


def missed(verdicts: Verdicts) -> str:
    """Return the rows of the catalogue of which something was missed, and those that nobody could see."""
    total = Counter(map(_key, verdicts.outcomes))
    found = Counter(_key(each) for each in verdicts.outcomes if each.found)
    rows = []
    for key in sorted(total):
        if found[key] < total[key]:
            details = sorted(_short(each) for each in verdicts.outcomes if _key(each) == key and not each.found)
            rows.append([*key, f"{found[key]}/{total[key]}", "; ".join(details)])
    hidden = "\n".join(f"- {row}: {what}" for row, what in INVISIBLE.items())
    return f"{table(['row', 'technique', 'visibility', 'found', 'missed ones'], rows)}\n\nNot visible, not played:\n\n{hidden}"


def _key(outcome: Outcome) -> tuple[int, str, str]:
    return outcome.label.row, outcome.label.technique, outcome.label.visibility


def _short(outcome: Outcome) -> str:
    label = outcome.label
    return " ".join(filter(None, (label.template, label.variant, label.phase, f"N={label.replicas}", "".join(label.also))))


def false_alerts(verdicts: Verdicts) -> str:
    """Return how many false alerts each row of the noise catalogue made, the most frequent first, with one example each."""
    count = Counter(each.noise for each in verdicts.false)
    rows = []
    for row, many in count.most_common(MOST):
        examples = [each for each in verdicts.false if each.noise == row]
        severities = Counter(each.alert.severity.name for each in examples)
        what = {0: "the service's own work", -1: "an attack's events, late or the wrong pod"}.get(row) or NOISE[row].what
        rows.append(
            [row, what, many, ", ".join(f"{n} {name}" for name, n in severities.items()), examples[0].alert.label[:160]]
        )
    return table(["noise row", "what", "false alerts", "severity", "example"], rows)
