"""The catalogue of benign noise: 48 rows, each with what happens, how often, and the code that lets it happen.

Rates are per day of the scenario at a pace of 1. A row without code of its own belongs to the life of the cluster (`cluster`),
to how addresses are seen (`network`), to the arguments of `workloads.toml`, or to what sensors do (`sensors`), as it says.
"""

from collections.abc import Callable
from dataclasses import dataclass

from peerwatch.addresses import pack_address
from peerwatch.columns import ConnectResult, ProcessFlag, Protocol
from peerwatch.subjects import ContainerKind

from scenario.cluster import DAY
from scenario.network import Dial
from scenario.people import ADMIN, COPIES, DEBUG, SCANS
from scenario.stage import TRAFFIC_EVERY, Stage
from scenario.timeline import Mark, Place

__all__ = ["EVERYWHERE", "NOISE", "Noise", "let_happen"]

Play = Callable[[Stage, Place], None]
LOAD_TEST = 600.0
"""Seconds of a load test."""
INJECTED = 1 << ProcessFlag.INJECTED
TTY = 1 << ProcessFlag.TTY


@dataclass(frozen=True, slots=True)
class Noise:
    """One row."""

    row: int
    what: str
    rate: str
    play: Play | None = None
    where: str = ""
    """Which module lets it happen, if not `play`."""


def _periodic(stage: Stage, place: Place, script: str, every: float, row: int, *, injected: bool = False) -> None:
    line = stage.timeline
    for at, count in line.windows(place, every):
        flags = INJECTED if injected else 0
        under = None if injected else place.main
        line.play(place, at, script, under=under, mark=Mark(row), count=count, span=(count - 1) * every, flags=flags)


def _sometimes(stage: Stage, place: Place, scripts: tuple[str, ...], a_day: float, row: int) -> None:
    """Run one of the scripts now and then; the last of several is rare."""
    if not scripts:
        return
    weights = [6.0, 3.0, 2.0, 1.0, 0.5, 0.5][: len(scripts)] if len(scripts) > 1 else [1.0]
    weights += [0.5] * (len(scripts) - len(weights))
    for at in stage.times(place, a_day * place.life.activity):
        script = stage.draw.choices(scripts, weights)[0]
        stage.timeline.play(place, at, script, under=place.main, mark=Mark(row))


def probe(stage: Stage, place: Place) -> None:
    """Rows 1, 2: the kubelet's command every ten seconds."""
    script = place.site.archetype.probe
    if script:
        _periodic(stage, place, script, 10, 2 if "curl" in script or "wget" in script else 1, injected=True)


def regular(row: int, every: float) -> Play:
    """Rows 3 to 5: helpers by the clock."""

    def play(stage: Stage, place: Place) -> None:
        for number, script in enumerate(place.site.archetype.helpers, 1):
            _periodic(stage, place, script, every * number, row)

    return play


def clock(stage: Stage, place: Place) -> None:
    """Rows 6 to 8: the container's own cron."""
    if not place.site.archetype.periodic:
        return
    assert place.main is not None
    itself = place.site.archetype.main.startswith("crond")
    cron = place.main if itself else stage.timeline.start(place, place.begin + 0.6, "cron -f", under=place.main, mark=Mark(6))
    for script, usual in zip(place.site.archetype.periodic, (900.0, 3_600.0, DAY), strict=False):
        row = 8 if "logrotate" in script else 7 if "certbot" in script else 6
        days = {7: 7, 8: 1}.get(row, usual / DAY)
        period = days * DAY / (stage.pace if days >= 1 else 1)  # what comes within an hour needs no faster pace
        at = place.begin + (period - place.begin % period if days <= 1 else stage.draw.uniform(0, period))
        while at < place.end:
            begin = at + stage.draw.uniform(0, 2)
            stage.timeline.play(place, begin, script, under=cron, mark=Mark(row), gap=(0.01, 0.5))
            at += period


def person(row: int, scripts: tuple[str, ...], a_day: float) -> Play:
    """Rows 9, 11: somebody with kubectl."""

    def play(stage: Stage, place: Place) -> None:
        if not place.life.revision.image.has_shell:
            return
        for at in stage.times(place, a_day / max(1, len(place.site.lives)) * stage.pace):
            script = stage.draw.choice(scripts)
            flags = INJECTED | (TTY if row == 9 else 0)
            stage.timeline.play(place, at, script, mark=Mark(row), flags=flags, gap=(0.3, 6.0) if row == 9 else (0.01, 0.1))

    return play


