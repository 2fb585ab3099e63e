import uuid
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.rootfs import Program
from harness.world import World
from peerwatch.columns import EventKind

pytestmark = pytest.mark.kernel

SLICES = "pwtest.slice/pwtest-kubepods.slice/pwtest-kubepods-burstable.slice/pwtest-kubepods-burstable-pod{uid_}.slice"


@pytest.mark.parametrize(
    ("path", "pod"),
    [
        ("pwtest/kubepods/burstable/pod{uid}/{id}", "{uid}"),
        ("pwtest/kubepods/pod{uid}/crio-{id}", "{uid}"),
        (SLICES + "/cri-containerd-{id}.scope", "{uid}"),
        (SLICES + "/crio-{id}.scope/container", "{uid}"),
        (SLICES + "/docker-{id}.scope", "{uid}"),
        ("pwtest/docker/{id}", ""),
        ("pwtest.slice/docker-{id}.scope", ""),
        ("pwtest.slice/libpod-{id}.scope/container", ""),
    ],
)
def test_a_container_is_known_by_the_cgroup_that_its_runtime_gives_it(
    capture: Capture, world: World, path: str, pod: str
) -> None:
    uid = str(uuid.uuid4())
    network, _ = world.network.pod("names")
    program = Program(argv=("/usr/bin/sleep", "100000"))
    container = Container(world.session, world.layers, program, pod_uid=uid, network=network)
    container.cgroup = "/" + path.format(uid=uid, uid_=uid.replace("-", "_"), id=container.id)
    capture.others.add(container.id)
    try:
        with container:
            container.exec("/usr/bin/tac", "/dev/null")

            seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

            (row,) = seen.rows(EventKind.EXEC, exe="/usr/bin/tac")
            subject = seen.table.subjects[seen.table.subject[row]]
            assert (subject.container.id, subject.pod.uid) == (container.id, pod.format(uid=uid))
    finally:
        world.network.release(network)
        remove("pwtest", "pwtest.slice")


def remove(*names: str) -> None:
    """Remove emptied cgroups in all hierarchies."""
    for top in (folder for name in names for folder in Path("/sys/fs/cgroup").glob(f"*/{name}")):
        for folder in sorted((each for each in top.rglob("*") if each.is_dir()), key=lambda folder: -len(folder.parts)):
            folder.rmdir()
        top.rmdir()
