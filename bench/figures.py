"""From runs to figures: medians, ranges, ratios within a round, goals. Pure: runs in, figures and text out."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

__all__ = ["Figure", "Run", "compare", "judge", "table"]


@dataclass
class Run:
    """One run of a load under one system: what was counted, nothing worked out."""

    round: int
    load: str
    unit: str
    system: str
    operations: int
    elapsed_ns: int
    load_ns: int
    """CPU time of the load itself; 0: it does not say."""
    bpf_ns: int
    bpf_runs: int
    bpf_missed: int
    reader_ns: int
    delivered: int | None
    """Events of this load that arrived; None: nobody counts them, or the load makes none."""
    told: bool
    """Whether `delivered` is of just these events, not of all there were."""
    rows: int
    addresses: int
    repeated: int
    lost: dict[str, int]
    resident_before: int
    resident: int
    anonymous: int
    peak: int
    map_bytes: int
    start_s: float
    start_cpu_s: float
    loader_peak: int
    delays_s: list[float] = field(default_factory=list)

    @property
    def bpf_us(self) -> float:
        """In the kernel, for each operation."""
        return self.bpf_ns / 1e3 / max(1, self.operations)

    @property
    def reader_us(self) -> float:
        """In the system's own processes, for each operation."""
        return self.reader_ns / 1e3 / max(1, self.operations)

    @property
    def cpu_us(self) -> float:
        """Both: what one operation costs the machine."""
        return self.bpf_us + self.reader_us

    @property
    def load_us(self) -> float:
        """In the load's own context, for each operation: BPF programs, and the kernel's way to them, are in it."""
        return self.load_ns / 1e3 / max(1, self.operations)

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / (self.elapsed_ns / 1e9)

    @property
    def lost_events(self) -> int:
        """All that was reported lost, whatever the reason."""
        return sum(self.lost.values())


@dataclass(frozen=True)
class Figure:
    """One figure with all its values and what it should be."""

    name: str
    unit: str
    values: tuple[float, ...]
    most: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the goal; None: there is no goal."""
        if self.most is None and self.least is None:
            return None
        middle = statistics.median(self.values)
        return (self.most is None or middle <= self.most) and (self.least is None or middle >= self.least)

    def line(self) -> dict[str, object]:
        """Return it as it goes to the results."""
        return asdict(self) | {
            "type": "figure",
            "median": statistics.median(self.values),
            "min": min(self.values),
            "max": max(self.values),
            "met": self.met,
        }


# The goals: load, system, what, unit, most. Of the issue "Capture: everything, exactly once, almost free".
GOALS: tuple[tuple[str, str, str, str, float], ...] = (
    ("tiny", "peerwatch", "cpu_us", "µs/exec", 4),
    ("tiny", "peerwatch-full", "cpu_us", "µs/exec", 8),
    ("conn", "peerwatch", "cpu_us", "µs/connect", 1),
    ("conn", "peerwatch-full", "cpu_us", "µs/connect", 2.5),
    ("getppid", "peerwatch", "bpf_us", "µs BPF/call", 0),
)

PEERS = ("execsnoop", "bpftrace")
OURS = ("peerwatch", "peerwatch-full")


def compare(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures of all runs: cost, cost against others in the same round, counts, latency, start, memory."""
    figures = [
        Figure(f"{load}, {system}: {'BPF' if what == 'bpf_us' else 'CPU'}", unit, values, most=most)
        for load, system, what, unit, most in GOALS
        if (values := tuple(getattr(each, what) for each in _of(runs, load, system)))
    ]
    for load in ("tiny", "conn"):
        for ours in OURS:
            for peer in PEERS:
                figures += _optional(
                    f"{load}, {ours}: CPU against {peer}",
                    "times",
                    _ratios(runs, (load, ours), (load, peer), lambda run: run.cpu_us),
                    most=1,
                )
    for load in dict.fromkeys(each.load for each in runs):
        for system in (*OURS, *PEERS):
            own = _of(runs, load, system)
            counted = [each for each in own if each.delivered is not None]
            name = f"{load}, {system}"
            figures += _optional(f"{name}: lost", "events", [each.lost_events for each in counted], most=0, least=0)
            figures += _optional(
                f"{name}: delivered - true",
                "events",
                [each.delivered - each.operations for each in counted if each.delivered is not None and each.told],
                most=0,
                least=0,
            )
            dearer = _ratios(runs, (load, system), (load, "none"), lambda run: run.load_us)
            figures += _optional(f"{name}: load's own CPU an operation against none", "times", dearer)
            slower = _ratios(runs, (load, system), (load, "none"), lambda run: run.rate)
            figures += _optional(f"{name}: operations a second against none", "times", slower)
    for system in OURS:
        delays = sorted(delay * 1e3 for each in _of(runs, "latency", system) for delay in each.delays_s)
        if delays:
            name = f"exec → collector, {system}, {len(delays)} execs"
            figures.append(Figure(f"{name}: p50", "ms", (_quantile(delays, 0.5),), most=20))
            figures.append(Figure(f"{name}: p99", "ms", (_quantile(delays, 0.99),), most=100))
    return figures + _pairs(_of(runs, "pairs", "peerwatch") or _of(runs, "pairs", "peerwatch-full")) + _weights(runs)


