"""What all other tests with real containers stand on: they start as on a node, reach each other, and leave nothing behind."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Base, Program, World, missing, sweep

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(missing()), reason=missing())]

SERVER = """
import http.server
http.server.test(http.server.SimpleHTTPRequestHandler, port=8080)
"""
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(node="harness-node") as world:
        program = Program(argv=("python3", "/app/server.py"), files={"/app/server.py": SERVER}, cwd="/app")
        world.deploy("web", namespace="shop", replicas=2, program=program)
        yield world


def traces(session: str, pods: list[str]) -> list[str]:
    """Return everything on the host that carries a session's or a pod's name."""
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if session in line]
    found += [str(path) for path in (*Path("/run").glob(f"{session}*"), *Path("/run/netns").glob(f"{session}*"))]
    found += [str(path) for uid in pods for path in Path("/sys/fs/cgroup").glob(f"*/kubelet/kubepods/burstable/pod{uid}*")]
    return found


def connect(address: str, port: int) -> tuple[str, ...]:
    code = f"import socket; print(socket.create_connection(({address!r}, {port}), 3).recv(5))"
    return ("python3", "-c", code)


def test_a_container_is_in_the_cgroup_that_a_kubelet_would_give_it(world: World) -> None:
    replica = world.deployments[0].replicas[0]
    expected = f"/kubelet/kubepods/burstable/pod{replica.uid}/{replica.container.id}"

    lines = Path(f"/proc/{replica.pid}/cgroup").read_text().splitlines()

    assert {line.split(":", 2)[2] for line in lines} == {expected}
    assert replica.exec("readlink", "/proc/1/exe").stdout.startswith("/usr/bin/python3")


def test_the_pods_file_says_what_the_api_server_would_say(world: World) -> None:
    deployment = world.deployments[0]
    items = json.loads(world.pods_file.read_text())["items"]

    assert [(pod["metadata"]["name"], pod["metadata"]["uid"], pod["status"]["podIP"]) for pod in items] == [
        (replica.name, replica.uid, replica.ip) for replica in deployment.replicas
    ]
    assert [pod["status"]["containerStatuses"][0]["containerID"] for pod in items] == [
        f"containerd://{replica.container.id}" for replica in deployment.replicas
    ]
    assert {pod["metadata"]["ownerReferences"][0]["name"] for pod in items} == {f"web-{deployment.revision}"}
    assert {pod["spec"]["nodeName"] for pod in items} == {"harness-node"}


def test_a_file_that_is_written_after_the_start_is_in_the_upper_layer(world: World) -> None:
    container = world.deployments[0].replicas[0].container

    container.exec("cp", "/usr/bin/id", "/app/tool")

    assert "uid=0(root)" in container.exec("/app/tool").stdout
    assert (container.upper / "app/tool").is_file()
    assert not (container.upper / "app/server.py").exists()


def test_replicas_reach_each_other_and_nothing_gets_out(world: World) -> None:
    first, second = world.deployments[0].replicas
    fetch = f"import urllib.request; print(urllib.request.urlopen('http://{second.ip}:8080/').status)"
    for _ in range(50):
        if first.exec("python3", "-c", fetch, check=False).stdout == "200\n":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the second replica does not answer")

    assert "Connection refused" in first.exec(*connect("203.0.113.9", 4444), check=False).stderr
    assert "No route to host" in first.exec(*connect("8.8.8.8", 53), check=False).stderr
    command = first.container.exec_command(*connect("203.0.113.9", 4444))
    with world.network.listen("203.0.113.9", 4444) as listener, subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        connection, (address, _) = listener.accept()
        connection.sendall(b"hello")
        connection.close()
        output, _ = client.communicate(timeout=10)
    assert (address, output) == (first.ip, b"b'hello'\n")


def test_a_busybox_container_has_its_applets_and_no_file_of_the_host(world: World) -> None:
    with world.deploy("tiny", program=Program(argv=("/bin/sleep", "1000"), base=Base.BUSYBOX)) as tiny:
        container = tiny.replicas[0].container

        assert container.exec("readlink", "-f", "/bin/ls").stdout == "/bin/busybox\n"
        assert container.exec("ls", "/usr/bin/python3", check=False).returncode != 0


def test_a_rollout_replaces_every_replica_under_a_new_revision(world: World) -> None:
    with world.deploy("roll", replicas=2, program=Program(argv=("/usr/bin/sleep", "1000"))) as deployment:
        before = deployment.revision
        deployment.rollout(Program(argv=("/usr/bin/sleep", "1001")))

        assert len(deployment.replicas) == 2
        assert {replica.revision for replica in deployment.replicas} == {deployment.revision} != {before}


def test_a_world_that_ends_in_an_error_leaves_nothing_behind() -> None:
    seen = []

    def fail(world: World) -> None:
        with world:
            deployment = world.deploy("gone", replicas=2, program=Program(argv=("/usr/bin/sleep", "1000")))
            seen.extend([world.session.name, [replica.uid for replica in deployment.replicas]])
            assert len(traces(*seen)) > 6
            raise LookupError

    with pytest.raises(LookupError):
        fail(World())

    assert traces(*seen) == []


CHILD = """
import time
from harness import Program, World
with World() as world:
    deployment = world.deploy("gone", program=Program(argv=("/usr/bin/sleep", "1000")))
    print(world.session.name, deployment.replicas[0].uid, deployment.replicas[0].pid, flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_leaves_nothing_behind_or_what_the_next_run_sweeps(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], cwd=TESTS, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        session, pod, pid = child.stdout.readline().split()
        assert len(traces(session, [pod])) > 6
        child.send_signal(number)
        child.wait(120)

    if number == signal.SIGKILL:
        sweep()  # as the next run does
    assert traces(session, [pod]) == []
    assert not Path(f"/proc/{pid}/exe").exists()
