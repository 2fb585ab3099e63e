import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector_harness import SECOND, Command, Daemon, Events
from peerwatch import jsonlines
from peerwatch.columns import ColumnsBuilder, EventColumns, Peer, ProcessFlag
from peerwatch.subjects import Workload
from peerwatch.times import format_time, parse_time

from collector.archive.timeorder import Source, in_order, merge

BASE = 1_700_010_000 * SECOND
TIMES = "\N{MULTIPLICATION SIGN}"


def written(path: Path, *tables: EventColumns) -> Path:
    data = b"".join(line for table in tables for line in jsonlines.write(table))
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_json_gives_back_the_lines_that_went_in(peerwatch: Command, tmp_path: Path, events: Events) -> None:
    path = written(tmp_path / "events.jsonl.gz", events.table(begin=BASE))
    done = peerwatch("replay", path, "--output", "json")
    assert done.stdout.encode() == gzip.decompress(path.read_bytes())
    assert peerwatch("replay", "-", "--output", "json", given=done.stdout).stdout == done.stdout


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Daemon]]:
    """Two workloads' events, in a file and in a collector."""
    events, folder = Events(), tmp_path_factory.mktemp("stored")
    tables = [events.table(begin=BASE), events.table(begin=BASE + 3600 * SECOND, namespace="bank", name="api")]
    daemon = Daemon(folder / "data").start()
    agent = daemon.agent()
    for sequence, table in enumerate(tables, 1):
        agent.store(sequence, table)
    yield written(folder / "events.jsonl", *tables), daemon
    daemon.end()


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ([], 22),
        (["--pod", "cart-2"], 2),
        (["--namespace", "bank"], 10),
        (["--workload", "cart"], 10),
        (["--workload", "Deployment/api", "--container", "app"], 10),
        (["--container", "other"], 0),
        (["--cluster", "test", "--since", format_time(BASE + 3600 * SECOND)], 11),
        (["--until", format_time(BASE + 2)], 2),
    ],
)
def test_the_same_filters_work_on_files_and_on_a_collector(
    peerwatch: Command, stored: tuple[Path, Daemon], arguments: list[str], count: int
) -> None:
    path, daemon = stored
    here = peerwatch("replay", path, "--output", "json", *arguments)
    there = peerwatch("replay", "--output", "json", *arguments, server=daemon.address)
    assert (here.stderr, there.stderr) == ("", "")
    assert len(here.stdout.splitlines()) == count
    assert here.stdout == there.stdout


def test_files_of_several_nodes_are_one_recording(peerwatch: Command, tmp_path: Path, events: Events) -> None:
    one = written(tmp_path / "one.jsonl", events.table(begin=BASE))
    two = written(tmp_path / "two.jsonl", events.table(begin=BASE + 2, node="node-2"))
    lines = peerwatch("replay", two, one, "--output", "json").stdout.splitlines()
    times = [parse_time(json.loads(line)["time"]) for line in lines]
    assert len(times) == 22
    assert times == sorted(times)


def test_the_timeline_says_who_did_what_and_where_events_are_missing(
    peerwatch: Command, tmp_path: Path, events: Events
) -> None:
    out = peerwatch("replay", written(tmp_path / "events.jsonl", events.table(begin=BASE))).stdout
    assert out.startswith("2023-11-15 (UTC)\n")
    assert "shop/cart-0 app  exec     /usr/bin/date  [/usr/bin/date -u 'it'\"'\"'s']  from /sbin/tini  STDIO_SOCKET" in out
    assert f"connect  tcp 10.0.0.9:5432 {TIMES}3  by /usr/bin/date" in out
    assert "node node-1  LOSS     17 events lost: RING_FULL" in out
    assert len(out.splitlines()) == 12


def test_the_tree_says_who_started_whom(peerwatch: Command, tmp_path: Path, events: Events) -> None:
    builder = ColumnsBuilder()
    subject = builder.subject(events.subject())
    shell = builder.process(pid=10, start_time=BASE, exe="/bin/sh", args=["sh"], parent_pid=1, parent_exe="/sbin/tini")
    child = builder.process(
        pid=11, start_time=BASE + 1, exe="/usr/bin/nc", args=["nc", "-e"], parent_pid=10, parent_start_time=BASE
    )
    builder.exec(BASE, subject, shell)
    builder.exec(BASE + 1, subject, child)
    builder.connect(BASE + 2, subject, child, protocol=1, address=bytes(10) + b"\xff\xff\xcb\x00\x71\x09", port=4444, result=3)
    out = peerwatch("replay", written(tmp_path / "events.jsonl", builder.build()), "--output", "tree").stdout
    assert out.splitlines() == [
        "shop/cart-0 app  on node-1",
        "└─ 1 /sbin/tini (began before)",
        "   └─ 10 00:20:00 sh  (/bin/sh)".replace("00:20:00", format_time(BASE)[11:19]),
        "      └─ 11 00:20:00 nc -e  (/usr/bin/nc)".replace("00:20:00", format_time(BASE)[11:19]),
        "         └─ 00:20:00 connect tcp 203.0.113.9:4444 REFUSED".replace("00:20:00", format_time(BASE)[11:19]),
    ]