def _pairs(own: Sequence[Run]) -> list[Figure]:
    return [
        *_optional("pairs: distinct (address, port) that arrived", "pairs", [each.addresses for each in own]),
        *_optional("pairs: true", "pairs", [each.operations for each in own]),
        *_optional("pairs: resident memory before", "MB", [each.resident_before / 1e6 for each in own]),
        *_optional("pairs: resident memory after", "MB", [each.resident / 1e6 for each in own]),
        *_optional("pairs: resident memory, most", "MB", [each.peak / 1e6 for each in own]),
    ]


def _weights(runs: Sequence[Run]) -> list[Figure]:
    figures = []
    for system in (*OURS, *PEERS):
        own = [each for each in runs if each.system == system]
        start, cpu, maps = (1.5, 1, 20) if system in OURS else (None, None, None)
        figures += _optional(f"{system}: start until attached", "s", [each.start_s for each in own], most=start)
        figures += _optional(f"{system}: CPU for the start", "s", [each.start_cpu_s for each in own], most=cpu)
        if system in OURS:
            figures += _optional(f"{system}: loader's peak memory", "MB", [each.loader_peak / 1e6 for each in own])
        figures += _optional(f"{system}: BPF maps", "MB", [each.map_bytes / 1e6 for each in own], most=maps)
        figures += _optional(f"{system}: resident memory after loads", "MB", [each.resident / 1e6 for each in own])
    return figures


def _of(runs: Iterable[Run], load: str, system: str) -> list[Run]:
    return [each for each in runs if (each.load, each.system) == (load, system)]


def _optional(
    name: str, unit: str, values: Sequence[float], *, most: float | None = None, least: float | None = None
) -> list[Figure]:
    return [Figure(name, unit, tuple(values), most, least)] if values else []


def _ratios(runs: Sequence[Run], ours: tuple[str, str], theirs: tuple[str, str], value: Callable[[Run], float]) -> list[float]:
    """Return ratios within each round: what drifts on the machine meets both."""
    other = {each.round: value(each) for each in _of(runs, *theirs)}
    return [value(each) / other[each.round] for each in _of(runs, *ours) if other.get(each.round)]


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(runs: Sequence[Run]) -> list[str]:
    """Return one row for each load and system: medians, and the range of what is compared."""
    columns = ("CPU µs each", "BPF", "reader", "load's own", "a second", "delivered - true", "lost", "RSS MB", "maps MB")
    widths = (24, 8, 8, 10, 11, 16, 9, 7, 8)
    lines = [_row("load", "system", columns, widths)]
    for load in dict.fromkeys(each.load for each in runs):
        by_system = {system: _of(runs, load, system) for system in ("none", *OURS, *PEERS)}
        lines += [_row(load, system, _cells(own), widths) for system, own in by_system.items() if own]
    return lines


def _row(load: str, system: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"{load:<8} {system:<15} " + " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _cells(own: Sequence[Run]) -> list[str]:
    def middle(name: str) -> float:
        return statistics.median(float(getattr(each, name)) for each in own)

    costs = [each.cpu_us for each in own]
    off = [each.delivered - each.operations for each in own if each.delivered is not None and each.told]
    return [
        f"{middle('cpu_us'):.2f} ({min(costs):.2f} to {max(costs):.2f})",
        f"{middle('bpf_us'):.2f}",
        f"{middle('reader_us'):.2f}",
        f"{middle('load_us'):.3g}",
        f"{middle('rate'):,.0f}",
        f"{statistics.median(off):+,.0f}" if off else "",
        f"{middle('lost_events'):,.0f}",
        f"{middle('resident') / 1e6:.1f}",
        f"{middle('map_bytes') / 1e6:.1f}",
    ]


def judge(figures: Sequence[Figure]) -> list[str]:
    """Return one row for each figure, with its goal."""
    width = max(len(each.name) for each in figures) if figures else 0
    lines = []
    for each in figures:
        middle, least, most = statistics.median(each.values), min(each.values), max(each.values)
        value = _number(middle) + (f" ({_number(least)} to {_number(most)})" if least != most else "")
        if each.met is None:
            goal = ""
        elif each.most == each.least:
            goal = f"= {each.most:g}"
        else:
            goal = f"≤ {each.most:g}" if each.most is not None else f"≥ {each.least:g}"
        verdict = {None: "", True: "met", False: "MISSED"}[each.met]
        lines.append(f"{each.name:<{width}}  {value:>34} {each.unit:<12} {goal:>7}  {verdict}".rstrip())
    return lines


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1e5:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
