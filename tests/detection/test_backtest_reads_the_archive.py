"""Parquet files of the archive are recordings as well, and what is found does not depend on the form."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from detection.cluster import Cluster, alerts, latest
from peerwatch import jsonlines
from peerwatch.columns import ProcessFlag

from collector import backtest
from collector.analysis import Analysis
from collector.archive.decode import from_arrow
from collector.archive.encode import to_arrow
from collector.archive.schema import SCHEMA, SHOWN_ONLY


def cluster() -> Cluster:
    life = Cluster()
    pods = life.pods(5)
    life.normal(pods, 0, 301, every=4)
    life.exec(60.5, pods[2], "/usr/bin/nc")
    life.exec(200.5, pods[3], "/usr/bin/dash", flags=[ProcessFlag.INJECTED], ancestors=[])
    return life


def test_lines_and_archive_give_the_same_incidents(tmp_path: Path) -> None:
    table = cluster().table()
    (tmp_path / "events.jsonl").write_bytes(b"".join(jsonlines.write(table)))
    pq.write_table(to_arrow(table), tmp_path / "events.parquet")

    found = list(backtest.run([tmp_path / "events.parquet"]))

    assert len(alerts(latest(found))) >= 1
    assert found == list(backtest.run([tmp_path / "events.jsonl"]))


def filled(name: str, rows: int) -> pa.Array:
    """Return a column that says something else in nearly every row."""
    kind = SCHEMA.field(name).type
    numbers = [each % 7 for each in range(rows)]
    if pa.types.is_map(kind):
        return pa.array([[("key", str(each))] for each in numbers], kind)
    if pa.types.is_list(kind):
        return pa.array([[each + 1] for each in numbers], kind)
    if pa.types.is_dictionary(kind):
        return pa.array([["OK", "REFUSED", "x"][each % 3] for each in numbers]).dictionary_encode()
    return pa.array(numbers, kind)


def test_no_verdict_rests_on_what_is_not_read() -> None:
    whole = to_arrow(cluster().table())
    nothing, something = whole.drop_columns(sorted(SHOWN_ONLY)), whole
    for name in sorted(SHOWN_ONLY):
        something = something.set_column(SCHEMA.get_field_index(name), name, filled(name, len(whole)))

    analysis, other = Analysis(), Analysis()

    found = analysis.observe(from_arrow(nothing)) + analysis.finish()

    assert len(alerts(latest(found))) >= 1
    assert found == other.observe(from_arrow(something)) + other.finish()


def test_another_parquet_file_is_none_of_the_archive(tmp_path: Path) -> None:
    pq.write_table(pa.table({"price": [1, 2, 3]}), tmp_path / "prices.parquet")

    with pytest.raises(backtest.RecordingError, match=r"prices\.parquet: a Parquet file, but none of the archive"):
        list(backtest.run([tmp_path / "prices.parquet"]))


def test_columns_of_other_types_are_refused(tmp_path: Path) -> None:
    names = {"time": ["now"], "kind": ["EXEC"], "subject_id": ["a"], "process_id": [[1]]}
    pq.write_table(pa.table(names), tmp_path / "odd.parquet")

    with pytest.raises(backtest.RecordingError, match=r"odd\.parquet"):
        list(backtest.run([tmp_path / "odd.parquet"]))


@pytest.mark.parametrize("keep", [4, 100, -20])
def test_a_damaged_file_is_named(tmp_path: Path, keep: int) -> None:
    pq.write_table(to_arrow(cluster().table()), tmp_path / "events.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "events.parquet").read_bytes()[:keep])

    with pytest.raises(backtest.RecordingError, match=r"cut\.parquet"):
        list(backtest.run([tmp_path / "cut.parquet"]))
