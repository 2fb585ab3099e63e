"""The index of pods: what is found, for how long, and within which bounds."""

from dataclasses import replace

from hypothesis import given, strategies as st
from peerwatch.kubernetes.pods import PodRecord
from peerwatch.subjects import Container, Pod, Subject

import agent.identity.index as index_module
from agent.identity.cgroups import ContainerRef
from agent.identity.index import DELETED_FOR_S, MAX_INSTANCES, PodIndex


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def record(uid: str, *ids: str, key: str = "", name: str = "p") -> PodRecord:
    return PodRecord(key or uid, Pod(name=name, uid=uid), tuple(Container(name="app", id=each) for each in ids))


def index(clock: Clock | None = None) -> PodIndex:
    return PodIndex("c", "n", clock or Clock())


def found(pods: PodIndex, container: str, uid: str = "u", *, final: bool = False) -> Subject | None:
    return pods.lookup(ContainerRef(container, uid), final=final)


def test_a_known_container_is_found_with_or_without_its_pods_uid() -> None:
    pods = index()
    pods.apply(record("u", "a"))
    subject = Subject("c", "n", Pod(name="p", uid="u"), Container(name="app", id="a"))

    assert found(pods, "a") == subject
    assert found(pods, "a", "") == subject


def test_a_container_that_no_status_names_yet_waits_and_gets_its_pod_in_the_end() -> None:
    pods = index()
    pods.apply(record("u"))

    assert found(pods, "new") is None
    assert found(pods, "new", final=True) == Subject("c", "n", Pod(name="p", uid="u"), Container(id="new"))
    assert found(pods, "new", "", final=True) is None


def test_a_name_that_may_be_made_up_finds_nothing() -> None:
    pods = index()
    pods.apply(record("u", "a"))

    assert pods.lookup(ContainerRef("a", "u", certain=False), final=True) is None


def test_the_version_rises_with_real_changes_only() -> None:
    pods = index()
    versions = [pods.version]
    for change in (
        lambda: pods.apply(record("u", "a")),
        lambda: pods.apply(record("u", "a")),
        lambda: pods.apply(record("u", "a", name="q")),
        lambda: pods.replace([record("u", "a", name="q")]),
        lambda: pods.replace([]),
        lambda: pods.delete("u"),
    ):
        change()
        versions.append(pods.version)

    assert versions == [0, 1, 1, 2, 2, 3, 3]


def test_a_deleted_pod_is_known_for_five_minutes() -> None:
    clock = Clock()
    pods = index(clock)
    pods.apply(record("u", "a"))
    pods.delete("u")
    clock.now = DELETED_FOR_S - 1

    assert len(pods) == 0
    assert found(pods, "a") is not None

    clock.now = DELETED_FOR_S

    assert found(pods, "a", final=True) is None


def test_deleted_pods_are_bounded_in_number() -> None:
    pods = index()
    for number in range(index_module.MAX_DELETED + 1):
        pods.apply(record(f"u{number}", f"a{number}"))
        pods.delete(f"u{number}")

    assert found(pods, "a0") is None
    assert found(pods, "a1") is not None


def test_pods_beyond_the_bound_are_refused_and_counted() -> None:
    pods = index()
    pods.replace(record(f"u{number}", f"a{number}") for number in range(index_module.MAX_PODS + 3))

    assert (len(pods), pods.refused) == (index_module.MAX_PODS, 3)


def test_earlier_instances_of_a_container_stay_known() -> None:
    pods = index()
    for restart in range(MAX_INSTANCES + 10):
        pods.apply(record("u", f"a{restart}", f"a{restart + 1}"))

    last = MAX_INSTANCES + 10
    assert found(pods, f"a{last}") is not None
    assert found(pods, f"a{last - 1 - MAX_INSTANCES}") is not None
    assert found(pods, "a0") is None


def test_the_digest_of_an_instance_is_remembered_after_its_restart() -> None:
    pods = index()
    first = Container(name="app", id="a", image_digest="sha256:1")
    pods.apply(replace(record("u"), containers=(first,)))
    pods.apply(replace(record("u"), containers=(replace(first, image_digest=""), Container(name="app", id="b"))))

    subject = found(pods, "a")
    assert subject is not None
    assert subject.container == first


def test_a_static_pod_whose_mirror_is_made_again_is_one_pod_all_the_time() -> None:
    clock = Clock()
    pods = index(clock)
    pods.apply(record("hash", "a", key="mirror-1"))
    pods.apply(record("hash", "a", key="mirror-2"))
    pods.delete("mirror-1")
    clock.now = DELETED_FOR_S

    assert found(pods, "a", "hash") is not None
    assert found(pods, "sandbox", "hash", final=True) is not None


def test_a_list_brings_back_a_pod_that_was_deleted_and_its_earlier_containers() -> None:
    pods = index()
    pods.apply(record("u", "a"))
    pods.delete("u")
    pods.replace([record("u", "b")])

    assert found(pods, "a") is not None
    assert found(pods, "b") is not None


KEYS = st.sampled_from(["u1", "u2", "u3"])
RECORDS = st.builds(lambda uid, ids: record(uid, *(f"{uid}-{each}" for each in ids)), KEYS, st.sets(st.integers(0, 4)))
STEPS = st.one_of(
    st.tuples(st.just("apply"), RECORDS), st.tuples(st.just("delete"), KEYS), st.tuples(st.just("wait"), st.integers(1, 400))
) | st.tuples(st.just("replace"), st.lists(RECORDS, max_size=3))


@given(st.lists(STEPS, max_size=30))
def test_whatever_happened_a_list_decides_what_is_known(steps: list[tuple[str, object]]) -> None:
    clock = Clock()
    pods = index(clock)
    for name, argument in steps:
        if name == "wait":
            clock.now += float(str(argument))
        else:
            getattr(pods, name)(argument)
    pods.replace([record("u1", "u1-0")])
    clock.now += DELETED_FOR_S

    assert len(pods) == 1
    for uid in ("u2", "u3"):
        assert all(found(pods, f"{uid}-{each}", uid, final=True) is None for each in range(5))
    assert found(pods, "u1-0", "u1") is not None