def debugger(stage: Stage, place: Place) -> None:
    """Row 10: an ephemeral container beside the service."""
    for at in stage.times(place, 0.03 / max(1, len(place.site.lives)) * stage.pace):
        name = f"debugger-{stage.draw.suffix()}"
        other = stage.timeline.place(place.site, place.life, at, container=name, kind=ContainerKind.EPHEMERAL)
        other.main = stage.timeline.start(other, at, "/bin/busybox sh", mark=Mark(10))
        stage.timeline.play(other, at + 3, stage.draw.choice(DEBUG), under=other.main, mark=Mark(10), flags=TTY, gap=(0.5, 8))


def hook(stage: Stage, place: Place) -> None:
    """Row 13: preStop."""
    if place.site.archetype.stop and place.end == place.life.died:
        stage.timeline.play(place, place.end - 16, place.site.archetype.stop, mark=Mark(13), flags=INJECTED)


def canary(stage: Stage, place: Place) -> None:
    """Rows 17, 18: what only a subset does, because a flag says so."""
    if place.life.subset:
        _periodic(stage, place, f"/usr/bin/{place.values['app']}-flag --segment {{n}}", 120, 17)
    elif place.life.ordinal % 2 == 0:
        _periodic(stage, place, f"/usr/lib/{place.values['app']}/experiment --bucket {place.values['w3']}", 300, 18)


def leader(stage: Stage, place: Place) -> None:
    """Rows 19, 20: all ask for the lease, one works."""
    line, site = stage.timeline, place.site
    assert place.main is not None
    for at, count in line.windows(place, 10):
        line.dial(place, at, place.main, "api", mark=Mark(19), count=count, span=count * 10.0)
    for number, (since, until, life) in enumerate(site.leaders):
        begin, end = max(since, place.begin), min(until, place.end)
        if life is not place.life or begin >= end:
            continue
        row = 19 if number == 0 else 20
        at = begin
        while at < end:
            many = max(1, int(min(line.fold, end - at) / 15))
            line.dial(place, at, place.main, "use:0", mark=Mark(row), count=many, span=many * 15.0)
            line.dial(place, at + 1, place.main, f"lo:{9_000 + site.number}", mark=Mark(row), count=many)
            for script in place.life.revision.helpers:
                if stage.draw.random() < 0.3:
                    line.play(place, at + stage.draw.uniform(0, 30), script, under=place.main, mark=Mark(row))
            at += max(line.fold, 60.0)


def replicate(stage: Stage, place: Place) -> None:
    """Row 21: all but the first follow the first."""
    assert place.main is not None
    primary = next((each for each in place.site.lives if each.ordinal == 0 and each.born <= place.begin < each.died), None)
    if primary is None or primary is place.life:
        return
    for at, count in stage.timeline.windows(place, 15):
        dial = f"{primary.ip}:{place.site.archetype.port}"
        stage.timeline.dial(place, at, place.main, dial, mark=Mark(21), count=count, span=count * 15.0)


def members(stage: Stage, place: Place) -> None:
    """Row 22: each member of a set talks to all the others."""
    assert place.main is not None
    for at, count in stage.timeline.windows(place, 20):
        to = f"pods:{place.site.archetype.port + 1}"
        stage.timeline.dial(place, at, place.main, to, mark=Mark(22), count=count, span=count * 20.0)


def hashed(stage: Stage, place: Place) -> None:
    """Row 23: each replica has its own share of the backends."""
    assert place.main is not None
    targets = [stage.cluster.sites[number] for number in place.life.revision.uses]
    for at, count in stage.timeline.windows(place, 45):
        for target in targets:
            alive = target.alive(at)
            if alive:
                mine = alive[(place.life.ordinal * 7) % len(alive)]
                stage.timeline.dial(place, at, place.main, f"{mine.ip}:{target.archetype.port}", mark=Mark(23), count=count)


def warm_up(stage: Stage, place: Place) -> None:
    """Row 24: a new replica fills its caches."""
    assert place.main is not None
    if place.life.cause != "scale":
        return
    for number in range(len(place.life.revision.uses)):
        many = stage.draw.randint(200, 2_000)
        stage.timeline.dial(place, place.begin + 4, place.main, f"use:{number}", mark=Mark(24), count=many)
    if place.life.revision.image.has_shell:
        warm = f"/usr/bin/{place.values['app']}-warm --all"
        stage.timeline.play(place, place.begin + 5, warm, under=place.main, mark=Mark(24))


def drain(stage: Stage, place: Place) -> None:
    """Row 25: who is scaled down hands over first."""
    assert place.main is not None
    serves = place.site.archetype.kind != "CronJob"
    if serves and place.end == place.life.died and place.life.revision.uses:
        stage.timeline.dial(place, place.end - 2, place.main, "use:0", mark=Mark(25), count=stage.draw.randint(5, 50))


