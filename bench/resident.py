"""What the agent weighs when nothing happens and after much did: idle, many containers known, many quiet ones, churn.

One agent lives through all of it, as it would on a node. The short containers of the churn are also where identity is hardest:
each lives for 20 ms, and its events must carry its id, and its pod, which was in the metadata before it started.
"""

import contextlib
import dataclasses
import secrets
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from figures import Figure
from harness.containers import Container
from harness.deployment import Replica
from harness.pods import ContainerStatus, PodSpec, random_name, write
from harness.rootfs import Program
from loads import LOADS
from systems import Place, Running, start

__all__ = ["Sizes", "measure_resident"]

QUIET_S = 2.5
"""Longer than the seconds in which counts go out and the pods' file is looked at."""

PATIENCE_S = 6
"""Longer than an agent holds an event back while its pod is unknown."""

REPORT_S = 0.5
"""How often a kubelet of ours reports which containers it started; a real one takes up to a second or two."""

MOST_PODS = 500
"""Short pods in the metadata at a time, more than a node runs: those before them are deleted, as by a job's history limit."""

AT_ONCE = 4
"""Containers that start at the same time: more of them only wait for the two cores and for runc's locks."""


@dataclass(frozen=True)
class Sizes:
    """How much of each."""

    known: int
    quiet: int
    idle_seconds: float
    churn: int
    short: int


