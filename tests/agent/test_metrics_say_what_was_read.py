"""Readings become Prometheus' text, checked with the parser of Prometheus' own library."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from agent.exposition import Exposition
from agent.readings import CanaryReading, Fill, Readings, SpoolReading

BUSY = Readings(
    version="0.1.0",
    events={"EXEC": 997, "CONNECT": 5003},
    rows={"EXEC": 23, "CONNECT": 41},
    recovered=17,
    delivered=5500,
    lost_in_kernel={"RING_FULL": 7},
    lost_in_agent={"SPOOL_FULL": 13, "QUEUE_FULL": 3},
    held={"pod": 101, "collector": 395},
    unresolved=2,
    foreign=5,
    kernel={"folded": 5900, "args_truncated": 1},
    rings={"small": Fill(640, 8 << 20), "long": Fill(0, 2 << 20)},
    tables={"folds": Fill(64, 16384)},
    spool=SpoolReading(state="memory", bytes=Fill(4096, 256 << 20), oldest_s=12.5, errors=3, damaged=2),
    connected=True,
    connections=4,
    pods=110,
    pods_age_s=3.25,
    pods_requests=12,
    canary={
        "exec": CanaryReading(sent=9, missed=1, age_s=20.0, latency_s=0.012, worst_s=0.5),
        "connect": CanaryReading(sent=9),
    },
)


def _families(readings: Readings) -> dict[str, Any]:
    text = Exposition(lambda: readings).text().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def _samples(readings: Readings) -> dict[tuple[str, ...], float]:
    """Each sample of ours as its name without prefix, its label values, and its value."""
    return {
        (sample.name.removeprefix("peerwatch_agent_"), *sample.labels.values()): sample.value
        for family in _families(readings).values()
        for sample in family.samples
        if sample.name.startswith("peerwatch_agent_")
    }


def test_every_reading_is_a_sample() -> None:
    assert _samples(BUSY) == {
        ("build_info", "0.1.0"): 1,
        ("produced_events_total",): 6024,
        ("events_total", "EXEC"): 997,
        ("events_total", "CONNECT"): 5003,
        ("rows_total", "EXEC"): 23,
        ("rows_total", "CONNECT"): 41,
        ("recovered_events_total",): 17,
        ("delivered_events_total",): 5500,
        ("lost_events_total", "RING_FULL", "kernel"): 7,
        ("lost_events_total", "SPOOL_FULL", "agent"): 13,
        ("lost_events_total", "QUEUE_FULL", "agent"): 3,
        ("held_events", "pod"): 101,
        ("held_events", "collector"): 395,
        ("unaccounted_events",): 0,
        ("unresolved_events_total",): 2,
        ("foreign_events_total",): 5,
        ("kernel_counts_total", "folded"): 5900,
        ("kernel_counts_total", "args_truncated"): 1,
        ("ring_used_bytes", "small"): 640,
        ("ring_size_bytes", "small"): 8 << 20,
        ("ring_used_bytes", "long"): 0,
        ("ring_size_bytes", "long"): 2 << 20,
        ("table_used_entries", "folds"): 64,
        ("table_size_entries", "folds"): 16384,
        ("spool_state", "off"): 0,
        ("spool_state", "disk"): 0,
        ("spool_state", "memory"): 1,
        ("spool_used_bytes",): 4096,
        ("spool_size_bytes",): 256 << 20,
        ("spool_oldest_seconds",): 12.5,
        ("spool_errors_total",): 3,
        ("spool_damaged_total",): 2,
        ("connected",): 1,
        ("connections_total",): 4,
        ("pods",): 110,
        ("pods_age_seconds",): 3.25,
        ("pods_requests_total",): 12,
        ("canary_sent_total", "exec"): 9,
        ("canary_sent_total", "connect"): 9,
        ("canary_missed_total", "exec"): 1,
        ("canary_missed_total", "connect"): 0,
        ("canary_age_seconds", "exec"): 20.0,
        ("canary_latency_seconds", "exec"): 0.012,
        ("canary_latency_worst_seconds", "exec"): 0.5,
    }


def test_what_was_produced_is_delivered_lost_held_or_foreign() -> None:
    samples = _samples(BUSY)
    sums = {name: sum(value for key, value in samples.items() if key[0] == name) for name in {key[0] for key in samples}}

    assert sums["produced_events_total"] == (
        sums["delivered_events_total"] + sums["lost_events_total"] + sums["held_events"] + sums["foreign_events_total"]
    )


def test_an_event_that_went_missing_shows() -> None:
    samples = _samples(Readings(version="x", events={"EXEC": 23}, delivered=19, held={"collector": 3}))

    assert samples["unaccounted_events",] == 1


def test_an_agent_without_a_source_of_pods_says_nothing_of_pods() -> None:
    assert not any(key[0].startswith("pods") for key in _samples(Readings(version="x")))


def test_every_metric_teaches_and_follows_the_conventions() -> None:
    families = _families(BUSY)
    assert [name for name, family in families.items() if not family.documentation.endswith(".")] == []
    assert [name for name in families if not name.startswith(("peerwatch_agent_", "process_"))] == []
    assert {family.type for family in families.values()} == {"counter", "gauge"}


def test_labels_are_a_closed_list() -> None:
    labels = {label for family in _families(BUSY).values() for sample in family.samples for label in sample.labels}
    assert labels == {"counter", "for", "kind", "reason", "ring", "stage", "state", "table", "version"}


def test_the_process_says_what_it_takes() -> None:
    families = _families(Readings(version="x"))
    assert families["process_resident_memory_bytes"].samples[0].value > 1 << 20
    assert families["process_cpu_seconds"].samples[0].value > 0


def test_readings_are_taken_when_somebody_asks_and_once_for_each_text() -> None:
    calls = []
    exposition = Exposition(lambda: calls.append(1) or Readings(version="x"))
    assert calls == []

    exposition.text()
    exposition.text()

    assert len(calls) == 2
