"""What each part of the detection is worth: the same scenarios judged without it.

    python bench/detection/ablations.py --seeds development --results bench/detection/ABLATIONS.md
    python bench/detection/ablations.py --seeds 1-3 --only peers,arguments

What can be taken away from the events is (arguments, peers, names of destinations), so that the product has no switch that only
a benchmark uses; the rest is set or replaced here. Exit code 0: measured; 2: the call is wrong.
"""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402 — after the path is set, as all below
import report  # noqa: E402 — see above
import run  # noqa: E402 — see above
import scoring  # noqa: E402 — see above
from detector import Alert, Detector, peerwatch  # noqa: E402 — see above
from peerwatch.columns import NANOSECONDS, EventColumns  # noqa: E402 — see above
from scenario import ARMS, SIZES  # noqa: E402 — see above

from collector.analysis import Settings, chains, judging, meaning, sightings, volume  # noqa: E402 — see above
from collector.analysis.roles import Turn  # noqa: E402 — see above
from collector.detect import decision, support  # noqa: E402 — see above

FORGET_S = 600
"""Without history, all is forgotten so often: twice the longest window of the published comparison of replicas."""

LOSSES = ("resolved", "loss1", "loss10")
COLUMNS = ("recall_Y", "macro_recall", "recall_P", "false_per_replica_day", "false_at_real_pace", "high_false_per_replica_day")
HEAD = ("Y", "macro", "P", "false/replica-day", "at real pace", "HIGH+", "right replica", "median s", "alerts/incident")


def without_peers(tables: Iterable[EventColumns]) -> list[Alert]:
    """Let each replica be a workload of its own."""
    alone = (
        dataclasses.replace(
            table,
            subjects=[
                dataclasses.replace(
                    each,
                    pod=dataclasses.replace(each.pod, workload=dataclasses.replace(each.pod.workload, name=each.pod.name)),
                )
                if each.pod.workload.name
                else each
                for each in table.subjects
            ],
        )
        for table in tables
    )
    return peerwatch(alone)


def without_history(tables: Iterable[EventColumns]) -> list[Alert]:
    """Begin anew every ten minutes: peers are all that there is."""
    return [alert for part in _parts(tables) for alert in peerwatch(part)]


def _parts(tables: Iterable[EventColumns]) -> Iterator[list[EventColumns]]:
    part: list[EventColumns] = []
    end = 0
    for table in tables:
        begin = 0
        while begin < len(table):
            if not part:
                end = int(table.time[begin]) + FORGET_S * NANOSECONDS
            cut = max(begin + 1, int(np.searchsorted(table.time, end)))
            part.append(table.take(np.arange(begin, min(cut, len(table)))))
            if cut < len(table):
                yield part
                part = []
            begin = cut
    yield part


def without_arguments(tables: Iterable[EventColumns]) -> list[Alert]:
    """Take all arguments away."""
    return peerwatch(
        dataclasses.replace(table, processes=dataclasses.replace(table.processes, args=np.zeros_like(table.processes.args)))
        for table in tables
    )


def without_names(tables: Iterable[EventColumns]) -> list[Alert]:
    """Take away what is known of addresses: a destination is an address and no workload, service or name."""
    return peerwatch(
        dataclasses.replace(
            table,
            connects=dataclasses.replace(table.connects, peer=np.zeros_like(table.connects.peer)),
            accepts=dataclasses.replace(table.accepts, peer=np.zeros_like(table.accepts.peer)),
        )
        for table in tables
    )


def without_software(tables: Iterable[EventColumns]) -> list[Alert]:
    """Take away what is known of software by its name."""
    nobody = SimpleNamespace(
        business=lambda _: frozenset[str](), reaches_everything=lambda _: False, runs_anything=lambda _: False
    )
    with contextlib.ExitStack() as stack:
        for module in (meaning, sightings, volume):
            stack.enter_context(mock.patch.object(module, "software", nobody))
        return peerwatch(tables)


def _set(**changes: Any) -> Detector:  # noqa: ANN401 — fields of Settings, which check themselves
    return lambda tables: peerwatch(tables, dataclasses.replace(Settings(), **changes))


def _replaced(where: object, what: str, by: object) -> Detector:
    def judge(tables: Iterable[EventColumns]) -> list[Alert]:
        with mock.patch.object(where, what, by):
            return peerwatch(tables)

    return judge


ABLATIONS: Mapping[str, Detector] = {
    "all": peerwatch,
    "peers": without_peers,
    "history": without_history,
    "arguments": without_arguments,
    "names of destinations": without_names,
    "names of software": without_software,
    "phase": _set(startup=0.0),
    "support rule": _replaced(support, "needed", lambda _: 1),
    "hold": _set(hold=0.0),
    "at once where nobody follows": _replaced(decision, "nobody_follows", lambda **_: False),
    "users' own programs": _replaced(meaning, "VARIETY", 10**9),
    "roles that move": _replaced(judging, "turn", lambda *_: Turn.GOING),
    "steps minutes apart": _replaced(chains, "SIBLINGS", 0),
    "joint evidence": _replaced(decision, "joint", lambda _: 1.0),
    "own share of what is odd": _replaced(decision, "DISCOVERIES", 10**9),
    "rare looking": _set(limits=dataclasses.replace(decision.DEFAULT_LIMITS, person=0.0)),
    "less for odd with few peers": _set(
        limits=dataclasses.replace(decision.DEFAULT_LIMITS, alone_odd=decision.DEFAULT_LIMITS.alone)
    ),
}
"""What is taken away → the detector without it."""


def main_with(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; without arguments: those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--seeds", default="1-5", help="development, or numbers as 1,2 or 11-15 (default: 1-5)")
    parser.add_argument("--only", default="", help=f"of {', '.join(ABLATIONS)}; comma between (default: all)")
    parser.add_argument("--no-loss", action="store_true", help="leave out the arms in which events are lost")
    parser.add_argument("--results", type=Path, help="write the tables into this file, too")
    asked = parser.parse_args(arguments)
    seeds = run.seeds_of(asked.seeds)
    names = ["all", *(each for each in asked.only.split(",") if each)] if asked.only else list(ABLATIONS)
    if seeds is None or not ABLATIONS.keys() >= set(names):
        parser.error(f"no such seeds or parts: {asked.seeds} {asked.only}")
    size = SIZES[asked.size]
    results = run.measure({name: ABLATIONS[name] for name in names}, [(seed, ARMS["resolved"], size) for seed in seeds])
    rows = [[f"- {name}" if name != "all" else name, *_figures(verdicts)] for name, verdicts in results.items()]
    text = f"""# Ablations

Scenarios of size `{asked.size}`, seeds {asked.seeds}: what is reached when one part is taken away.
`python bench/detection/ablations.py --seeds {asked.seeds} --results bench/detection/ABLATIONS.md` makes this again.

{report.table(["without", *HEAD], rows)}
"""
    if not asked.no_loss:
        lost = [
            [arm, *_figures(run.measure({"all": peerwatch}, [(seed, ARMS[arm], size) for seed in seeds])["all"])]
            for arm in LOSSES
        ]
        text += f"\n## Events lost: none, 1 %, 10 %\n\n{report.table(['arm', *HEAD], lost)}\n"
    print(text)
    if asked.results:
        asked.results.write_text(text)
    return 0


def _figures(verdicts: scoring.Verdicts) -> list[float]:
    values = scoring.figures(verdicts)
    return [values[each] for each in (*COLUMNS, "right_replica", "median_s", "alerts_per_incident")]


if __name__ == "__main__":
    sys.exit(main_with())
