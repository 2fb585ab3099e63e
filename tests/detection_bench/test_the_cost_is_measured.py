"""What learning costs is measured on a cluster that does what it says."""

import cost
import numpy as np

from collector.analysis import Analysis


def test_each_replica_shows_all_behaviours_and_nothing_else() -> None:
    analysis, cluster = Analysis(), cost.Cluster(7, 5)

    for number in range(2):
        for table in cluster.rounds(number):
            assert bool(np.all(np.diff(table.time) >= 0))
            analysis.observe(table)

    workloads = analysis.workloads()
    assert [each.replicas for each in workloads] == [5, 2]
    entries = analysis.baseline(workloads[0].key)
    assert len(entries) == cost.BEHAVIOURS
    assert {(entry.replicas, entry.count) for entry in entries} == {(5, 10)}


def test_what_is_known_bad_is_said_with_its_event() -> None:
    analysis, cluster = Analysis(), cost.Cluster(5, 5)
    for table in cluster.rounds(0):
        analysis.observe(table)
    now = cost.START + 2 * cost.ROUND

    alone = cluster.known_bad(0, now)
    said = analysis.observe(alone) + analysis.advance(now + cost.GATHER)

    assert [each.severity.name for each in said] == ["CRITICAL"]


def test_a_size_gives_a_row_of_the_table() -> None:
    row = dict(zip(cost.HEAD, cost.measure(5, 5), strict=True))

    assert row["sightings"] == 5 * cost.BEHAVIOURS
    assert all(row[name] > 0 for name in cost.HEAD if "ms" in name)
