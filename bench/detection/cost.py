"""Measures what learning and detection cost: memory per sighting, and time per 1,000 events, up to 10,000 replicas.

    python bench/detection/cost.py                                    four sizes, minutes
    python bench/detection/cost.py --replicas 1000 --per-workload 10  one of them
    python bench/detection/cost.py --results bench/detection/COST.md  into a file, too

A sighting is one behaviour on one replica of a workload. Each size is measured in a process of its own: first all replicas
do for the first time what they do, then they repeat it, then single replicas do what nobody ever did. Times are CPU time of one
core; memory is what the process holds in addition to what it held before, with nothing but the analysis in it.
"""

import argparse
import dataclasses
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402 — after the path is set, as all below
import report  # noqa: E402 — see above
from peerwatch.addresses import pack_address  # noqa: E402 — see above
from peerwatch.columns import (  # noqa: E402 — see above
    NANOSECONDS,
    ColumnsBuilder,
    ConnectResult,
    EventColumns,
    Peer,
    ProcessFlag,
    Protocol,
)
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload  # noqa: E402 — see above

from collector.analysis import Analysis  # noqa: E402 — see above

SIZES = ((100, 10), (1_000, 10), (1_000, 250), (10_000, 250))
"""Replicas, and how many of them a workload has."""

BEHAVIOURS = 200
EXECS = 80
"""So many of them are programs …"""

TOLD = 40
"""… of which so many have arguments, which are behaviours of their own; the others are destinations."""

EVENTS = BEHAVIOURS - TOLD
"""In which a replica shows them all."""

START = 1_790_000_000 * NANOSECONDS
ROUND = 300 * NANOSECONDS
"""In which each replica does everything once."""

TABLE_REPLICAS = 80
"""Replicas in one table, which has about as many rows as `backtest` reads at once."""

NEW = 1_000
"""Events of which each is a behaviour that nobody ever showed."""

LIVE = 200
"""Events that come alone and are judged at once."""

GATHER = NANOSECONDS // 5
"""After which an incident of one event was told, whatever belongs to it: twice the default."""

HEAD = [
    "replicas",
    "per workload",
    "sightings",
    "bytes/sighting",
    "first, ms/1,000",
    "repeated, ms/1,000",
    "new, ms/1,000",
    "live, ms median",
    "live, ms worst",
]


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, help="one size only: so many replicas")
    parser.add_argument("--per-workload", type=int, default=10, help="of it: replicas of a workload (default: 10)")
    parser.add_argument("--results", type=Path, help="write the table into this file, too")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(measure(asked.replicas, asked.per_workload)))
        return 0
    sizes = [(asked.replicas, asked.per_workload)] if asked.replicas else SIZES
    rows = []
    for replicas, per_workload in sizes:
        call = [sys.executable, __file__, "--here", "--replicas", str(replicas), "--per-workload", str(per_workload)]
        rows.append(json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout))
        print(dict(zip(HEAD, rows[-1], strict=True)), file=sys.stderr)
    text = _text(rows)
    print(text)
    if asked.results:
        asked.results.write_text(text)
    return 0


def measure(replicas: int, per_workload: int) -> list[object]:
    """Return one row of the table."""
    cluster = Cluster(replicas, per_workload)
    analysis = Analysis()
    before = _resident()
    first = _spent(analysis, cluster.rounds(0))
    repeated = _spent(analysis, cluster.rounds(1))
    held = _resident() - before
    again = _spent(analysis, cluster.rounds(2))
    began = time.process_time()
    now = START + 3 * ROUND
    analysis.observe(cluster.new(NEW, now))
    analysis.advance(now + ROUND)  # what was held is judged
    new = time.process_time() - began
    live = []
    for number in range(LIVE):
        alone = cluster.known_bad(number, now + ROUND + number * NANOSECONDS)
        began = time.process_time()
        analysis.observe(alone)
        analysis.advance(int(alone.time[0]) + GATHER)
        live.append(1_000 * (time.process_time() - began))
    sightings = replicas * BEHAVIOURS
    thousand = 1_000_000 / (replicas * EVENTS)
    return [
        replicas,
        per_workload,
        sightings,
        round(held / sightings),
        round(first * thousand, 1),
        round(min(repeated, again) * thousand, 1),
        round(1_000 * new * (1_000 / NEW)),
        round(float(np.median(live)), 1),
        round(max(live), 1),
    ]


