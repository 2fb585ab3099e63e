"""Measures how fast recordings are read and judged, each part by itself, on one core.

    python bench/detection/speed.py                       a scenario of two hours
    python bench/detection/speed.py --recordings FOLDER   labelled recordings, too
    python bench/detection/speed.py --size full --rows 400000
    python bench/detection/speed.py --recordings FOLDER --results bench/detection/SPEED.md   into a file, too: all of it

What is analysed is analysed twice: as it is, from nothing learned, and once more hours later, when nearly all is known. The
first says what news costs, the second what a day of a settled cluster does.

Rows a second of CPU time; a row stands for as many events as were folded into it. The shares of the analysis come from a second
run under the profiler, which makes Python's own calls look slower than they are: they tell where to look, not how long.
"""

import argparse
import cProfile
import dataclasses
import datetime
import gc
import platform
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402 — after the path is set, as all below
import pyarrow.parquet as pq  # noqa: E402 — see above
import recordings  # noqa: E402 — see above
import report  # noqa: E402 — see above
from peerwatch import jsonlines  # noqa: E402 — see above
from peerwatch.columns import NANOSECONDS, EventColumns  # noqa: E402 — see above
from scenario import ARMS, SIZES, generate  # noqa: E402 — see above

from collector import backtest  # noqa: E402 — see above
from collector.analysis import Analysis  # noqa: E402 — see above
from collector.archive.encode import to_arrow  # noqa: E402 — see above
from collector.recordings import archived, lines_of  # noqa: E402 — see above

TABLE_ROWS = 16_384
"""As backtest cuts its tables."""

GOAL = 200_000
"""Rows a second that a backtest is to judge."""

LATER = 3 * 3_600 * NANOSECONDS
"""Longer than the recordings that this is for; a replica is still running then."""

_MEMORY = type(lru_cache(abs))
"""What keeps the results of a function."""

SECTIONS = {
    "keys of behaviours": ("behaviours.py", "observe"),
    "counting for volume": ("batch.py", "_tally"),
    "ends of windows": ("verdicts.py", "end_window"),
    "new sightings": ("groups.py", "see"),
    "judgements": ("verdicts.py", "_judge"),
}
"""What is told of the analysis: file and function. They do not overlap, save that a judgement may end a window."""


def main_with(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; without arguments: those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, help="folder with labelled recordings, measured beside the scenario")
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=sys.maxsize, help="only so many, from the beginning")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many counts (default: 3)")
    parser.add_argument("--results", type=Path, help="write the tables into this file, too")
    asked = parser.parse_args(arguments)
    parts = [_header()]
    for name, events in _events(asked.recordings, asked.size, asked.seed):
        parts.append(_section(name, events.take(np.arange(min(len(events), asked.rows))).compact(), asked.rounds))
        print(parts[-1], file=sys.stderr)
    text = "\n\n".join(parts) + "\n"
    print(text)
    if asked.results:
        asked.results.write_text(text)
    return 0


def _events(folder: Path | None, size: str, seed: int) -> Iterator[tuple[str, EventColumns]]:
    yield f"{size}, seed {seed}", scenario(size, seed)
    for each in recordings.find(folder) if folder else []:
        yield each.name, recordings.read(each).events


def _section(name: str, events: EventColumns, rounds: int) -> str:
    """Return the tables of one recording."""
    tables = [
        events.take(np.arange(begin, min(begin + TABLE_ROWS, len(events)))).compact()
        for begin in range(0, len(events), TABLE_ROWS)
    ]
    seconds = measure(tables, rounds)
    counted = int(events.counts().sum())
    rows = [
        [name, f"{len(events) / taken:,.0f}", f"{counted / taken:,.0f}", _held_against_goal(name, len(events) / taken)]
        for name, taken in seconds.items()
    ]
    return (
        f"## {name}\n\n"
        f"{len(events):,} rows, {counted:,} events, in {len(tables)} tables\n\n"
        f"{report.table(['section', 'rows/s', 'events/s', 'goal'], rows)}\n\n"
        f"{report.table(['part of the analysis', 'share, profiled'], shares(tables))}"
    )