def helpers(row: int, a_day: float) -> Play:
    """Rows 28, 30 to 32, 46: what requests and jobs make a service run."""

    def play(stage: Stage, place: Place) -> None:
        often = stage.draw_of(place.site).choice((0.3, 1.0, 1.0, 5.0))  # images at each request, or a report now and then
        _sometimes(stage, place, place.life.revision.helpers, a_day * often, row)

    return play


def abroad(row: int, every: float) -> Play:
    """Rows 38, 39, 41: egress to names whose addresses rotate."""

    def play(stage: Stage, place: Place) -> None:
        assert place.main is not None
        for at, count in stage.timeline.windows(place, every / max(0.1, place.life.activity)):
            for _ in range(min(count, 1 + len(place.site.hosts) // 4)):
                if place.site.hosts:
                    stage.timeline.dial(place, at, place.main, "pub:", mark=Mark(row))

    return play


def rare_hosts(stage: Stage, place: Place) -> None:
    """Row 39: time servers, certificate checks, telemetry, once a day."""
    assert place.main is not None
    for at in stage.times(place, 1.0 * stage.pace):
        to = stage.draw.choice(("{0}:123/udp", "{0}:80", "{0}:443")).format(stage.rare_address(place.site.number))
        stage.timeline.dial(place, at, place.main, to, mark=Mark(39))


def happy_eyeballs(stage: Stage, place: Place) -> None:
    """Row 40: IPv6 first, which nobody answers."""
    assert place.main is not None
    for at, count in stage.timeline.windows(place, 60):
        address = pack_address(f"2a0{place.site.number % 10}:{place.site.number:x}::{stage.draw.randint(1, 9):x}")
        dial = Dial(address, 443, Protocol.TCP, ConnectResult.UNREACHABLE)
        stage.timeline.connect(place, at, place.main, dial, mark=Mark(40), count=count)


def negotiated(stage: Stage, place: Place) -> None:
    """Row 41: ports that were agreed on in another connection."""
    assert place.main is not None
    for at, _ in stage.timeline.windows(place, 90):
        to = f"{stage.draw.public_address()}:{stage.draw.randint(32_768, 60_999)}/udp"
        stage.timeline.dial(place, at, place.main, to, mark=Mark(41))


def sidecar(stage: Stage, place: Place) -> None:
    """Row 37: the mesh's proxy beside the service."""
    assert place.main is not None
    for at, count in stage.timeline.windows(place, 5):
        stage.timeline.dial(place, at, place.main, "lo:15001", mark=Mark(37), count=count)


def reload(stage: Stage, place: Place) -> None:
    """Row 42: a new configuration reaches one replica after the other, within two minutes."""
    for at in stage.site_times(place.site, 42, 1.0 * stage.pace):
        later = at + stage.draw.uniform(0, 120)
        if place.begin + 30 < later < place.end:
            stage.timeline.play(place, later, place.site.archetype.reload, mark=Mark(42), under=place.main)


def backup(stage: Stage, place: Place) -> None:
    """Row 43: every night on one replica."""
    for at in stage.site_times(place.site, 43, 1.0 * stage.pace):
        alive = place.site.alive(at)
        if place.site.archetype.backup and alive and alive[-1] is place.life and place.begin < at < place.end:
            stage.timeline.play(place, at, place.site.archetype.backup, mark=Mark(43), flags=INJECTED, gap=(0.05, 1.0))


def scanned(stage: Stage, place: Place) -> None:
    """Row 45: a security agent looks into all pods of the cluster, every six hours."""
    if not place.life.revision.image.has_shell:
        return
    every = DAY / 4 / stage.pace
    for run in range(int(stage.horizon / every) + 1):
        later = every * (run + 0.2) + stage.draw.uniform(0, 300)
        if place.begin + 30 < later < place.end:
            stage.timeline.play(place, later, SCANS[0], mark=Mark(45), flags=INJECTED)


def load_test(stage: Stage, place: Place) -> None:
    """Row 47: ten times the traffic for ten minutes."""
    assert place.main is not None
    line = stage.timeline
    for begin in stage.site_times(place.site, 47, 0.5 * stage.pace):
        if not place.begin + 60 < begin < place.end - LOAD_TEST:
            continue
        for number in range(len(place.life.revision.uses)):
            each_s = 10 * place.life.activity / (TRAFFIC_EVERY * (1 + number))
            for step in range(int(LOAD_TEST // 10)):  # folded over ten seconds: a volume has to be seen as it comes
                many = max(1, int(each_s * 10))
                line.dial(place, begin + 10 * step, place.main, f"use:{number}", mark=Mark(47), count=many, span=9)


def _rows() -> list[Noise]:
    return [
        Noise(1, "exec probe", "every 10 s", probe),
        Noise(2, "probe with curl or wget", "every 10 s", where="row 1"),
        Noise(3, "pod's name inside of arguments", "every 60, 120 s", regular(3, 60)),
        Noise(4, "constant short execs with changing arguments", "every 30 to 120 s", regular(4, 30)),
        Noise(5, "shell of a daemon", "every 60 s", regular(5, 60)),
        Noise(6, "cron in the container", "15 min, 1 h, 1 day", clock),
        Noise(7, "weekly or monthly job", "1/7", where="row 6"),
        Noise(8, "log rotation", "1", where="row 6"),
        Noise(9, "administrator with kubectl exec", "0.15 per workload", person(9, ADMIN, 0.15)),
        Noise(10, "ephemeral debug container", "0.03 per workload", debugger),
        Noise(11, "kubectl cp, port-forward", "0.05 per workload", person(11, COPIES, 0.05)),
        Noise(12, "init container", "at each start", where="stage"),
        Noise(13, "preStop hook", "at each end", hook),
        Noise(14, "entrypoint's shell chain", "at each start", where="stage"),
        Noise(15, "rolling update", "0.5 per Deployment, 0.1 per set", where="cluster"),
        Noise(16, "base image update", "in a fifth of the rollouts", where="cluster"),
        Noise(17, "canary for hours", "one workload, half of the time", canary),
        Noise(18, "feature flag on a subset", "one workload, always", where="row 17"),
        Noise(19, "leader works, others wait", "always", leader),
        Noise(20, "leader fail-over", "1 and with each lost leader", where="row 19"),
        Noise(21, "shards and primaries", "always", replicate),
        Noise(22, "peer sets", "every 20 s", members),
        Noise(23, "consistent hashing", "every 45 s", hashed),
        Noise(24, "scale-up warm-up", "at each scale-up, 1 per Deployment", warm_up),
        Noise(25, "scale-down drain", "at each end", drain),
        Noise(26, "one replica takes nearly all traffic", "4 % of the pods: 8 times", where="cluster"),
        Noise(27, "idle replica", "4 % of the pods", where="cluster"),
        Noise(28, "JVM tools with random names", "20 per pod", helpers(28, 20)),
        Noise(29, "workers that fork", "3 per main program", where="stage"),
        Noise(30, "helpers per request", "20 to 300 per pod", helpers(30, 60)),
        Noise(31, "random values in arguments", "each time", where="workloads"),
        Noise(32, "own name, address, node in arguments", "each time", where="workloads"),
        Noise(33, "headless service", "half of the workloads", where="network"),
        Noise(34, "backends roll, pod addresses are used again", "with each rollout", where="cluster"),
        Noise(35, "service or pod address of one edge", "a quarter of the workloads", where="network"),
        Noise(36, "node-local DNS", "a third of the workloads", where="network"),
        Noise(37, "mesh sidecar", "every 5 s", sidecar),
        Noise(38, "rotating public addresses", "every 60 s", abroad(38, 60)),
        Noise(39, "rare hosts: time, certificates, telemetry", "1 per pod", rare_hosts),
        Noise(40, "dual stack, failed connects", "every 60 s", happy_eyeballs),
        Noise(41, "negotiated ports", "every 90 s", negotiated),
        Noise(42, "configuration reload", "1 per workload", reload),
        Noise(43, "backup on one replica", "1 per workload", backup),
        Noise(44, "crash, restart, eviction", "0.05 per container, 0.05 per pod", where="cluster"),
        Noise(45, "security scanner enters all pods", "4", scanned),
        Noise(46, "arbitrary user code", "150 per pod", helpers(46, 150)),
        Noise(47, "load test", "0.5 per workload", load_test),
        Noise(48, "loss, clock skew, late and doubled events, late metadata", "see sensors", where="sensors"),
    ]


NOISE = {each.row: each for each in _rows()}
EVERYWHERE = (1, 9, 10, 11, 13, 25, 45)
"""Rows that come to every workload."""
_SAME = {2: 1, 7: 6, 8: 6, 18: 17, 20: 19}


def let_happen(stage: Stage, place: Place) -> None:
    """Let all rows of a workload happen in one of its containers, each once."""
    rows = {_SAME.get(row, row) for row in (*EVERYWHERE, *place.site.archetype.noise)}
    for row in sorted(rows):
        play = NOISE[row].play
        if play is not None:
            play(stage, place)
