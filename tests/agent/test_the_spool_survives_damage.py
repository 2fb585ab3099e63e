"""Files of the spool as crashes, power cuts and bad disks leave them: damage costs its own records, and is reported."""

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.spooled import Collector, after_a_crash, execs, open_outbox, pids, segments
from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.subjects import Subject

from agent.errors import ConfigError
from agent.spool import Limits, Spool
from agent.spool.age import Uptime
from agent.spool.records import HEADER, MAGIC
from agent.step import Held, Step

STEPS = 7
NEXT_BOOT = Uptime("another boot", lambda: 10**9)


def filled(tmp_path: Path, *, steps: int = STEPS, held: dict[int, Held] | None = None) -> Path:
    """Return the folder of an agent that died after so many steps of 10 execs each, and one in which something waits."""
    outbox, _ = open_outbox(tmp_path / "spool", "first")
    for step in range(steps):
        outbox.put(Step([execs(range(step * 10, step * 10 + 10), count=2)], cursor={"ring": step + 1}))
    if held:
        outbox.put(Step(held=held))
    folder = after_a_crash(tmp_path / "spool")
    outbox.close()
    return folder


def records(file: Path) -> list[int]:
    """Return where the records of a file begin: there is nothing else in it."""
    data, places = file.read_bytes(), [0]
    while (begin := places[-1]) < len(data):
        _, meta, payload, _, _ = HEADER.unpack_from(data, begin)
        places.append(begin + HEADER.size + meta + payload)
    return places


def change(file: Path, damage: Callable[[bytearray], object]) -> None:
    data = bytearray(file.read_bytes())
    damage(data)
    file.write_bytes(data)


def flip(place: int) -> Callable[[bytearray], object]:
    def damage(data: bytearray) -> None:
        data[place] ^= 0x10

    return damage


@pytest.mark.parametrize("missing", [1, 100, 700, 1000, 1200])
def test_a_record_that_was_being_written_when_the_agent_died_was_never_there(tmp_path: Path, missing: int) -> None:
    folder = filled(tmp_path)
    (file,) = segments(folder)
    assert missing < records(file)[-1] - records(file)[-2]
    change(file, lambda data: data.__delitem__(slice(-missing, None)))

    outbox, spool = open_outbox(folder)
    collector = Collector().drain(outbox)

    # The kernel's buffers still have the last step: the cursor says so.
    assert spool.recovered.cursor == {"ring": STEPS - 1}
    assert collector.pids == list(range(10 * STEPS - 10))
    assert collector.losses == {}