class Cluster:
    """Replicas that all do the same, workload by workload, as tables."""

    def __init__(self, replicas: int, per_workload: int) -> None:
        self._subjects = [_subject(number, number // per_workload) for number in range(replicas)]
        self._one = _of_one_replica()
        self._chance = np.random.default_rng(1)

    def rounds(self, number: int) -> Iterator[EventColumns]:
        """Yield what all replicas do in one round."""
        many = len(self._subjects)
        rows = np.arange(EVENTS)
        for begin in range(0, many, TABLE_REPLICAS):
            subjects = self._subjects[begin : begin + TABLE_REPLICAS]
            size = len(subjects) * EVENTS
            times = START + number * ROUND + (begin * EVENTS + np.arange(size)) * (ROUND // (many * EVENTS))
            yield dataclasses.replace(
                self._one.take(np.tile(rows, len(subjects))),
                subjects=subjects,
                subject=np.repeat(np.arange(len(subjects), dtype=np.uint32), EVENTS),
                time=times,
            )

    def new(self, many: int, now: int) -> EventColumns:
        """Return a table of events, each a program on one replica that nobody ever ran."""
        builder = ColumnsBuilder()
        for number, who in enumerate(self._chance.integers(len(self._subjects), size=many).tolist()):
            name = "".join(self._chance.choice(list("bcdfghjklm"), 9))
            process = builder.process(pid=50_000 + number, exe=f"/opt/{name}", args=[name], ancestors=["/bin/app"])
            builder.exec(now + number, builder.subject(self._subjects[who]), process)
        return builder.build()

    def known_bad(self, number: int, now: int) -> EventColumns:
        """Return one event that is said at once."""
        builder = ColumnsBuilder()
        process = builder.process(
            pid=90_000 + number,
            exe=f"memfd:{number}",
            args=["x"],
            ancestors=["/bin/app"],
            flags=1 << ProcessFlag.MEMFD,
        )
        who = int(self._chance.integers(len(self._subjects)))
        builder.exec(now, builder.subject(self._subjects[who]), process)
        return builder.build()


def _of_one_replica() -> EventColumns:
    builder = ColumnsBuilder()
    subject = builder.subject(_subject(0, 0))
    letters = "abcdefghijklmnopqrst"
    for number in range(EXECS):
        name = f"tool-{letters[number // 20]}{letters[number % 20]}"
        args = [name, "--all", "/var/lib/app"] if number < TOLD else [name]
        process = builder.process(pid=1_000 + number, exe=f"/usr/bin/{name}", args=args, ancestors=["/bin/app"])
        builder.exec(START, subject, process)
    app = builder.process(pid=7, exe="/bin/app", args=["app"])
    for number in range(EVENTS - EXECS):
        peer = builder.peer(Peer("shop", Workload("Deployment", f"backend-{letters[number // 20]}{letters[number % 20]}")))
        address = pack_address(f"10.1.{number}.1")
        builder.connect(
            START, subject, app, protocol=Protocol.TCP, address=address, port=8080, result=ConnectResult.OK, peer=peer
        )
    return builder.build()


def _subject(number: int, workload: int) -> Subject:
    pod = Pod(
        namespace="shop",
        name=f"service-{workload}-{number}",
        uid=f"uid-{number}",
        ip="10.2.0.1",
        workload=Workload("Deployment", f"service-{workload}"),
        revision="a",
        created_at=START - NANOSECONDS,
    )
    container = Container("app", ContainerKind.APP, f"{number:064x}", started_at=START)
    return Subject("cluster", f"node-{number % 500}", pod, container)


def _spent(analysis: Analysis, tables: Iterator[EventColumns]) -> float:
    """Return the seconds that the analysis takes for these tables, without making them."""
    seconds = 0.0
    for table in tables:
        began = time.process_time()
        analysis.observe(table)
        seconds += time.process_time() - began
    return seconds


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _text(rows: Sequence[Sequence[object]]) -> str:
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return (
        f"# Cost of learning and detection, {today}\n\n"
        f"{BEHAVIOURS} behaviours on each replica, CPU time of one core. *First*: events that show something for the first\n"
        "time; *repeated*: what is known; *new*: what nobody in the workload ever did, judged at once and when its hold is\n"
        "over; *live*: an event that comes alone, from its arrival to its incident.\n"
        "`python bench/detection/cost.py` makes this table again.\n\n"
        f"{report.table(HEAD, rows)}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