def measure_resident(place: Place, system: str, replica: Replica, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """Take one agent through it; `replica` is the pod that loads run in, whose network the containers share."""
    with contextlib.ExitStack() as stack:
        node = _Node(place, replica)
        stack.callback(node.remove)
        running = stack.enter_context(start(system, "resident", place))
        figures = []

        def weigh(when: str, most: float | None = None) -> int:
            running.settle(QUIET_S)
            now = running.memory()
            figures.append(Figure(f"resident memory, {when}", "MB", (now.resident / 1e6,), most=most))
            figures.append(Figure(f"resident memory, {when}: without a file behind it", "MB", (now.anonymous / 1e6,)))
            say(f"resident: {when}: {now.resident / 1e6:.1f} MB")
            return now.resident

        weigh("idle", 80)
        node.know(sizes.known)
        before = weigh(f"{sizes.known} containers known", 90)
        node.keep_quiet(min(sizes.quiet, sizes.known))
        figures += _idle(running, sizes)
        figures += _short(running, node, sizes.short)
        with LOADS["tiny"].begin(replica.container, 3600, most=sizes.churn) as waiting:
            operations = waiting.go()
        after = weigh(f"after {operations.count:,} execs and {sizes.short:,} short containers")
        figures.append(Figure("resident memory, growth by that", "MB", ((after - before) / 1e6,)))
        lost = sum(running.delivered().lost.values())
        figures.append(Figure("resident: events lost in all", "events", (lost,), most=0, least=0))
        figures.append(Figure("resident: BPF maps", "MB", (running.objects.map_bytes() / 1e6,), most=20))
        return figures


def _idle(running: Running, sizes: Sizes) -> list[Figure]:
    running.settle(QUIET_S)
    cpu, bpf, begin = running.cpu_ns(), running.ran(), time.monotonic_ns()
    time.sleep(sizes.idle_seconds)
    elapsed = time.monotonic_ns() - begin
    share = 100 * (running.cpu_ns() - cpu + (running.ran() - bpf).time_ns) / elapsed
    return [Figure(f"idle CPU with {min(sizes.quiet, sizes.known)} quiet containers", "% of a core", (share,), most=0.2)]


def _short(running: Running, node: "_Node", count: int) -> list[Figure]:
    """Run containers of 20 ms, and see whose their two execs were said to be."""
    if not count:
        return []
    before = len(running.delivered().marks)
    born: dict[str, Container] = {}
    for done in range(0, count, MOST_PODS):
        short = node.run_short(min(MOST_PODS, count - done))
        running.settle(PATIENCE_S)
        node.forget(short)
        born |= short
    after = running.delivered()
    marks = {each.text[1:]: each for each in after.marks[before:]}
    ids = [container.id for pod, container in born.items() if pod in marks and marks[pod].container == container.id]
    pods = sum(pod in marks and marks[pod].pod == pod for pod in born)
    firsts = sum(after.count("exec", "/app/short", container.id) == 1 for container in born.values())
    whole = f"of {count:,} containers of 20 ms"
    return [
        Figure(f"{whole}: first exec seen once, under the right id", "%", (100 * firsts / count,), least=100),
        Figure(f"{whole}: second exec under the right id", "%", (100 * len(ids) / count,), least=100),
        Figure(f"{whole}: second exec under the right pod", "%", (100 * pods / count,), least=100),
    ]


class _Node:
    """The containers of a node: those that are only told of, those that run and are quiet, those that are short."""

    def __init__(self, place: Place, replica: Replica) -> None:
        self._place = place
        self._replica = replica
        self._files = replica.container.program.files
        self._pods: dict[str, PodSpec] = {}
        self._known: list[Container] = []
        self._running: list[Container] = []

    def know(self, count: int) -> None:
        """Put so many pods into the metadata, each with a running container: `keep_quiet` starts as many as it is told."""
        program = Program(argv=("/app/quiet",), files=self._files)
        for _ in range(count):
            pod = self._pod("quiet")
            container = self._container(pod, program)
            self._started(pod, container)
            self._known.append(container)
        self._write()

    def keep_quiet(self, count: int) -> None:
        """Start the first of what is known."""
        self._running += self._known[:count]
        _each(Container.start, self._known[:count])

    def run_short(self, count: int) -> dict[str, Container]:
        """Run so many containers of 20 ms to their end; return them by their pods' names."""
        program = Program(argv=("/app/short",), files=self._files)  # one for all: an image is laid out once
        pods = [self._pod("short") for _ in range(count)]
        self._pods |= {pod.name: pod for pod in pods}
        self._write()
        time.sleep(QUIET_S)  # no kubelet starts a container of a pod that the API server does not know
        born = {pod.name: self._container(pod, program) for pod in pods}

        def live(pod: PodSpec) -> None:
            container = born[pod.name]
            try:
                container.start()
                self._started(pod, container)
                while container.running():
                    time.sleep(0.01)
            finally:
                container.delete()

        with ThreadPoolExecutor(AT_ONCE) as pool:
            lives = [pool.submit(live, pod) for pod in pods]
            while wait(lives, REPORT_S).not_done:
                self._write()
        self._write()
        for each in lives:
            each.result()
        return born

    def forget(self, names: Iterable[str]) -> None:
        """Remove pods from the metadata."""
        for name in names:
            self._pods.pop(name, None)
        self._write()

    def remove(self) -> None:
        """Remove what runs, and all from the metadata."""
        _each(Container.delete, self._running)
        self._pods.clear()
        self._write()

    def _started(self, pod: PodSpec, container: Container) -> None:
        """Note what a kubelet reports of a container that it started, and goes on reporting when it has ended."""
        status = ContainerStatus("app", pod.containers[0].image, container.id, time.time(), "sha256:" + secrets.token_hex(32))
        self._pods[pod.name] = dataclasses.replace(pod, containers=(status,))

    def _pod(self, name: str) -> PodSpec:
        return PodSpec(
            deployment=name,
            namespace="bench",
            name=f"{name}-{self._replica.revision}-{random_name(8)}",
            uid=str(uuid.uuid4()),
            replica_set_uid=str(uuid.uuid4()),
            revision=self._replica.revision,
            node=self._place.world.node,
            ip=self._replica.ip,
            created_at=time.time(),
            containers=(ContainerStatus("app", f"bench/{name}:1"),),
        )

    def _container(self, pod: PodSpec, program: Program) -> Container:
        world = self._place.world
        network = self._replica.network
        return Container(world.session, world.layers, program, pod_uid=pod.uid, network=network, hostname=pod.name)

    def _write(self) -> None:
        others = [spec for each in self._place.world.deployments for spec in each.pods()]
        write(self._place.pods_file, [*others, *self._pods.copy().values()])


def _each(work: Callable[[Container], object], containers: Iterable[Container]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(work, containers))
