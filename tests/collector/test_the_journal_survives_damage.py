import errno
import os
from pathlib import Path

import pytest
from collector_harness import Events
from peerwatch import wire
from peerwatch.v1 import ingest_pb2

from collector.archive.journal import Journal, JournalRecord, ReadReport, read_segment
from collector.errors import StorageError


def record(events: Events, sequence: int, received: int = 1) -> JournalRecord:
    hello = ingest_pb2.Hello(cluster="test", node="node-1", session="s")
    batch = ingest_pb2.EventBatch(sequence=sequence, columns=wire.encode(events.table(begin=10**18)))
    return JournalRecord(received, hello, batch)


def sequences(journal: Journal) -> tuple[list[int], ReadReport]:
    journal.close()
    report = ReadReport()
    found = []
    for file, length in journal.open_all():
        with file:
            found += [each.batch.sequence for each in read_segment(file, report, length)]
    return found, report


def test_what_was_appended_is_read_back_in_order(tmp_path: Path, events: Events) -> None:
    journal = Journal(tmp_path)
    records = [record(events, sequence, received=sequence * 7) for sequence in range(1, 24)]
    journal.append(records[:5])
    journal.append(records[5:])

    journal.close()
    with journal.open_all()[0][0] as file:
        assert list(read_segment(file, ReadReport())) == records


@pytest.mark.parametrize("cut", [1, 7, 15, 16, 40])
def test_a_torn_tail_costs_only_its_own_record(tmp_path: Path, events: Events, cut: int) -> None:
    journal = Journal(tmp_path)
    journal.append([record(events, sequence) for sequence in (1, 2, 3)])
    journal.rotate(0, force=True)
    path = journal.closed[0].path
    os.truncate(path, path.stat().st_size - cut)

    found, report = sequences(Journal(tmp_path))
    assert found == [1, 2]
    assert (report.records, report.damaged) == (2, 1)
    assert report.damaged_bytes > 0


def test_a_flipped_bit_in_the_middle_costs_only_its_own_record(tmp_path: Path, events: Events) -> None:
    journal = Journal(tmp_path)
    journal.append([record(events, sequence) for sequence in (1, 2, 3)])
    journal.rotate(0, force=True)
    path = journal.closed[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    found, report = sequences(Journal(tmp_path))
    assert found == [1, 3]
    assert report.damaged == 1


def test_garbage_for_a_segment_is_counted_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "000000000001.journal").write_bytes(b"PWJ\x01" + b"\xff" * 500)
    found, report = sequences(Journal(tmp_path))
    assert found == []
    assert report.damaged_bytes == 504


def test_a_full_disk_keeps_nothing_of_the_failed_append_and_the_next_one_works(
    tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.append([record(events, 1)])

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(StorageError) as raised:
            journal.append([record(events, 2), record(events, 3)])
    assert "No space left on device" in str(raised.value)
    journal.append([record(events, 4)])

    found, report = sequences(journal)
    assert found == [1, 4]
    assert report.damaged == 0


def test_segments_are_closed_by_size_and_by_age(tmp_path: Path, events: Events) -> None:
    journal = Journal(tmp_path, segment_bytes=10, segment_age_ns=1000)
    journal.append([record(events, 1, received=1)])
    journal.rotate(1)
    assert len(journal.closed) == 1

    journal = Journal(tmp_path / "aged", segment_age_ns=1000)
    journal.append([record(events, 1, received=5000)])
    journal.rotate(5999)
    assert journal.closed == ()
    journal.rotate(6000)
    assert len(journal.closed) == 1


def test_a_segment_number_is_never_used_twice(tmp_path: Path, events: Events) -> None:
    journal = Journal(tmp_path, after=41)
    journal.append([record(events, 1)])
    journal.rotate(0, force=True)
    assert journal.closed[0].number == 42
    assert Journal(tmp_path).closed == journal.closed


def test_a_disk_that_takes_only_a_part_of_an_append_keeps_nothing_of_it(
    tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.append([record(events, 1)])
    write, calls = os.write, []

    def filling(handle: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[:50])

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", filling)
        with pytest.raises(StorageError):
            journal.append([record(events, 2)])
    assert calls[1] == calls[0] - 50
    journal.append([record(events, 3)])

    found, report = sequences(journal)
    assert found == [1, 3]
    assert report.damaged == 0
