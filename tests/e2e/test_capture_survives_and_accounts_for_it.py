"""What an agent says of itself holds at each moment, and what it makes itself to prove that it sees is nobody's behaviour."""

import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from collector_harness import eventually
from harness.agents import Agent, Site
from harness.containers import Container
from harness.ingest import free_port
from harness.load import Load
from harness.sabotage import IMPATIENT
from harness.session import CGROUPS
from peerwatch.v1 import event_pb2, query_pb2

pytestmark = pytest.mark.kernel


def produced_grows(agent: Agent, port: int, turns: int) -> Mapping[str, float]:
    """Look at an agent's metrics, so many times with more events in them; return the last ones.

    Each time, what was produced is delivered, or lost, or in the agent's hands, or left out.
    """
    seen = [agent.metrics(port)]

    def has_grown() -> bool:
        seen.append(agent.metrics(port))
        now = seen[-1]
        accounted = now["delivered_events_total"] + now["lost_events_total"] + now["held_events"] + now["foreign_events_total"]
        assert (now["produced_events_total"], now["unaccounted_events"]) == (accounted, 0)
        return now["produced_events_total"] > seen[0]["produced_events_total"]

    for _ in range(turns):
        eventually(has_grown)
        del seen[:-1]
    return seen[-1]


def test_at_each_moment_all_that_was_produced_is_somewhere(site: Site, container: Container, tmp_path: Path) -> None:
    nobody = tmp_path / "pods.json"
    nobody.write_text('{"kind": "PodList", "items": []}')
    port = free_port()
    metrics = ["--metrics", f"127.0.0.1:{port}"]
    with Load(container):
        with site.agent(*metrics, source=IMPATIENT) as agent:
            agent.until("capturing on node")
            assert produced_grows(agent, port, 5)["lost_events_total"] == 0
            eventually(lambda: produced_grows(agent, port, 1)["delivered_events_total"] > 0)
            site.collector.end(signal.SIGKILL)
            assert produced_grows(agent, port, 5)["held_events collector"] > 0
        with site.agent(*metrics, "--pods", str(nobody), source=IMPATIENT) as agent:
            agent.until("capturing on node")
            now = produced_grows(agent, port, 5)
            assert now["recovered_events_total"] > 0
            assert now["held_events pod"] > 0
        with site.agent(*metrics, source=IMPATIENT) as agent:
            agent.until("capturing on node")
            site.collector.start()
            eventually(lambda: produced_grows(agent, port, 1)["delivered_events_total"] > now["produced_events_total"])
            agent.stop()


def test_an_address_for_metrics_that_is_taken_ends_the_agent_with_one_line(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with site.agent("--metrics", address) as agent:
            agent.until("capturing on node")
            words = agent.process.communicate(timeout=30)[1]

    assert agent.process.returncode == 2
    assert words == (
        f"peerwatch-agent: --metrics {address} is used by another program; give another address, or stop what is there\n"
    )


def test_the_canary_is_in_the_archive_and_in_no_baseline(site: Site, container: Container) -> None:
    def arrived() -> list[event_pb2.Event]:
        return [event for event in site.collector.events(site.cluster) if event.container.id == container.id]

    def canaries() -> set[str]:
        flagged = [event for event in arrived() if event_pb2.Process.CANARY in event.process.flags]
        return {str(event.WhichOneof("kind")) for event in flagged}

    with site.agent("--canary", "0.5", source=IMPATIENT) as agent:
        enter(container, agent.process.pid)  # in a pod, as it would be on a node
        agent.until("capturing on node")
        eventually(lambda: canaries() >= {"exec", "connect"})
        container.exec("/usr/bin/tac", "/dev/null")
        assert "canary" not in agent.stop()

    (node,) = [node for node in site.collector.status().agents if node.cluster == site.cluster]
    assert node.HasField("last_canary")
    assert node.canary_delay.ToTimedelta().total_seconds() < 5
    learned = " ".join(baseline(site))
    assert "/usr/bin/tac" in learned
    assert "canary" not in learned
    assert "127.0.0.1" not in learned


def enter(container: Container, pid: int) -> None:
    """Put a process of the host into a container's cgroups."""
    for cgroup in CGROUPS.glob(f"*{container.cgroup}"):
        (cgroup / "cgroup.procs").write_text(str(pid))


def baseline(site: Site) -> Iterator[str]:
    """Yield what is known of behaviours of this test's cluster: key and example."""
    with site.collector.query() as stub:
        for workload in stub.ListWorkloads(query_pb2.ListWorkloadsRequest(), timeout=10).workloads:
            if workload.ref.cluster == site.cluster:
                request = query_pb2.GetBaselineRequest(ref=workload.ref)
                for entry in stub.GetBaseline(request, timeout=10).entries:
                    yield " ".join((entry.key, *entry.example))