def test_what_it_lacks_is_not_searched_for_again_when_the_next_agent_dies_too(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    change(segments(folder)[0], lambda data: data.__delitem__(slice(-1, None)))
    outbox, _ = open_outbox(folder, "second")
    twice = after_a_crash(folder)
    outbox.close()

    collector = Collector().drain(open_outbox(twice, "third", uptime=NEXT_BOOT)[0])

    assert collector.pids == list(range(10 * STEPS - 10))
    assert collector.losses == {}


def test_after_a_power_cut_a_torn_record_is_lost_and_reported(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    change(segments(folder)[0], lambda data: data.__delitem__(slice(-1, None)))

    collector = Collector().drain(open_outbox(folder, uptime=NEXT_BOOT)[0])

    assert collector.pids == list(range(10 * STEPS - 10))
    assert collector.losses == {"SPOOL_CORRUPT": 20}


@pytest.mark.parametrize("tail", [bytes(5000), b"\xf5PW\x01" * 1000, os.urandom(5000)])
def test_a_tail_of_anything_costs_nothing_and_is_counted(tmp_path: Path, tail: bytes) -> None:
    folder = filled(tmp_path)
    change(segments(folder)[0], lambda data: data.extend(tail))

    outbox, spool = open_outbox(folder, uptime=NEXT_BOOT)
    collector = Collector().drain(outbox)

    assert spool.damaged == 1
    assert collector.pids == list(range(10 * STEPS))
    assert collector.losses == {}


def test_a_flipped_bit_in_a_batch_costs_that_batch_and_is_reported_at_its_place(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    (file,) = segments(folder)
    change(file, flip(records(file)[4] - 3))  # the end of the third record with a batch

    outbox, _ = open_outbox(folder)
    collector = Collector().drain(outbox)

    assert [pids(table)[:1] for table in collector.tables] == [[0], [10], [], [30], [40], [50], [60]]
    gap = collector.tables[2]
    assert gap.losses.count.tolist() == [20]
    assert (gap.losses.begin.tolist(), gap.losses.end.tolist()) == ([21], [30])
    assert outbox.counters.lost == {"SPOOL_CORRUPT": 20}
    assert outbox.counters.recovered == 20 * STEPS == outbox.counters.acknowledged + 20


@pytest.mark.parametrize("place", [0, 5, 12, 18, 22, 60, 200])
def test_a_flipped_bit_in_what_a_record_says_costs_the_record_and_is_reported(tmp_path: Path, place: int) -> None:
    folder = filled(tmp_path)
    (file,) = segments(folder)
    change(file, flip(records(file)[3] + place))

    collector = Collector().drain(open_outbox(folder)[0])

    assert collector.pids == [pid for pid in range(10 * STEPS) if not 20 <= pid < 30]
    assert collector.losses == {"SPOOL_CORRUPT": 20}
    assert sorted(collector.sessions["first"]) == list(range(1, STEPS + 1))  # under the number that is missing


def test_a_flipped_bit_in_the_last_record_costs_what_nobody_can_count(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    (file,) = segments(folder)
    change(file, flip(records(file)[-2] + 30))

    outbox, spool = open_outbox(folder)

    assert Collector().drain(outbox).pids == list(range(10 * STEPS - 10))
    assert spool.damaged == 1
    assert spool.recovered.cursor == {"ring": STEPS - 1}


@pytest.mark.parametrize("name", ["removed", "emptied", "overwritten"])
def test_a_segment_that_is_gone_is_reported(tmp_path: Path, name: str) -> None:
    outbox, _ = open_outbox(tmp_path / "spool", "first", max_bytes=64_000)
    for step in range(23):
        outbox.put(Step([execs(range(step * 10, step * 10 + 10), size=100)]))
    folder = after_a_crash(tmp_path / "spool")
    outbox.close()
    victim = segments(folder)[1]
    if name == "removed":
        victim.unlink()
    else:
        victim.write_bytes(b"" if name == "emptied" else bytes(5000))

    collector = Collector().drain(open_outbox(folder, max_bytes=64_000)[0])

    missing = sorted(set(range(230)) - set(collector.pids))
    assert missing
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert collector.losses == {"SPOOL_CORRUPT": len(missing)}


def test_a_batch_written_a_moment_ago_and_changed_by_the_disk_is_reported_too(tmp_path: Path) -> None:
    outbox, _ = open_outbox(tmp_path / "spool", memory_bytes=8_000)
    for step in range(5):  # more than what is kept in memory: it must be read back
        outbox.put(Step([execs(range(step * 10, step * 10 + 10), size=100)]))
    (file,) = segments(tmp_path / "spool")
    for record in (2, 5):  # the second and the last of them
        with file.open("r+b") as stream:
            stream.seek(records(file)[record])
            stream.write(b"\0\0\0")

    collector = Collector().drain(outbox)

    assert collector.pids == [*range(10), *range(20, 40)]
    assert collector.losses == {"SPOOL_CORRUPT": 20}


@pytest.mark.parametrize("seed", range(41))
def test_whatever_is_damaged_nothing_comes_twice_and_nothing_comes_wrong(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)  # noqa: S311 — chance that can be repeated
    folder = filled(tmp_path, steps=23, held={1: Held(execs([1000]), 5)})
    (file,) = segments(folder)
    for _ in range(random_.choice([1, 1, 3, 30])):
        place, length = random_.randrange(file.stat().st_size), random_.choice([1, 1, 16, 4096])
        change(file, lambda data, place=place, length=length: data.__setitem__(slice(place, place + length), bytes(length)))

    outbox, spool = open_outbox(folder, uptime=random_.choice([None, NEXT_BOOT]))
    collector = Collector().drain(outbox)

    expected = {pid: execs([pid], count=2) for pid in range(230)}
    assert len(collector.pids) == len(set(collector.pids))
    for table in collector.tables:
        assert all(
            table.strings[table.processes.exe[process]] == expected[int(table.processes.pid[process])].strings[1]
            for process in table.process[table.kind == 1]
        )
    reported = sum(collector.losses.values())
    assert 2 * len(collector.pids) + reported <= 2 * 230 + 1
    if 229 in collector.pids:  # then what is missing before it is known
        assert 2 * len(collector.pids) + reported >= 2 * 230
    assert all(pids(held.table) == [1000] for held in spool.recovered.held.values())


def test_a_record_that_a_container_wrote_into_its_addresses_is_not_taken_for_one(tmp_path: Path) -> None:
    # A whole and valid record, as another spool has it.
    foreign = segments(filled(tmp_path / "foreign", steps=1))[0]
    begin, end = records(foreign)[1:3]
    planted = foreign.read_bytes()[begin:end].ljust(16 * 200, b"\0")[: 16 * 200]
    outbox, _ = open_outbox(tmp_path / "spool", "first")
    outbox.put(Step([execs([1])]))
    outbox.put(Step([connects(planted)]))
    outbox.put(Step([execs([2])]))
    folder = after_a_crash(tmp_path / "spool")
    outbox.close()
    (file,) = segments(folder)
    assert planted in file.read_bytes()
    change(file, flip(records(file)[2]))  # now a search goes through the payload

    collector = Collector().drain(open_outbox(folder)[0])

    assert collector.pids == [1, 2]
    assert collector.losses == {"SPOOL_CORRUPT": 200}


def connects(addresses: bytes) -> EventColumns:
    builder = ColumnsBuilder()
    subject, process = builder.subject(Subject("c", "n")), builder.process(pid=7)
    for (address,) in struct.iter_unpack("16s", addresses):
        builder.connect(5, subject, process, protocol=1, address=address, port=1, result=1)
    return builder.build()


def test_headers_by_the_thousand_that_claim_to_be_records_take_no_time(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    header = HEADER.pack(MAGIC, 4_000_000, 1, 0, 0)
    change(segments(folder)[0], lambda data: data.extend(header * 200_000))

    outbox, spool = open_outbox(folder, uptime=NEXT_BOOT)

    assert Collector().drain(outbox).pids == list(range(10 * STEPS))
    assert spool.damaged == 1


def test_what_waited_and_cannot_be_read_is_reported(tmp_path: Path) -> None:
    folder = filled(tmp_path, held={1: Held(execs([7, 8], count=3), 5), 2: Held(execs([9]), 5)})
    (file,) = segments(folder)
    change(file, flip(records(file)[-2] + HEADER.size + file.read_bytes()[records(file)[-2] :].find(b"/bin/7")))

    outbox, spool = open_outbox(folder)
    collector = Collector().drain(outbox)

    assert [pids(held.table) for held in spool.recovered.held.values()] == [[9]]
    assert collector.losses == {"SPOOL_CORRUPT": 6}
    assert outbox.counters.lost == {"SPOOL_CORRUPT": 6}


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    target = tmp_path / "secret"
    target.write_text("secret")
    (folder / "README").write_text("mine")
    (folder / "000000000009-0123456789abcdef.spool").symlink_to(target)
    (folder / "000000000010-0123456789abcdef.spool").mkdir()
    os.mkfifo(folder / "000000000011-0123456789abcdef.spool")
    with (folder / "000000000012-0123456789abcdef.spool").open("wb") as huge:
        huge.truncate(1 << 40)

    collector = Collector().drain(open_outbox(folder)[0])

    assert collector.pids == list(range(10 * STEPS))
    assert target.read_text() == "secret"
    assert (folder / "README").read_text() == "mine"


def test_the_folder_is_made_for_nobody_else_and_a_second_agent_is_refused(tmp_path: Path) -> None:
    outbox, _ = open_outbox(tmp_path / "a/spool")

    assert (tmp_path / "a/spool").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigError, match=r"another agent uses the spool folder .*/a/spool; stop it, or give"):
        open_outbox(tmp_path / "a/spool")
    outbox.close()
    open_outbox(tmp_path / "a/spool")[0].close()


def test_a_folder_that_is_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o755)

    open_outbox(tmp_path / "spool")[0].close()

    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


def test_a_link_or_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("")

    for name in ("link", "file"):
        with pytest.raises(ConfigError, match=f"cannot use the spool folder .*/{name}: it is a link or a file"):
            open_outbox(tmp_path / name)
    with pytest.raises(ConfigError, match=r"cannot use the spool folder .*/file/below: "):
        open_outbox(tmp_path / "file/below")


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    try:
        os.chown(tmp_path / "spool", os.geteuid() + 1, -1)
    except PermissionError:
        pytest.skip("only root can give a folder away")

    with pytest.raises(ConfigError, match="belongs to user"):
        open_outbox(tmp_path / "spool")


def test_the_events_of_another_node_are_neither_sent_nor_removed(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    (file,) = segments(folder)
    before = file.read_bytes()
    for cluster, node in (("c", "other"), ("other", "n")):
        with pytest.raises(ConfigError, match=r"holds 140 events of node 'n' in cluster 'c': run as that node to send them"):
            Spool(Limits(folder=folder), cluster=cluster, node=node, session="s")
    assert file.read_bytes() == before

    Collector().drain(open_outbox(folder)[0])
    empty = Spool(Limits(folder=folder), cluster="c", node="other", session="s")  # nothing is left that would be lost
    assert empty.recovered.cursor == {}
    empty.close()