@pytest.fixture
def everything(events: Events) -> EventColumns:
    """One of each kind, folded, with all that is odd about an exec; and a canary."""
    builder = ColumnsBuilder()
    subject = builder.subject(events.subject())
    shell = builder.process(
        pid=10,
        start_time=BASE,
        exe="/usr/bin/dash",
        args=["sh", "/app/x.sh"],
        uid=1000,
        effective_uid=0,
        gid=50,
        effective_gid=51,
        script="/app/x.sh",
        gained_capabilities=1 << 13 | 1 << 21,
        parent_pid=1,
        parent_exe="/sbin/tini",
    )
    child = builder.process(pid=11, start_time=BASE + 1, exe="/bin/true", args=["true"], parent_pid=10, parent_start_time=BASE)
    later = builder.process(pid=12, start_time=BASE + 2, exe="/bin/true", parent_pid=10, parent_start_time=BASE)
    canary = builder.process(pid=13, start_time=BASE + 3, exe="/bin/canary", flags=1 << ProcessFlag.CANARY)
    near, far = bytes(16), bytes(10) + b"\xff\xff\xcb\x00\x71\x09"
    peer = builder.peer(Peer("shop", Workload("Deployment", "api")))
    builder.exec(BASE, subject, shell)
    builder.exec(BASE + 1, subject, child, count=17, last_time=BASE + 9)
    builder.listen(BASE + 2, subject, shell, protocol=1, address=near, port=8080)
    builder.accept(BASE + 3, subject, shell, protocol=1, address=far, port=8080, count=3, peer=peer)
    builder.exit(BASE + 4, subject, child, code=0, signal=0, lifetime=2_000_000)
    builder.exit(BASE + 5, subject, later, code=3, signal=0, lifetime=0, count=16)
    builder.exec(BASE + 6, subject, canary)
    builder.exit(BASE + 7, subject, shell, code=0, signal=9, lifetime=1_500_000_000)
    return builder.build()


def test_the_timeline_names_every_kind(peerwatch: Command, tmp_path: Path, everything: EventColumns) -> None:
    out = peerwatch("replay", written(tmp_path / "events.jsonl", everything)).stdout
    told = [line.split("shop/cart-0 app  ")[1] for line in out.splitlines()[1:]]
    odd = "script /app/x.sh  uid 1000 as 0  gid 50 as 51  gained CAP_NET_RAW, CAP_SYS_ADMIN"
    assert told == [
        f"exec     /usr/bin/dash  [sh /app/x.sh]  {odd}  from /sbin/tini",
        f"exec     /bin/true  [true] {TIMES}17",
        "listen   tcp [::]:8080  by /usr/bin/dash",
        f"accept   tcp port 8080 from 203.0.113.9 (shop/Deployment/api) {TIMES}3  by /usr/bin/dash",
        "exit     code 0 after 0.002 s  by /bin/true",
        f"exit     code 3 {TIMES}16  by /bin/true",
        "exec     /bin/canary  CANARY",
        "exit     SIGKILL after 1.500 s  by /usr/bin/dash",
    ]


def test_the_tree_says_how_each_process_ended(peerwatch: Command, tmp_path: Path, everything: EventColumns) -> None:
    path = written(tmp_path / "events.jsonl", everything)
    clock = format_time(BASE)[11:19]
    odd = "script /app/x.sh  uid 1000 as 0  gid 50 as 51  gained CAP_NET_RAW, CAP_SYS_ADMIN"
    assert peerwatch("replay", path, "--output", "tree").stdout.splitlines() == [
        "shop/cart-0 app  on node-1",
        "├─ 1 /sbin/tini (began before)",
        f"│  └─ 10 {clock} sh /app/x.sh  (/usr/bin/dash)  {odd}  exit SIGKILL after 1.500 s",
        f"│     ├─ {clock} listen tcp [::]:8080",
        f"│     ├─ {clock} accept tcp port 8080 from 203.0.113.9 (shop/Deployment/api) {TIMES}3",
        f"│     ├─ 11 {clock} true {TIMES}17  (/bin/true)  exit code 0 after 0.002 s",
        f"│     └─ 12 /bin/true (no exec of its own)  exit code 3 {TIMES}16",
        f"└─ 13 {clock} /bin/canary  CANARY",
    ]


def test_a_replay_of_a_collector_tells_all_that_a_file_does(
    peerwatch: Command, tmp_path: Path, daemon: Daemon, everything: EventColumns
) -> None:
    daemon.agent().store(1, everything)
    path = written(tmp_path / "events.jsonl", everything)
    for output in ("json", "timeline", "tree"):
        here = peerwatch("replay", path, "--output", output)
        assert here.stdout == peerwatch("replay", "--output", output, server=daemon.address).stdout
    assert peerwatch("replay", path, "--output", "json").stdout.encode() == path.read_bytes()


def test_speed_keeps_the_distances(peerwatch: Command, tmp_path: Path, events: Events) -> None:
    path = written(tmp_path / "events.jsonl", events.table(begin=BASE), events.table(begin=BASE + 4 * SECOND))
    began = time.monotonic()
    assert peerwatch("replay", path, "--speed", "2").returncode == 0
    assert time.monotonic() - began >= 2


def test_lines_that_are_late_within_the_slack_are_put_in_order(events: Events) -> None:
    offsets = [0, 3, 1, 9, 5, 30, 26]
    found = list(in_order(events.table(begin=BASE + offset * SECOND, pods=1) for offset in offsets))
    times = [time for table in found for time in table.time.tolist()]
    assert times == sorted(times)
    assert len(times) == 3 * len(offsets)


def test_a_merge_opens_a_source_only_when_its_time_comes(events: Events) -> None:
    opened: list[int] = []

    def source(number: int) -> Source:
        def tables() -> "list[EventColumns]":
            opened.append(number)
            return [events.table(begin=BASE + number * 10 * SECOND)]

        return Source(BASE + number * 10 * SECOND, lambda: iter(tables()))

    merged = merge([source(number) for number in (2, 0, 1)])
    next(merged)
    assert opened == [0]
    assert sum(map(len, merged)) == 22
