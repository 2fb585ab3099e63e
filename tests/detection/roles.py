"""Workloads whose replicas hold several roles, with software made up for it: who leads, who is primary, who holds which shard.

Each function lets replicas live or hold a role and tells a `Cluster` what they do. Times are seconds since its beginning.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detection.cluster import BEGIN, SECOND, Cluster, Replica
from peerwatch.columns import Peer
from peerwatch.subjects import Workload

__all__ = ["API", "DAY", "HOUR", "LEDGER", "TALLY", "Leader", "again", "every", "lead", "led", "live", "service", "shell"]

HOUR = 3_600
DAY = 24 * HOUR
SH = "/usr/bin/dash"
TALLY = "/opt/tally/tallyd"
API = Peer("default", Workload("apiserver", "kubernetes"))


def service(name: str, kind: str = "Deployment") -> Peer:
    """Return another workload as a destination."""
    return Peer("shop", Workload(kind, name))


LEDGER = service("ledger", "StatefulSet")


def every(step: float, begin: float, end: float) -> Iterator[float]:
    """Yield the times of something periodic."""
    at = begin
    while at < end:
        yield at
        at += step


def live(cluster: Cluster, pods: Sequence[Replica], begin: float, end: float, pause: float = 60) -> None:
    """Let replicas serve: a cache is asked, and two helpers run in turn, not quite in step."""
    for number, pod in enumerate(pods):
        cluster.exec(begin + 0.1 * number, pod, TALLY, parent="", args=(TALLY, "--config", "/etc/tally.toml"))
        for turn, at in enumerate(every(pause, begin + 1 + 0.37 * number, end)):
            helper = "/opt/tally/render" if turn % 2 else "/opt/tally/measure"
            cluster.exec(at, pod, helper, parent=TALLY, args=(helper, "--account", str(4_711 * turn % 100_003)))
            cluster.connect(at + 0.2, pod, TALLY, ("10.4.2.2", 6379), peer=service("cache"))


def again(pod: Replica, number: int, at: float) -> Replica:
    """Return the next pod of the same name, as a StatefulSet makes it."""
    subject = pod.subject
    life = dataclasses.replace(subject.pod, uid=f"{subject.pod.uid}-{number}", created_at=BEGIN + int(at * SECOND))
    container = dataclasses.replace(subject.container, id=f"{subject.container.id}-{number}")
    return Replica(pod.name, dataclasses.replace(subject, pod=life, container=container))


def shell(cluster: Cluster, at: float, pod: Replica, text: str, *tools: tuple[str, ...], parent: str = TALLY) -> None:
    """Let a service run `sh -c` and the shell its tools."""
    pid = cluster.exec(at, pod, SH, args=("sh", "-c", text), parent=parent)
    for number, (tool, *words) in enumerate(tools):
        exe = tool if "/" in tool else f"/usr/bin/{tool}"
        cluster.exec(at + 0.01 * (number + 1), pod, exe, args=(tool, *words), parent=SH, parent_pid=pid)


@dataclass(frozen=True)
class Leader:
    """What only the leader does, besides jobs and connections of its own."""

    api: bool = False
    """It talks to the API server."""
    scripts: bool = False
    """It exports by a shell's command string, with tools of scripts."""
    tools: bool = False
    """It drives other workloads with tools that are hardly ever normal in a service."""


def lead(cluster: Cluster, pod: Replica, kind: Leader, begin: float, end: float) -> None:
    """Let a replica lead: it does all that leading is, at once and then by the clock."""
    for at in every(30, begin + 1, end):
        cluster.connect(at, pod, TALLY, ("10.4.2.9", 5432), peer=LEDGER)
        if kind.api:
            cluster.connect(at + 0.1, pod, TALLY, ("10.96.0.1", 443), peer=API)
    for at in every(300, begin + 1, end):
        cluster.exec(at, pod, "/opt/tally/roll", parent=TALLY, args=("roll", "--window", str(int(at) % DAY)))
    for at in every(600, begin + 7, end):
        pid = cluster.exec(at, pod, "/opt/tally/fetch-rates", parent=TALLY)
        cluster.connect(at + 0.5, pod, "/opt/tally/fetch-rates", ("10.4.2.17", 8080), peer=service("rates"), pid=pid)
    for at in every(900, begin + 11, end) if kind.scripts else ():
        day = f"2026-11-{int(at // DAY) + 10}"
        text = f"/opt/tally/export --day {day} | gzip > /data/{day}.gz"
        shell(cluster, at, pod, text, ("/opt/tally/export", "--day", day), ("gzip",))
    for at in every(900, begin + 23, end) if kind.tools else ():
        args = ("kubectl", "scale", "deployment/worker", f"--replicas={int(at) % 9 + 1}")
        pid = cluster.exec(at, pod, "/usr/bin/kubectl", parent=TALLY, args=args)
        cluster.connect(at + 0.3, pod, "/usr/bin/kubectl", ("10.96.0.1", 443), peer=API, pid=pid)
        cluster.exec(at + 5, pod, "/usr/bin/ssh", parent=TALLY, args=("ssh", "mirror.shop.svc", "sync"))


def led(
    cluster: Cluster,
    size: int,
    kind: Leader,
    moves: Sequence[float],
    end: float,
    *,
    how: str = "lease",
    guests: int = 0,
    pause: float = 60,
) -> list[Replica]:
    """Let a workload be led, and the leader change; return who led, in order.

    Args:
        cluster: where.
        size: replicas.
        kind: what leading is.
        moves: when the leader changes.
        end: when all ends.
        how: `lease`: it loses its lease and follows; `dies`: a new pod comes and follows; `born`: the new pod leads.
        guests: replicas that an autoscaler adds for half of each hour.
        pause: between two things that a replica does.
    """
    pods, fresh = cluster.pods(size), size
    began = dict.fromkeys(pods, 0.0)
    leaders, since = [pods[0]], 3.0
    for move in moves:
        leader = leaders[-1]
        lead(cluster, leader, kind, since, move)
        place = pods.index(leader)
        following, since = pods[(place + 1) % size], move + 15
        if how != "lease":
            live(cluster, [leader], began[leader], move, pause)
            (pods[place],) = cluster.pods(1, at=move + 10, first=fresh)
            began[pods[place]] = move + 10
            fresh += 1
        if how == "born":
            following, since = pods[place], move + 70
        leaders.append(following)
    lead(cluster, leaders[-1], kind, since, end)
    for pod in pods:
        live(cluster, [pod], began[pod], end, pause)
    for hour in range(1, int(end / HOUR)) if guests else ():
        live(cluster, cluster.pods(guests, at=hour * HOUR, first=fresh), hour * HOUR, (hour + 0.5) * HOUR, pause)
        fresh += guests
    return leaders
