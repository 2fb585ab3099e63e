"""Plans attacks into a cluster's life and lets them happen; what they do stands in `attacks.txt`.

The letters of `also` are the adversarial variants: a all replicas at once (through the load balancer), b two replicas, c from
the beginning (poisoned learning), d low and slow, e mimicry with programs that the workload runs anyway, f names that imitate
machines', g the pod is deleted afterwards, h while a rollout or scaling is under way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peerwatch.columns import ProcessFlag

from scenario.cluster import Cluster, Life, Site
from scenario.script import SELF, parse
from scenario.stage import Stage
from scenario.timeline import Mark
from scenario.words import Draw

__all__ = ["CATALOGUE", "INVISIBLE", "Plan", "Row", "plan", "play"]

INVISIBLE = {
    2: "in-process exploit, leak or traversal",
    15: "LD_PRELOAD",
    16: "ptrace injection",
    17: "malicious image, all replicas from the start",
    42: "brute force from outside: only counts of accepts",
    43: "packet socket",
    56: "malicious CronJob: a new workload",
    57: "privileged pod: a new workload",
    60: "shell files changed",
}
"""Rows that make no exec or connect that differs in anything, or a workload that has neither history nor peers: not played."""

SHELLS = frozenset({"sh", "bash"})
SPACING = 420.0
"""Seconds between two attacks on one workload: one incident each, for the scorer and for the people."""
PORTS = ("4444", "1337", "9001", "5555", "8443", "31337", "6667", "443", "53", "8080")
FOLDERS = ("/tmp", "/tmp", "/var/tmp", "/dev/shm", "/run", "/root", "/opt", "/usr/local/bin")  # noqa: S108 — a story's, not ours


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the catalogue."""

    number: int
    technique: str
    visibility: str
    entries: tuple[str, ...]
    what: str
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One incident to be."""

    row: Row
    variant: int
    script: str
    entry: str
    site: Site
    lives: tuple[Life, ...]
    start: float
    also: tuple[str, ...]
    phase: str
    replicas: int


def _read(path: Path) -> dict[int, Row]:
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    rows = []
    for block in text.split("\n= ")[1:]:
        header, _, body = block.partition("\n")
        fields, _, what = header.partition(" | ")
        number, technique, visibility, *entries = fields.removeprefix("= ").split()
        variants = tuple(each.strip("\n") for each in body.strip("\n").split("\n\n"))
        rows.append(Row(int(number), technique, visibility, tuple(entries), what, variants))
    return {row.number: row for row in rows}


CATALOGUE = _read(Path(__file__).with_suffix(".txt"))


def plan(cluster: Cluster, draw: Draw, many: int, *, poisoned: bool) -> list[Plan]:
    """Return incidents: all rows in turn, on workloads that have such a hole, at times that vary."""
    plans: list[Plan] = []
    busy: dict[int, list[float]] = {}
    rows: list[Row] = []
    for _ in range(many):
        if not rows:
            rows = [row for row in CATALOGUE.values() if row.visibility != "N" or draw.random() < 0.3]
            draw.shuffle(rows)
        row = rows.pop()
        for _ in range(40):
            found = _one(cluster, draw, row, poisoned=poisoned)
            if found and all(abs(found.start - time) > SPACING for time in busy.get(found.site.number, [])):
                busy.setdefault(found.site.number, []).append(found.start)
                plans.append(found)
                break
    plans.sort(key=lambda each: each.start)
    for each in plans:
        if "g" in each.also:
            cluster.delete(each.site, each.lives[0], each.start + _length(each) + draw.uniform(10, 60))
    return plans


def _one(cluster: Cluster, draw: Draw, row: Row, *, poisoned: bool) -> Plan | None:
    """Return an incident of a row, None if the workload and time that were drawn do not suit it."""
    variant = draw.randrange(len(row.variants))
    script = row.variants[variant]
    site = draw.choice(cluster.sites)
    entries = _ways_in(site, row, parse(script)[0].argv[0])
    where = _when(cluster, draw, site, poisoned=poisoned) if entries else None
    if where is None:
        return None
    life, start, phase = where
    alive = site.alive(start)
    if poisoned and len(alive) < 3:
        return None
    entry = draw.choice(entries)
    also = [
        letter
        for letter, holds in (("f", draw.random() < 0.15), ("h", phase in {"rollout", "scale"}), ("b", len(alive) == 2))
        if holds
    ]
    also += _twist(draw, site, entry, script, poisoned=poisoned, many=len(alive))
    if "e" in also:
        row, script = CATALOGUE[70], _mimicry(draw, life)
    end = start + (900 if "d" in also else 60)
    if min(life.died, cluster.horizon) < end + 5:
        return None
    if "a" not in also and life.died > end + 120 and draw.random() < 0.25:
        also.append("g")
    lives = tuple(alive) if "a" in also else (life,)
    return Plan(row, variant, script, entry, site, lives, start, tuple(also), phase, len(alive))


def _twist(draw: Draw, site: Site, entry: str, script: str, *, poisoned: bool, many: int) -> str:
    """Return the adversarial variant of an incident, if it is one; those that exclude each other are drawn in turn."""
    if poisoned:
        return "c"
    if many > 1 and draw.random() < 0.07:
        return "a"
    if len(parse(script)[0].children) > 1 and draw.random() < 0.15:
        return "d"
    return "e" if entry in {"rce", "queue"} and site.archetype.helpers and draw.random() < 0.15 else ""


def _ways_in(site: Site, row: Row, first: str) -> list[str]:
    """Return the entries that fit the script as well as the workload."""
    entries = set(row.entries) & set(site.archetype.entries)
    if first.startswith(SELF):
        entries &= {"self"} if "self" in row.entries else {"rce"}
    else:
        entries -= {"self"}
    if "dropped" in entries and not first.startswith(("{dir}", "/", "memfd")):
        entries.discard("dropped")
    if not site.lives or not site.lives[0].revision.image.has_shell:
        entries &= {"self", "dropped"}
    interpreter = {"python3": "python3", "node": "node"}.get(first)  # a one-liner in the image's own interpreter
    if row.number == 7 and interpreter and not site.archetype.main.startswith(interpreter):
        return []
    return sorted(entries)


def _when(cluster: Cluster, draw: Draw, site: Site, *, poisoned: bool) -> tuple[Life, float, str] | None:
    """Return whom an attack meets, when, and what goes on there at that time."""
    early = min(3_600.0, cluster.horizon / 2)
    if poisoned:
        new = [(life, life.born + draw.uniform(8, 60), "start") for life in site.alive(25)]
        return draw.choice(new) if new else None
    if draw.random() < 0.15:  # on a pod that has just come
        fresh = [each for each in site.lives if each.cause in {"rollout", "scale"} and each.born > 480]
        return (life := draw.choice(fresh), life.born + draw.uniform(20, 90), life.cause) if fresh else None
    start = draw.uniform(300, early) if draw.random() < 0.2 else draw.uniform(early, cluster.horizon - 600)
    alive = [each for each in site.alive(start) if each.born < start - 30]
    changes = [("rollout", span) for span in site.rollouts] + [("scale", span) for span in site.scales]
    phases = [phase for phase, (begin, end) in changes if begin - 10 < start < end + 60]
    phase = phases[0] if phases else "first hour" if start < early else "steady"
    return (draw.choice(alive), start, phase) if alive else None


def _mimicry(draw: Draw, life: Life) -> str:
    """Return a command that the workload runs anyway, with arguments that it never had."""
    node = parse(draw.choice(life.revision.helpers))[0]
    if node.argv[0] in SHELLS:
        return f'{node.argv[0]} -c "read x < {{dir}}/{{f}}; echo $x > {{dir}}/{{f}}.2"'
    return " ".join((node.argv[0], draw.choice(("--config", "-f", "--load", "-o")), "{dir}/{f}", "http://{c2}/{f}"))


def _length(each: Plan) -> float:
    return 900.0 if "d" in each.also else 30.0


def play(stage: Stage, each: Plan, number: int) -> None:
    """Let an attack happen."""
    draw, mark = stage.draw, Mark(-1, number)
    for life in each.lives:
        at = each.start + (draw.uniform(0, 90) if len(each.lives) > 1 else 0)
        # Who poisons the learning goes on: a first shell, then again every few minutes.
        for again in [0.0, *((240.0, 700.0) if "c" in each.also else ())]:
            place = stage.at(life, at + again) or ("c" in each.also and stage.at(life, at + again + 20)) or None
            if place is None or place.main is None:
                continue
            at = max(at, place.begin + 2)
            values = _values(stage, each, draw)
            gap = (120.0, 300.0) if "d" in each.also else (0.4, 5.0) if each.entry == "exec" else (0.004, 0.08)
            if each.entry == "self" and each.row.number in {33, 66}:
                gap = (30.0, 31.0) if each.row.number == 66 else (60.0, 120.0)
            flags = 1 << ProcessFlag.INJECTED if each.entry == "exec" else 0
            under = None if each.entry == "exec" else place.main
            script = _enter(each, draw)
            stage.timeline.play(place, at + again, script, under=under, mark=mark, flags=flags, values=values, gap=gap)


def _enter(each: Plan, draw: Draw) -> str:
    """Return the script as the way in makes it."""
    nodes = parse(each.script)
    first = nodes[0].argv[0]
    if each.entry in {"self", "dropped"} or first.startswith(SELF):
        return each.script
    inner = "\n".join(f"  {line}" for line in each.script.splitlines())
    if each.entry == "cgi":
        return f"sh /usr/lib/cgi-bin/{{w1}}.cgi\n{inner}"
    if each.entry == "exec":
        return each.script if first in SHELLS or draw.random() < 0.4 else f"^sh\n{inner}"
    if first in SHELLS or (each.entry == "rce" and draw.random() < 0.25) or "e" in each.also:
        return each.script
    command = "; ".join(" ".join(node.argv) for node in nodes).replace("'", "").replace('"', "").replace("\\", "")
    return f"sh -c '{command}'\n{inner}"


def _values(stage: Stage, each: Plan, draw: Draw) -> dict[str, str]:
    life, cluster = each.lives[0], stage.cluster
    others = [site for site in cluster.sites if site.archetype.port and site is not each.site]
    return {
        "c2": draw.public_address(),
        "c2b": draw.public_address(),
        "cdom": draw.domain(),
        "cport": draw.choice(PORTS),
        "dir": draw.choice(FOLDERS),
        "f": draw.noise_name() if "f" in each.also else draw.random_name(),
        "svcip": draw.choice(others).service_ip,
        "podip": cluster.pod_address(draw),
        "nodeip": cluster.node_ip(life.node),
        "api": cluster.service_ip(0),
    }


def variants() -> Iterator[tuple[Row, str]]:
    """Yield every variant of every row."""
    for row in CATALOGUE.values():
        for script in row.variants:
            yield row, script
