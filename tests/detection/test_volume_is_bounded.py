"""What is remembered for volume has a bound, what goes is counted, and a habit outlives the replicas it was learned from."""

import numpy as np
import pytest
from detection.cluster import BEGIN, SECOND, Cluster, Replica
from peerwatch.subjects import Subject

from collector.analysis import counts
from collector.analysis.behaviours import Behaviour
from collector.analysis.counts import WINDOW, Counts
from collector.analysis.groups import Groups, place_of
from collector.analysis.settings import Settings
from collector.analysis.sightings import Replica as Known
from collector.analysis.volume import Deviation, Seen, VolumeWatch
from collector.records import BehaviourType

FIRST = BEGIN // WINDOW


def ran(name: str) -> Behaviour:
    return Behaviour(BehaviourType.EXEC, f"{name} <- /usr/bin/server", name, "/usr/bin/server", "", 0, (name,))


def went(place: str) -> Behaviour:
    return Behaviour(BehaviourType.CONNECT, f"/usr/bin/server -> {place}", "/usr/bin/server", "", place, 0, ())


def subjects(pods: list[Replica]) -> list[Subject]:
    return [pod.subject for pod in pods]


def window(watch: VolumeWatch, number: int, pods: list[Subject], did: list[tuple[int, Behaviour, int]]) -> list[Deviation]:
    """Let one window pass: (replica, behaviour, count)."""
    time = (FIRST + number) * WINDOW + SECOND
    columns = np.array([[who, at, count] for at, (who, _, count) in enumerate(did)], np.int64).reshape(-1, 3).T
    numbers = np.full(columns.shape[1], time, np.int64), np.arange(columns.shape[1])
    unknown = np.full(columns.shape[1], -1)
    watch.add(Seen(pods, [what for _, what, _ in did], *columns, *numbers, unknown), time)
    return watch.close()


def known(pods: list[Subject]) -> VolumeWatch:
    """Return a watch whose detection knows these replicas."""
    groups = Groups(Settings())
    for each in pods:
        group = groups.group(place_of(each), each.container.kind, BEGIN)
        group.replica(Known(each.pod.uid, each.pod.name, each.node, each.pod.revision, each.pod.created_at, BEGIN))
    return VolumeWatch(groups)


def test_a_habit_outlives_the_replicas_it_was_learned_from(cluster: Cluster) -> None:
    old, new = subjects(cluster.pods(4)), subjects(cluster.pods(4, revision="r2"))
    watch, helper = known(old + new), ran("/usr/bin/psql")
    for number in range(40):
        assert window(watch, number, old, [(who, helper, 5) for who in range(4)]) == []
    for number in range(200, 220):
        window(watch, number, new, [(who, helper, 5) for who in range(4)])

    found = window(watch, 220, new, [(0, helper, 5_000), *((who, helper, 5) for who in range(1, 4))])

    assert [each.finding.replica.pod for each in found] == ["cart-r2-0"]


def test_replicas_that_are_gone_are_forgotten(cluster: Cluster) -> None:
    watch = VolumeWatch(Groups(Settings()))
    for generation in range(20):
        pods = subjects(cluster.pods(40, revision=f"r{generation}"))
        window(watch, generation * 121, pods, [(who, ran("/usr/bin/psql"), 1) for who in range(40)])

    assert len(watch._counts.replicas) <= 160  # noqa: SLF001 — memory is no behaviour that could be asked for


def test_cells_have_a_bound_and_what_goes_is_counted(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_CELLS", 500)
    watch, pods = VolumeWatch(Groups(Settings())), subjects(cluster.pods(4))
    for number in range(50):
        window(watch, number, pods, [(at % 4, ran(f"/opt/{number}-{at}"), 1) for at in range(97)])

    assert len(watch._counts.cells) <= 600  # noqa: SLF001 — memory is no behaviour that could be asked for
    assert watch.left_out > 0


def test_a_scan_of_one_workload_crowds_out_no_other(cluster: Cluster) -> None:
    scanned, calm = subjects(cluster.pods(2)), subjects(cluster.pods(4, workload="calm"))
    watch, helper = known(scanned + calm), ran("/usr/bin/psql")
    pods = calm + scanned
    for number in range(20):
        scan = [(4, went(f"private 10.{number}.{at // 256}.0/24:{at}/tcp"), 1) for at in range(997)]
        window(watch, number, pods, [*((who, helper, 5) for who in range(4)), *scan])

    found = window(watch, 20, pods, [(0, helper, 5_000), *((who, helper, 5) for who in range(1, 4))])

    assert [each.finding.replica.pod for each in found] == ["calm-r1-0"]
    assert len(watch._counts.items) <= counts.MOST_PER_GROUP + 10  # noqa: SLF001 — as above


def test_a_replica_that_detection_forgot_is_told_by_nobody(cluster: Cluster) -> None:
    pods = subjects(cluster.pods(4))
    watch, helper = VolumeWatch(Groups(Settings())), ran("/usr/bin/psql")
    for number in range(40):
        window(watch, number, pods, [(who, helper, 5) for who in range(4)])

    assert window(watch, 40, pods, [(0, helper, 5_000)]) == []


def test_counts_beyond_all_reason_are_an_excess_and_no_error(cluster: Cluster) -> None:
    pods = subjects(cluster.pods(4))
    watch, helper = known(pods), ran("/usr/bin/psql")
    for number in range(40):
        window(watch, number, pods, [(who, helper, 5) for who in range(4)])

    assert len(window(watch, 40, pods, [(0, helper, 2**32 - 1)])) == 1


def test_numbers_of_cells_are_those_of_what_was_kept() -> None:
    sums = Counts()
    watched, rest = ran("/usr/bin/kept"), ran("/usr/bin/gone")
    group = sums.group((place_of(Cluster().pods(1)[0].subject)), BEGIN, FIRST)
    replicas = [sums.replica(group, f"uid-{number}", BEGIN) for number in range(300)]
    for replica in replicas:
        for behaviour in (watched, rest):
            item, _ = sums.item(group, behaviour, BEGIN)
            cell = sums.cell(item, replica)
            sums.cells.count[cell] = 1
    sums.end_window(FIRST, np.arange(len(sums.cells)))
    sums.replicas.window[:200] = FIRST - 1_000
    sums.forget(FIRST)

    item, new = sums.item(group, watched, BEGIN)

    assert (len(sums.replicas), len(sums.cells), new) == (100, 200, False)
    cell = sums.cell(item, sums.replica(group, "uid-250", BEGIN))
    assert (cell < 200, sums.uids[int(sums.cells.replica[cell])]) == (True, "uid-250")
