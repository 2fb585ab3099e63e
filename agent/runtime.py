"""Puts the parts of a running agent together: source of pods, probes, resolver, loop, canary; and what it can say of itself."""

import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from peerwatch.subjects import Subject

from agent.canary import Canary
from agent.capture.probes import Mode, Probes
from agent.capture.records import LOSSES
from agent.errors import ConfigError
from agent.identity.index import PodIndex
from agent.identity.podfile import PodFile
from agent.identity.resolver import Resolver
from agent.node import Node
from agent.readings import Fill, Readings, SpoolReading
from agent.step import Recovered, Step
from agent.stream import Sender

__all__ = ["Capture", "Pods", "capture", "pod_source", "readings"]

_log = logging.getLogger("peerwatch-agent")


@dataclass(frozen=True, slots=True)
class Capture:
    """What captures: each part knows some of the numbers."""

    probes: Probes
    resolver: Resolver
    node: Node
    pods: "Pods | None"
    waited: int
    """Events that waited for their pods when the last agent ended: they are part of what this one took over."""


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of this node, how long ago their source was last heard, seconds, and what an API server was asked for them."""

    index: PodIndex
    age_s: Callable[[], float]
    requests: Callable[[], int]


class _Source(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def age_s(self) -> float: ...
    def requests(self) -> int: ...


@contextlib.contextmanager
def pod_source(pods: str | None, kubeconfig: str | None, home: Subject) -> Iterator["Pods | None"]:
    """Keep an index of this node's pods up to date, from one of two files or the API server; None if there is nobody to ask.

    Raises:
        ConfigError: two sources were given, or the one cannot be used.
    """
    if pods and kubeconfig and "KUBECONFIG" not in os.environ:
        raise ConfigError("--pods and --kubeconfig are two sources of the same: give one of them")
    index = PodIndex(home.cluster, home.node)
    if pods is not None:
        source: _Source = PodFile(pods, index)
    elif kubeconfig is not None or "KUBERNETES_SERVICE_HOST" in os.environ:
        from agent.identity.kubernetes import KubernetesPods  # noqa: PLC0415 — 44 MB, only for who asks an API server

        source = KubernetesPods(index, home.node, kubeconfig=kubeconfig)
    else:
        _log.warning("no source of pods: events carry container ids only; give --pods FILE or --kubeconfig FILE")
        yield None
        return
    source.start()
    try:
        yield Pods(index, source.age_s, source.requests)
    finally:
        source.stop()


@contextlib.contextmanager
def capture(
    put: Callable[[Step], Awaitable[None]],
    *,
    home: Subject,
    pods: Pods | None,
    pin_dir: Path,
    mode: Mode,
    recovered: Recovered | None = None,
    canary: Canary | None = None,
) -> Iterator[Capture]:
    """Attach the probes, and put together what reads them; run its `node`.

    Raises:
        AgentError: the probes cannot be attached.
    """
    recovered = recovered or Recovered()
    with Probes(pin_dir, mode) as probes:
        if canary is not None:
            probes.current.declare_agent()
        resolver = Resolver(
            home.cluster,
            home.node,
            None if pods is None else pods.index,
            probes.cgroup_path,
            held=recovered.held,
            host=mode.host,
        )
        observe = None if canary is None else canary.observe
        node = Node(probes, resolver, home, put, recovered=recovered.cursor, observe=observe)
        _log.info("capturing on node %s", home.node)
        yield Capture(probes, resolver, node, pods, resolver.held_events)


def readings(version: str, captured: Capture, sender: Sender, canary: Canary | None) -> Readings:
    """Return all numbers of this moment."""
    node, current, counters = captured.node, captured.probes.current, sender.counters
    kernel = current.counters()
    reported = {counter.name for counter in LOSSES}
    lost: Mapping[str, int] = {reason: count for reason, count in node.lost.items() if reason in reported}
    torn = {reason: count for reason, count in node.lost.items() if reason not in reported}
    status = sender.spool_status
    return Readings(
        version=version,
        events={kind.name: count for kind, count in node.events.items() if kind.name != "LOSS"},
        rows={kind.name: count for kind, count in node.rows.items() if kind.name != "LOSS"},
        recovered=counters.recovered + captured.waited,
        delivered=counters.acknowledged,
        lost_in_kernel=dict(lost) | torn,
        lost_in_agent=counters.lost,
        held={"pod": captured.resolver.held_events, "collector": sender.held_events},
        unresolved=captured.resolver.unresolved,
        foreign=captured.resolver.foreign,
        kernel={counter.name.lower(): count for counter, count in kernel.items()},
        rings={name: Fill(used, size) for name, (used, size) in current.ring_bytes().items()},
        tables={"folds": Fill(current.folds.used, current.folds.size)},
        spool=SpoolReading(
            state={"ok": "disk", "refused": "memory"}.get(status.state, "off"),  # type: ignore[arg-type]  # one of the three
            bytes=Fill(status.bytes, sender.spool_max_bytes),
            oldest_s=status.oldest_age_s,
            errors=status.errors,
            damaged=status.damaged,
        ),
        connected=sender.connected,
        connections=sender.connections,
        pods=None if captured.pods is None else len(captured.pods.index),
        pods_age_s=0.0 if captured.pods is None else captured.pods.age_s(),
        pods_requests=0 if captured.pods is None else captured.pods.requests(),
        canary={} if canary is None else canary.readings(),
    )
