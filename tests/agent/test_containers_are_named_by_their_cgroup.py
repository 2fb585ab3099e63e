"""Real cgroup paths, and what a hostile container can do with names of its own."""

import pytest
from hypothesis import given, strategies as st

from agent.identity.cgroups import ContainerRef, container_of

A, B = "a1" * 32, "b2" * 32
UID = "7e0c9f52-3b1d-4c57-9a40-0d1f6b7c8e9a"
OTHER = "11111111-2222-3333-4444-555555555555"
UNDER = UID.replace("-", "_")
STATIC = "c15976de9cc8d08010626b9f769af448"
SLICE = f"kubepods-burstable-pod{UNDER}.slice"

IN_PODS = {
    "cgroupfs, burstable": f"/kubepods/burstable/pod{UID}/{A}",
    "cgroupfs, guaranteed": f"/kubepods/pod{UID}/{A}",
    "cgroupfs, CRI-O": f"/kubepods/besteffort/pod{UID}/crio-{A}",
    "systemd, containerd": f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/cri-containerd-{A}.scope",
    "systemd, containerd, guaranteed": f"/kubepods.slice/kubepods-pod{UNDER}.slice/cri-containerd-{A}.scope",
    "systemd, CRI-O": f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/crio-{A}.scope",
    "systemd, CRI-O, its child": f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/crio-{A}.scope/container",
    "systemd, docker": f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/docker-{A}.scope",
    "systemd names, cgroupfs runtime": f"/{SLICE}:cri-containerd:{A}",
    "the same below containerd's service": f"/system.slice/containerd.service/{SLICE}:cri-containerd:{A}",
    "kind, cgroupfs": f"/docker/{B}/kubelet/kubepods/burstable/pod{UID}/{A}",
    "kind inside": f"/kubelet/kubepods/burstable/pod{UID}/{A}",
    "kind, systemd": f"/docker/{B}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
    f"kubelet-{SLICE}/cri-containerd-{A}.scope",
    "another --cgroup-root": f"/second/kubepods/burstable/pod{UID}/{A}",
    "another cgroup namespace": f"/../../kubepods/burstable/pod{UID}/{A}",
    "systemd in the container": f"/kubepods/burstable/pod{UID}/{A}/init.scope",
    "its own cgroup": f"/kubepods/burstable/pod{UID}/{A}/foo/bar",
    "docker in docker": f"/kubepods/burstable/pod{UID}/{A}/docker/{B}",
    "kind in a pod": f"/kubepods/burstable/pod{UID}/{A}/docker/{B}/kubelet/kubepods/burstable/pod{OTHER}/{B}",
}
OUTSIDE = {
    "docker, cgroupfs": f"/docker/{A}",
    "docker, systemd": f"/system.slice/docker-{A}.scope",
    "podman": f"/machine.slice/libpod-{A}.scope",
    "podman, its child": f"/machine.slice/libpod-{A}.scope/container",
    "rootless podman": f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope",
    "containerd with colons": f"/system.slice:cri-containerd:{A}",
    "runc": f"/{A}",
    "nerdctl": f"/system.slice/nerdctl-{A}.scope",
    "docker, its own cgroup": f"/docker/{A}/init.scope",
}
NO_CONTAINER = {
    "the root": "/",
    "nothing": "",
    "the kubelet": "/system.slice/kubelet.service",
    "a pod's own cgroup": f"/kubepods/burstable/pod{UID}",
    "a pod's slice": f"/kubepods.slice/kubepods-burstable.slice/{SLICE}",
    "CRI-O's monitor": f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/crio-conmon-{A}.scope",
    "podman's monitor": f"/machine.slice/libpod-conmon-{A}.scope",
    "a session": "/user.slice/user-0.slice/session-1.scope",
    "a short name": "/docker/abc123",
    "upper case": f"/docker/{A.upper()}",
    "one digit more": f"/docker/{A}0",
    "a pod in name only": "/podman/podcast",
}


@pytest.mark.parametrize("path", IN_PODS.values(), ids=IN_PODS.keys())
def test_the_container_directly_below_the_first_pod_is_found(path: str) -> None:
    ref = container_of(path)

    assert ref == ContainerRef(A, UID)
    assert ref is not None
    assert ref.certain


@pytest.mark.parametrize("path", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_a_container_outside_of_pods_has_no_pod(path: str) -> None:
    ref = container_of(path)

    assert ref == ContainerRef(A)
    assert ref is not None
    assert ref.certain


@pytest.mark.parametrize("path", NO_CONTAINER.values(), ids=NO_CONTAINER.keys())
def test_what_is_no_container_is_none(path: str) -> None:
    assert container_of(path) is None


@pytest.mark.parametrize("pod", [f"pod{STATIC}", f"kubepods-burstable-pod{STATIC}.slice"])
def test_a_static_pods_uid_is_the_hash_of_its_configuration(pod: str) -> None:
    assert container_of(f"/kubepods/burstable/{pod}/{A}") == ContainerRef(A, STATIC)


@pytest.mark.parametrize("known", range(2, 6))
def test_a_path_without_its_front_still_names_the_container_but_proves_nothing(known: int) -> None:
    names = f"/kubepods/burstable/pod{UID}/{A}/x".split("/")
    ref = container_of("/".join(names[-known - 1 :]))

    assert ref == ContainerRef(A, UID)
    assert ref is not None
    assert ref.certain == (known == 5)


def test_a_container_below_a_container_outside_of_pods_may_be_made_up() -> None:
    ref = container_of(f"/docker/{A}/docker/{B}")

    assert ref == ContainerRef(B)
    assert ref is not None
    assert not ref.certain


OTHER_SLICE = f"kubepods-pod{OTHER.replace('-', '_')}.slice"
NAMES = st.sampled_from(
    [
        f"pod{OTHER}",
        B,
        f"cri-containerd-{B}.scope",
        OTHER_SLICE,
        f"{OTHER_SLICE}:cri-containerd:{B}",
        f"system.slice:cri-containerd:{B}",
        "kubepods",
        "docker",
        "x",
    ]
) | st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40)


@given(st.sampled_from(sorted(IN_PODS.values())), st.lists(NAMES, max_size=20))
def test_no_name_below_a_pods_container_makes_it_another_container(path: str, below: list[str]) -> None:
    ref = container_of("/".join((path, *below)))

    assert ref == ContainerRef(A, UID)


@given(st.sampled_from(sorted(OUTSIDE.values())), st.lists(NAMES, min_size=1, max_size=20))
def test_no_name_below_another_container_is_certain_to_be_someone_else(path: str, below: list[str]) -> None:
    ref = container_of("/".join((path, *below)))

    # A whole layout of pods below a container is a node of kind, told apart from a made-up one by nobody.
    assert ref is None or ref == ContainerRef(A) or not ref.certain or ref.pod_uid == OTHER


@given(st.text(max_size=300))
def test_any_text_is_a_container_or_none(path: str) -> None:
    ref = container_of(path)

    assert ref is None or len(ref.id) == 64