def _held_against_goal(section: str, speed: float) -> str:
    return "" if not section.startswith("backtest") else "reached" if speed >= GOAL else "missed"


def measure(tables: Sequence[EventColumns], rounds: int) -> dict[str, float]:
    """Return the seconds that each part takes."""
    later = [dataclasses.replace(table, time=table.time + LATER) for table in tables]
    with tempfile.TemporaryDirectory() as folder:
        lines, archive, again = (Path(folder, name) for name in ("events.jsonl", "events.parquet", "later.parquet"))
        with lines.open("wb") as out:
            for table in tables:
                out.writelines(jsonlines.write(table))
        for path, recorded in ((archive, tables), (again, later)):
            whole = to_arrow(EventColumns.concatenate(recorded))
            pq.write_table(whole, path, compression="zstd", row_group_size=65_536)  # as the archive does
        work: dict[str, Callable[[], Iterable[object]]] = {
            "reading lines": lambda: jsonlines.read(lines_of(str(lines))),
            "reading the archive": lambda: archived(str(archive)),
            "analysis, from nothing": lambda: analyse(tables),
            "backtest of lines": lambda: backtest.run([lines]),
            "backtest of the archive": lambda: backtest.run([archive]),
            "backtest of the archive, twice": lambda: backtest.run([archive, again]),
        }
        seconds = {name: fastest(each, rounds) for name, each in work.items()}
    twice = seconds.pop("backtest of the archive, twice")
    seconds["backtest of the archive, all known"] = max(twice - seconds["backtest of the archive"], 1e-9)
    seconds["analysis, all known"] = min(known(tables) for _ in range(rounds))
    return dict(sorted(seconds.items()))


def _header() -> str:
    return f"""# Speed of reading and judging, {datetime.datetime.now(tz=datetime.UTC).date()}

CPU time of one core, the fastest of some rounds; nothing is remembered from one to the next. A row is a line or a row of the
archive; an event is one of those that were folded into it. *From nothing*: nothing is learned yet, and each row that shows
something new is judged; *all known*: the same events once more, hours later, as on a day of a settled cluster. The goal of a
backtest is {GOAL:,} rows a second. Python {platform.python_version()}, numpy {np.__version__}.
`python bench/detection/speed.py` makes these tables again."""


def scenario(size: str, seed: int) -> EventColumns:
    """Return the events of a generated recording."""
    return generate(seed, ARMS["resolved"], SIZES[size]).events


def analyse(tables: Iterable[EventColumns]) -> Iterable[object]:
    """Learn and judge."""
    analysis = Analysis()
    for table in tables:
        yield from analysis.observe(table)
    yield from analysis.finish()


def known(tables: Iterable[EventColumns]) -> float:
    """Return the seconds of CPU time that the same events take once more, hours later."""
    analysis = Analysis()
    later = [dataclasses.replace(table, time=table.time + LATER) for table in tables]
    for table in tables:
        analysis.observe(table)
    began = time.process_time()
    for table in later:
        analysis.observe(table)
    return time.process_time() - began


def fastest(work: Callable[[], Iterable[object]], rounds: int) -> float:
    """Return the seconds of CPU time of the fastest round."""
    seconds = []
    for _ in range(rounds):
        _forget()
        began = time.process_time()
        for _ in work():
            pass
        seconds.append(time.process_time() - began)
    return min(seconds)


def _forget() -> None:
    """Let functions forget what they remember: a backtest is a process of its own, which meets all for the first time."""
    for each in gc.get_objects():
        if type(each) is _MEMORY:
            each.cache_clear()


def shares(tables: Iterable[EventColumns]) -> list[list[object]]:
    """Return which share of the analysis its parts take."""
    profile = cProfile.Profile()
    profile.runcall(lambda: list(analyse(tables)))
    stats = pstats.Stats(profile)
    taken = {(Path(file).name, function): values[3] for (file, _, function), values in stats.stats.items()}
    return [[name, f"{taken.get(where, 0.0) / stats.total_tt:.0%}"] for name, where in SECTIONS.items()]


if __name__ == "__main__":
    sys.exit(main_with())
