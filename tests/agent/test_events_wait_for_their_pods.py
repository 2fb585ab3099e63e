from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.kubernetes.pods import parse_pod
from peerwatch.subjects import Subject

from agent.identity.index import PodIndex
from agent.identity.resolver import MOST_KEYS, MOST_WAITING, PATIENCE_NS, Resolution, Resolver
from agent.step import Held

UID = "0b9d3a52-4d5f-4a7e-9c39-6a1f4a0f7f11"
CONTAINER = "4f1d" * 16
OWN = f"/kubepods/burstable/pod{UID}/{CONTAINER}"
POD = parse_pod(
    {
        "metadata": {"name": "cart-x2x9q", "namespace": "shop", "uid": UID},
        "spec": {"containers": [{"name": "app", "image": "cart"}]},
        "status": {
            "containerStatuses": [{"name": "app", "image": "cart", "imageID": "", "containerID": f"containerd://{CONTAINER}"}]
        },
    }
)


OTHER = OWN.replace("4f1d", "0000").replace(UID, UID.replace("0b9d", "aaaa"))


def resolver(
    index: PodIndex | None, paths: dict[int, str], *, held: dict[int, Held] | None = None, host: bool = False
) -> Resolver:
    return Resolver("prod", "node-1", index, lambda key: paths.get(key, ""), held=held, host=host)


def events(resolver: Resolver, *keys: int) -> EventColumns:
    """One exec per cgroup key; its pid is its place."""
    builder = ColumnsBuilder()
    for pid, key in enumerate(keys):
        builder.exec(pid, builder.subject(resolver.subject_of(key)), builder.process(pid=pid))
    return builder.build()


def pids(resolution: Resolution) -> list[int]:
    return [int(table.processes.pid[process]) for table in resolution.ready for process in table.process]


def subjects(resolution: Resolution) -> list[Subject]:
    return [table.subjects[subject] for table in resolution.ready for subject in table.subject]


def test_an_event_of_a_known_pod_goes_out_at_once() -> None:
    index = PodIndex("prod", "node-1")
    index.apply(POD)
    resolved = resolver(index, {1: OWN})

    (subject,) = subjects(resolved.resolve(events(resolved, 1), 0))

    assert (subject.node, subject.pod.name, subject.container.name) == ("node-1", "cart-x2x9q", "app")


def test_an_event_of_a_starting_pod_waits_for_it_and_others_do_not() -> None:
    index = PodIndex("prod", "node-1")
    index.apply(POD)
    resolved = resolver(index, {1: OWN, 2: OTHER})

    assert pids(resolved.resolve(events(resolved, 2, 1, 2), 0)) == [1]
    assert len(resolved) == 2
    assert pids(resolved.overdue(1)) == []


def test_waiting_events_go_out_when_their_pod_becomes_known() -> None:
    index = PodIndex("prod", "node-1")
    resolved = resolver(index, {1: OWN})
    resolved.resolve(events(resolved, 1, 1), 0)

    index.apply(POD)

    assert [subject.pod.name for subject in subjects(resolved.overdue(1))] == ["cart-x2x9q"] * 2
    assert resolved.unresolved == 0


def test_an_event_goes_out_with_what_is_known_when_its_pod_stays_unknown() -> None:
    resolved = resolver(PodIndex("prod", "node-1"), {1: OWN})
    resolved.resolve(events(resolved, 1), 0)

    (subject,) = subjects(resolved.overdue(PATIENCE_NS))

    assert (subject.pod.uid, subject.pod.name, subject.container.id) == (UID, "", CONTAINER)
    assert resolved.unresolved == 1
    assert len(resolved) == 0


def test_without_a_source_of_pods_nothing_waits() -> None:
    resolved = resolver(None, {1: OWN})

    (subject,) = subjects(resolved.resolve(events(resolved, 1), 0))

    assert subject.container.id == CONTAINER


def test_no_more_than_the_bound_waits_and_the_oldest_go_first() -> None:
    resolved = resolver(PodIndex("prod", "node-1"), {1: OWN})
    resolved.resolve(events(resolved, *([1] * MOST_WAITING)), 0)
    resolved.resolve(events(resolved, 1), 1)

    assert len(resolved.overdue(2).ready[0]) == MOST_WAITING
    assert len(resolved) == 1


def test_a_cgroup_whose_front_is_hidden_is_nobody_s_even_if_it_bears_another_s_name() -> None:
    index = PodIndex("prod", "node-1")
    index.apply(POD)
    # What a container sees to it that the probes see: more levels than they follow, the last ones named like its victim.
    resolved = resolver(index, {1: OWN.removeprefix("/") + "/a/b/c", 2: OWN})
    table = events(resolved, 1, 2)

    out = resolved.resolve(table, 0)

    assert pids(out) == [1]
    (hidden,) = subjects(resolved.overdue(PATIENCE_NS))
    assert hidden == Subject("prod", "node-1")


def test_cgroups_that_are_no_container_s_are_left_out_and_counted() -> None:
    resolved = resolver(None, {1: f"/machine.slice/libpod-conmon-{CONTAINER}.scope", 2: OWN})

    assert pids(resolved.resolve(events(resolved, 1, 2, 3), 0)) == [1, 2]
    assert resolved.foreign == 1


