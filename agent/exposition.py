"""Readings as Prometheus' text format. Pure but for the process' own memory and CPU, which are read from /proc.

Labels have few values, and all of them are words of ours: nothing that a container can choose (names of pods, files or images)
becomes a label, because each value is a time series for ever.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from agent.readings import CanaryReading, Fill, Readings

__all__ = ["CONTENT_TYPE", "Exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The format that every scraper reads."""

_PREFIX = "peerwatch_agent_"


class Exposition:
    """Asks `read` and writes what it says; in a registry of its own, so that other libraries' metrics stay out."""

    def __init__(self, read: Callable[[], Readings]) -> None:
        """`read` is called once for each text."""
        self._read = read
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return all metrics as they are now."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Return nothing: the registry need not ask for readings to learn their names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of one reading."""
        now = self._read()
        yield InfoMetricFamily(f"{_PREFIX}build", "Which agent this is.", {"version": now.version})
        yield from _events(now)
        yield from _kernel_side(now)
        yield from _ways_in_and_out(now)
        yield from _canary(now.canary)


def _events(now: Readings) -> Iterator[Metric]:
    yield _counter(
        "produced_events",
        "Events that the probes saw, and those that an earlier agent left in the spool: delivered + lost + held + foreign. "
        "peerwatch_agent_unaccounted_events is the difference.",
        now.produced,
    )
    yield _counter(
        "events", "Events taken from the probes. A row that stands for seven connects counts as seven.", now.events, "kind"
    )
    yield _counter(
        "rows", "Rows in which these events were told: repeats are folded, so rows cost and events count.", now.rows, "kind"
    )
    yield _counter("recovered_events", "Events that an earlier agent left in the spool and this one took over.", now.recovered)
    yield _counter("delivered_events", "Events that the collector has acknowledged: they are on its disk.", now.delivered)
    lost = CounterMetricFamily(
        f"{_PREFIX}lost_events",
        "Events that will never arrive; the collector is told of each. Stage kernel: lost before the agent could read them, it "
        "got too little CPU. Stage agent: read and given up, the collector was away for longer than the spool is large.",
        labels=["stage", "reason"],
    )
    for stage, reasons in (("kernel", now.lost_in_kernel), ("agent", now.lost_in_agent)):
        for reason, count in sorted(reasons.items()):
            lost.add_metric([stage, reason], count)
    yield lost
    yield _gauge("held_events", "Events in the agent's hands, by what they wait for.", now.held, "for")
    yield _gauge("unaccounted_events", "Always 0. Anything else is a bug in peerwatch: please report it.", now.unaccounted)
    yield _counter(
        "unresolved_events",
        "Events that were sent with ids instead of names, because their pod was not known after five seconds.",
        now.unresolved,
    )
    yield _counter("foreign_events", "Events left out because their cgroup only looked like a container's.", now.foreign)


def _kernel_side(now: Readings) -> Iterator[Metric]:
    yield _counter(
        "kernel_counts",
        "What the probes count themselves, since they were attached, which may be longer than this agent runs.",
        now.kernel,
        "counter",
    )
    yield from _fills("ring", "bytes", "ring", "a ring buffer between probes and agent", now.rings)
    yield from _fills("table", "entries", "table", "a table of the probes", now.tables)


def _ways_in_and_out(now: Readings) -> Iterator[Metric]:
    spool = now.spool
    states = {state: int(state == spool.state) for state in ("off", "memory", "disk")}
    yield _gauge(
        "spool_state",
        "1 for the state it is in: disk, memory (the disk takes nothing: a kill would lose what is held), off (there is none).",
        states,
        "state",
    )
    yield from _fills("spool", "bytes", "", "the spool on disk", {"": spool.bytes})
    yield _gauge("spool_oldest_seconds", "Age of the oldest event that is not delivered.", spool.oldest_s)
    yield _counter("spool_errors", "Writes that failed; what was to be written is held in memory.", spool.errors)
    yield _counter(
        "spool_damaged", "Places that could not be read; their events are lost, reason SPOOL_CORRUPT.", spool.damaged
    )
    yield _gauge("connected", "1 while the collector answers.", int(now.connected))
    yield _counter(
        "connections",
        "Connections on which a collector answered; the first is the start, each further one followed a broken one.",
        now.connections,
    )
    if now.pods is not None:
        yield _gauge("pods", "Pods known.", now.pods)
        yield _gauge(
            "pods_age_seconds",
            "How long ago the API server, or the file, last said anything about pods. Over two minutes: new pods are unknown.",
            now.pods_age_s,
        )
        yield _counter(
            "pods_requests",
            "What the API server was asked for them: a list at the start, then a watch each four to eight minutes. More: it "
            "ends watches early, which it does when it, or this node, has too little CPU for a burst of changes.",
            now.pods_requests,
        )


def _canary(canary: Mapping[str, CanaryReading]) -> Iterator[Metric]:
    yield _counter(
        "canary_sent",
        "Events that the agent made itself, one of each kind a minute, to prove that capture works from end to end.",
        {kind: reading.sent for kind, reading in canary.items()},
        "kind",
    )
    yield _counter(
        "canary_missed",
        "Those that did not come back within ten seconds. Two in a row: this node is not being watched.",
        {kind: reading.missed for kind, reading in canary.items()},
        "kind",
    )
    for name, text, values in (
        (
            "canary_age_seconds",
            "How long ago the last one came back. Over two minutes: this node is not being watched.",
            {kind: reading.age_s for kind, reading in canary.items()},
        ),
        (
            "canary_latency_seconds",
            "From the kernel's time stamp to the agent's hand, the last time.",
            {kind: reading.latency_s for kind, reading in canary.items()},
        ),
        (
            "canary_latency_worst_seconds",
            "The longest of these since the start.",
            {kind: reading.worst_s for kind, reading in canary.items()},
        ),
    ):
        yield _gauge(name, text, {kind: value for kind, value in values.items() if value is not None}, "kind")


Value = float | Mapping[str, float] | Mapping[str, int]


def _counter(name: str, text: str, value: Value, label: str = "") -> Metric:
    return _fill(CounterMetricFamily(_PREFIX + name, text, labels=[label] if label else []), value)


def _gauge(name: str, text: str, value: Value, label: str = "") -> Metric:
    return _fill(GaugeMetricFamily(_PREFIX + name, text, labels=[label] if label else []), value)


def _fill(family: CounterMetricFamily | GaugeMetricFamily, value: Value) -> Metric:
    if isinstance(value, Mapping):
        for each, number in sorted(value.items()):
            family.add_metric([each], number)
    else:
        family.add_metric([], value)
    return family


def _fills(name: str, unit: str, label: str, what: str, fills: Mapping[str, Fill]) -> Iterator[Metric]:
    used = {each: fill.used for each, fill in fills.items()}
    size = {each: fill.size for each, fill in fills.items()}
    for suffix, text, values in (("used", f"How much of {what} is in use.", used), ("size", f"How large {what} is.", size)):
        yield _gauge(f"{name}_{suffix}_{unit}", text, values if label else values[""], label)
