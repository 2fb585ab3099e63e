"""A node ends with its owner, also one that was killed: no process, cgroup, mount or file is left. Two run at a time."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from cluster.confinement import CGROUPS
from cluster.node import FOLDER, Node, make_folder, sweep

_OWNER = """
import sys, time
from cluster.node import Node
with Node.started(sys.argv[1]) as node:
    print("started", flush=True)
    time.sleep(600)
"""


def _traces(name: str) -> list[str]:
    """Return what there is of a node on this host."""
    found = [str(path) for path in (*CGROUPS.glob(f"*/peerwatch-{name}"), *CGROUPS.glob(f"peerwatch-{name}"))]
    found += [str(path) for path in FOLDER.glob(name)]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if f"{FOLDER}/{name}/" in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            cgroups = (process / "cgroup").read_text()
        except OSError:
            continue
        # A dead process has no command line, until its parent has read how it ended.
        if not command:
            continue
        if f"{FOLDER}/{name}/" in command or f"/peerwatch-{name}/" in cgroups:
            found.append(command)
    return found


def test_a_node_whose_owner_was_killed_is_swept_by_the_next(node: Node) -> None:
    name = f"orphan-{os.getpid()}"
    before = {path.name for path in Path("/run/netns").glob("cni-*")}
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, name], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "started\n"
        orphan = Node(name)
        orphan.api.post("/api/v1/namespaces/default/pods", _sleeper())
        orphan.kubectl("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=60s")
        assert orphan.network.readlink() != node.network.readlink()
        assert len(_traces(name)) > 15
        assert sweep() == []
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
    assert orphan.running  # nobody has ended it
    assert sweep() == [name]
    assert _traces(name) == []
    assert {path.name for path in Path("/run/netns").glob("cni-*")} <= before
    assert node.running


def test_a_node_that_begins_while_another_ends_has_its_folder(tmp_path: Path) -> None:
    around, done = tmp_path / "nodes", threading.Event()

    def end_nodes() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):  # somebody's node is in it, or it is not there
                around.rmdir()

    others = threading.Thread(target=end_nodes)
    others.start()
    try:
        for number in range(300):
            make_folder(around / str(number))
            (around / str(number)).rmdir()
    finally:
        done.set()
        others.join()


def _sleeper() -> dict[str, object]:
    container = {"name": "app", "image": "localhost/busybox:1", "imagePullPolicy": "Never", "command": ["sleep", "1000"]}
    return {"metadata": {"name": "sleeper"}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