def test_a_container_with_several_cgroups_keeps_its_name_when_one_of_them_is_forgotten() -> None:
    index = PodIndex("prod", "node-1")
    index.apply(POD)
    resolved = resolver(index, {1: OWN, 2: f"{OWN}/init", **dict.fromkeys(range(3, MOST_KEYS + 3), "/system.slice")})
    for key in (1, 2, *range(3, MOST_KEYS + 2)):
        resolved.subject_of(key)

    (subject,) = subjects(resolved.resolve(events(resolved, 2), 0))

    assert subject.pod.name == "cart-x2x9q"


def test_what_waits_is_told_once_and_once_more_when_it_is_less() -> None:
    index = PodIndex("prod", "node-1")
    resolved = resolver(index, {1: OWN, 2: OTHER})

    first = resolved.resolve(events(resolved, 1, 2, 1), 10)
    (number,) = first.held
    assert (pids(first), first.settled) == ([], [])
    assert (len(first.held[number].table), first.held[number].until) == (3, 10 + PATIENCE_NS)
    assert resolved.overdue(11) == Resolution()

    index.apply(POD)
    second = resolved.overdue(12)
    ((smaller, held),) = second.held.items()
    assert (pids(second), second.settled) == ([0, 2], [number])
    assert smaller != number
    assert (len(held.table), held.until) == (1, 10 + PATIENCE_NS)
    assert len(held.table.strings) == 1  # what the others refer to is not kept with it

    third = resolved.overdue(10 + PATIENCE_NS)
    assert (pids(third), third.held, third.settled) == ([1], {}, [smaller])


def test_what_goes_out_at_once_was_never_told_to_wait() -> None:
    index = PodIndex("prod", "node-1")
    index.apply(POD)
    resolved = resolver(index, {1: OWN})

    out = resolved.resolve(events(resolved, 1), 0)

    assert (pids(out), out.held, out.settled) == ([0], {}, [])


def test_what_an_earlier_agent_held_goes_out_when_its_pod_is_known_and_numbers_go_on() -> None:
    index = PodIndex("prod", "node-1")
    before = resolver(index, {1: OWN, 2: OTHER})
    held = {7: Held(events(before, 1), 5), 9: Held(events(before, 2), PATIENCE_NS)}
    resolved = resolver(index, {2: OTHER}, held=held)
    assert len(resolved) == 2

    index.apply(POD)
    out = resolved.resolve(events(resolved, 2), 3)

    assert (subjects(out)[0].pod.name, out.settled) == ("cart-x2x9q", [7])
    assert list(out.held) == [10]


def test_what_waited_before_a_boot_waits_no_longer_than_what_is_new() -> None:
    index = PodIndex("prod", "node-1")
    before = resolver(index, {1: OWN})
    resolved = resolver(index, {}, held={1: Held(events(before, 1), 10**18)})  # a boot clock of eleven days

    assert pids(resolved.overdue(5)) == []
    assert pids(resolved.overdue(5 + PATIENCE_NS)) == [0]


def test_what_an_earlier_agent_held_does_not_wait_where_nobody_knows_pods() -> None:
    before = resolver(PodIndex("prod", "node-1"), {1: OWN})
    resolved = resolver(None, {}, held={1: Held(events(before, 1), 10)})

    out = resolved.overdue(1)

    assert (pids(out), out.settled) == ([0], [1])


def test_the_host_s_own_processes_are_the_node_s_if_they_are_asked_for() -> None:
    resolved = resolver(PodIndex("prod", "node-1"), {1: "/system.slice/cron.service", 2: OWN}, host=True)

    out = resolved.resolve(events(resolved, 1, 2, 1), 0)

    assert subjects(out) == [Subject("prod", "node-1")] * 2
    assert (pids(out), list(out.held), resolved.foreign, resolved.unresolved) == ([0, 2], [1], 0, 0)


def test_a_folded_event_that_stays_unresolved_counts_as_often_as_it_happened() -> None:
    resolved = resolver(PodIndex("prod", "node-1"), {1: OWN})
    builder = ColumnsBuilder()
    builder.exec(0, builder.subject(resolved.subject_of(1)), builder.process(pid=1), count=17)
    resolved.resolve(builder.build(), 0)
    resolved.overdue(PATIENCE_NS)

    assert resolved.unresolved == 17


def test_an_hour_without_the_api_server_loses_nothing_and_names_nobody_wrong() -> None:
    index = PodIndex("prod", "node-1")
    index.apply(POD)
    minutes = range(61)
    # Each minute a pod comes of which nobody tells, and the container of the known one is started again.
    new = {100 + each: OTHER.replace("aaaa", f"{each:04d}").replace("0000" * 16, f"{each:064d}") for each in minutes}
    again = {200 + each: OWN.replace("4f1d" * 16, f"{7000 + each:064d}") for each in minutes}
    paths = {1: OWN, **new, **again}
    resolved = resolver(index, paths)
    told: list[tuple[int, Subject]] = []
    for minute in minutes:
        now = minute * 60 * 10**9
        for resolution in (
            resolved.resolve(events(resolved, 1, 100 + minute, 200 + minute), now),
            resolved.overdue(now + PATIENCE_NS),
        ):
            told += zip(pids(resolution), subjects(resolution), strict=True)
        assert len(resolved) == 0

    assert sorted(place for place, _ in told) == sorted([0, 1, 2] * len(minutes))
    assert resolved.unresolved == len(minutes)
    names = {place: {subject.pod.name for at, subject in told if at == place} for place in range(3)}
    assert names == {0: {"cart-x2x9q"}, 1: {""}, 2: {"cart-x2x9q"}}
    ids = {f"{subject.pod.uid}/{subject.container.id}" for _, subject in told}
    assert ids == {path.removeprefix("/kubepods/burstable/pod") for path in paths.values()}
