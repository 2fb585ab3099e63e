"""The cluster and its life: nodes, workloads, revisions, and which pod lived when, where and why.

Times are seconds since the scenario's beginning. Nothing is executed or connected here: that is told by `noise` and `attacks`.
"""

import dataclasses
import math
from collections import deque
from dataclasses import dataclass, field

from peerwatch.columns import Peer
from peerwatch.subjects import Workload

from scenario.images import DISTRIBUTIONS, Image
from scenario.words import Draw
from scenario.workloads import ARCHETYPES, Archetype

__all__ = ["DAY", "Cluster", "Host", "Life", "Revision", "Site"]

DAY = 86_400.0

ROLLOUTS_A_DAY = {"Deployment": 0.5, "StatefulSet": 0.1, "DaemonSet": 0.1}
SCALE_EVENTS_A_DAY = 1.0
"""Of a Deployment with three or more replicas: an autoscaler's day and night."""
EVICTIONS_A_DAY = 0.05
"""Of a pod: nodes are drained, people delete pods."""
CRASHES_A_DAY = 0.05
"""Of a container: it is started again in the same pod."""
FAIL_OVERS_A_DAY = 1.0
JOB_EVERY = 3_600.0
"""Seconds between two runs of a CronJob, at a pace of 1."""


@dataclass(frozen=True, slots=True)
class Host:
    """A name on the internet and the addresses that it has had."""

    name: str
    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class Revision:
    """A version of a pod template, with what it changed."""

    hash: str
    image: Image
    tag: str
    helpers: tuple[str, ...]
    uses: tuple[int, ...]
    """Numbers of the sites that it calls."""


@dataclass(slots=True)
class Life:
    """One pod from its birth to its end."""

    pod: str
    uid: str
    ip: str
    node: int
    ordinal: int
    revision: Revision
    born: float
    cause: str
    """Why it came: start, rollout, scale, restart, job."""
    died: float = math.inf
    activity: float = 1.0
    subset: bool = False
    """It has the feature flag, or is the canary."""
    restarts: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Site:
    """One workload of this cluster."""

    number: int
    archetype: Archetype
    namespace: str
    name: str
    service_ip: str
    values: dict[str, str]
    hosts: tuple[Host, ...]
    mode: str
    """How it reaches others: by service address, by pods' addresses, or as seen behind the translation: both."""
    dns: str
    lives: list[Life] = field(default_factory=list)
    rollouts: list[tuple[float, float]] = field(default_factory=list)
    scales: list[tuple[float, float]] = field(default_factory=list)
    leaders: list[tuple[float, float, Life]] = field(default_factory=list)

    @property
    def peer(self) -> Peer:
        """What its service's address is known as."""
        return Peer(self.namespace, Workload("Service", self.name))

    @property
    def workload(self) -> Workload:
        """Its name as the owner of its pods."""
        return Workload(self.archetype.kind, self.name)

    def alive(self, time: float) -> list[Life]:
        """Return the pods that live at a time."""
        return [life for life in self.lives if life.born <= time < life.died]


class Cluster:
    """Draws a cluster and lets it live until the horizon."""

    def __init__(self, draw: Draw, *, horizon: float, pace: float) -> None:
        self.draw, self.horizon, self.pace = draw, horizon, pace
        self.name = f"{draw.word()}-{draw.choice(('eu', 'us', 'prod', 'stage'))}"
        self._octets = draw.sample(range(8, 250), 3)
        self.nodes = [f"node-{draw.suffix(4)}" for _ in range(draw.randint(5, 7))]
        self._free = [deque(f"10.{self._octets[0]}.{node}.{last}" for last in range(4, 250)) for node in range(len(self.nodes))]
        self._hashes: set[str] = set()
        self.sites: list[Site] = []
        for number, archetype in enumerate(ARCHETYPES):
            self.sites.append(self._site(number, archetype))
        for site in self.sites:
            self._live(site)

    def node_ip(self, node: int) -> str:
        """Return a node's own address."""
        return f"10.{self._octets[1]}.0.{10 + node}"

    def pod_address(self, draw: Draw) -> str:
        """Return some address of the pods' network."""
        return f"10.{self._octets[0]}.{draw.randrange(len(self.nodes))}.{draw.randint(4, 250)}"

    def service_ip(self, number: int) -> str:
        """Return a service's address; 0 is the API server, 1 is DNS."""
        return f"10.{self._octets[2]}.{number // 7}.{(number * 37) % 250 + 1}"

    def _site(self, number: int, archetype: Archetype) -> Site:
        draw = self.draw
        words = [draw.word() for _ in range(4)]
        values = {f"w{place}": word for place, word in enumerate(words, 1)}
        values |= {"app": draw.service(), "user": draw.word(), "db": draw.word(), "port": str(archetype.port)}
        return Site(
            number=number,
            archetype=archetype,
            namespace=draw.choice(("shop", "core", "data", "platform", "edge")),
            name=f"{draw.service()}-{number}" if draw.random() < 0.2 else draw.service(),
            service_ip=self.service_ip(number + 2),
            values=values,
            hosts=tuple(self._host() for _ in range(draw.randint(*archetype.abroad))),
            mode=draw.choice(("service", "service", "pods", "both")),
            dns=draw.choice(("cluster", "cluster", "node-local")),
        )

    def _host(self) -> Host:
        draw = self.draw
        blocks = [draw.public_address().split(".")[:2] for _ in range(draw.choice((1, 1, 2, 4, 10)))]
        many = draw.choice((1, 4, 12, 40))
        ends = [f"{draw.randint(0, 255)}.{draw.randint(1, 254)}" for _ in range(many)]
        addresses = tuple(".".join((*draw.choice(blocks), end)) for end in ends)
        return Host(draw.domain(), addresses, draw.choice((443, 443, 443, 80, 8443)))

    def delete(self, site: Site, life: Life, at: float) -> None:
        """Let a pod be deleted before its time, and another take its place."""
        died = life.died
        life.restarts = [each for each in life.restarts if each < at - 10]
        life.died = at
        new = self._birth(site, life.revision, life.ordinal, at + self.draw.uniform(1, 8), "restart")
        new.died = died

    # -- lives

    def _live(self, site: Site) -> None:
        draw, kind = self.draw, site.archetype.kind
        low, high = site.archetype.replicas
        revision = self._revision(site, None)
        if kind == "CronJob":
            every = max(300.0, JOB_EVERY / self.pace)
            begin = draw.uniform(60, every)
            while begin < self.horizon:
                self._birth(site, revision, 0, begin, "job").died = begin + draw.uniform(15, 70)
                begin += every
            return
        size = len(self.nodes) if kind == "DaemonSet" else draw.randint(low, high)
        for ordinal in range(size):
            at = draw.uniform(0, 20) + (ordinal * 8 if kind == "StatefulSet" else 0)
            self._birth(site, revision, ordinal, at, "start")
        if 17 in site.archetype.noise:  # a canary and a flag's subset, for as long as they last
            self._canary(site, draw.uniform(0.2, 0.5) * self.horizon)
        for time, what in self._changes(site):
            if what == "rollout":
                self._rollout(site, time)
            elif what == "scale":
                self._scale(site, time, low=max(2, low - 1), high=high + 3)
            elif what == "evict":
                self._replace(site, draw.choice(site.alive(time)), time, "restart")
            else:
                draw.choice(site.alive(time)).restarts.append(time)
        self._lead(site)

    def _changes(self, site: Site) -> list[tuple[float, str]]:
        draw, kind = self.draw, site.archetype.kind
        days = self.horizon / DAY * self.pace
        rates = {
            "rollout": ROLLOUTS_A_DAY[kind],
            "scale": SCALE_EVENTS_A_DAY if kind == "Deployment" and site.archetype.replicas[0] >= 3 else 0,
            "evict": EVICTIONS_A_DAY * len(site.lives),
            "crash": CRASHES_A_DAY * len(site.lives),
        }
        times = [
            (draw.uniform(400, self.horizon - 300), what)
            for what, rate in rates.items()
            for _ in range(draw.poisson(rate * days))
        ]
        kept: list[tuple[float, str]] = []
        for time, what in sorted(times):  # one change after the other: a rollout under way ends first
            if not kept or time > kept[-1][0] + 30 * len(site.lives) + 60:
                kept.append((time, what))
        return kept

    def _revision(self, site: Site, before: Revision | None) -> Revision:
        draw = self.draw
        digest = draw.hex(9) if site.archetype.kind == "Deployment" else draw.suffix(9)
        if before is None:
            image = Image(site.archetype.image or draw.choice(DISTRIBUTIONS), merged=draw.random() < 0.6)
            uses = draw.sample(self._callable(site), draw.randint(*site.archetype.uses))
            return Revision(digest, image, f"{draw.randint(1, 4)}.{draw.randint(0, 30)}.0", site.archetype.helpers, tuple(uses))
        major, minor, _ = before.tag.split(".")
        after = dataclasses.replace(before, hash=digest, tag=f"{major}.{int(minor) + 1}.0")
        chance = draw.random()
        if chance < 0.3 and before.image.has_shell:  # a new helper program comes with the release
            helper = f"/usr/bin/{draw.service()} --in /tmp/{{hex}} --level {draw.randint(1, 9)}"
            after = dataclasses.replace(after, helpers=(*before.helpers, helper))
        elif chance < 0.5 and before.uses:  # a dependency more, or another one
            new = draw.choice(self._callable(site))
            after = dataclasses.replace(after, uses=tuple(dict.fromkeys((*before.uses[draw.randrange(2) :], new))))
        elif chance < 0.7:  # the base image is a newer one
            after = dataclasses.replace(after, image=dataclasses.replace(before.image, merged=not before.image.merged))
        return after

    def _callable(self, site: Site) -> list[int]:
        return [number for number, kind in enumerate(ARCHETYPES) if kind.port and number != site.number]

    def _birth(self, site: Site, revision: Revision, ordinal: int, at: float, cause: str) -> Life:
        draw, kind = self.draw, site.archetype.kind
        node = ordinal % len(self.nodes) if kind == "DaemonSet" else draw.randrange(len(self.nodes))
        pod = {
            "Deployment": f"{site.name}-{revision.hash}-{draw.suffix()}",
            "StatefulSet": f"{site.name}-{ordinal}",
            "DaemonSet": f"{site.name}-{draw.suffix()}",
            "CronJob": f"{site.name}-{29_000_000 + int(at // 60)}-{draw.suffix()}",
        }[kind]
        ip = self.node_ip(node) if 4 in site.archetype.noise else self._free[node].popleft()
        # A few replicas get nearly all of the traffic (long connections), and some none at all.
        activity = draw.choice((0.02, 8.0)) if draw.random() < 0.08 else draw.lognormvariate(0, 0.4)
        life = Life(pod, draw.uuid(), ip, node, ordinal, revision, at, cause, activity=activity)
        site.lives.append(life)
        return life

    def _end(self, life: Life, at: float) -> None:
        life.died = at
        life.restarts = [each for each in life.restarts if each < at - 10]
        self._free[life.node].append(life.ip)  # given to another pod soon

    def _replace(self, site: Site, life: Life, at: float, cause: str, revision: Revision | None = None) -> Life:
        if site.archetype.kind == "Deployment":  # the new one comes first
            new = self._birth(site, revision or life.revision, life.ordinal, at, cause)
            self._end(life, at + self.draw.uniform(8, 25))
        else:
            self._end(life, at)
            new = self._birth(site, revision or life.revision, life.ordinal, at + self.draw.uniform(2, 12), cause)
        return new

    def _rollout(self, site: Site, begin: float) -> None:
        revision = self._revision(site, site.alive(begin)[-1].revision)
        at = begin
        for life in sorted(site.alive(begin), key=lambda each: -each.ordinal):
            self._replace(site, life, at, "rollout", revision)
            at += self.draw.uniform(5, 40) if len(site.lives) < 20 else self.draw.uniform(1, 6)
        site.rollouts.append((begin, at + 60))

    def _canary(self, site: Site, begin: float) -> None:
        first = site.alive(begin)[0]
        helper = f"/usr/bin/{self.draw.service()} --canary {{n}}"
        after = dataclasses.replace(self._revision(site, first.revision), helpers=(*first.revision.helpers, helper))
        self._replace(site, first, begin, "rollout", after).subset = True
        site.rollouts.append((begin, begin + 60))

    def _scale(self, site: Site, begin: float, *, low: int, high: int) -> None:
        alive = site.alive(begin)
        by = self.draw.choice((-2, -1, 1, 2, 3))
        size = min(high, max(low, len(alive) + by))
        for place in range(len(alive), size):
            self._birth(site, alive[-1].revision, place, begin + self.draw.uniform(0, 4), "scale")
        for life in alive[size:]:
            self._end(life, begin + self.draw.uniform(0, 10))
        site.scales.append((begin, begin + 90))

    def _lead(self, site: Site) -> None:
        at = 0.0
        while at < self.horizon:
            alive = [life for life in site.alive(at + 40) if life.died > at + 40]
            if not alive:
                at += 60
                continue
            leader = self.draw.choice(alive)
            end = min(leader.died, at + self.draw.expovariate(FAIL_OVERS_A_DAY * self.pace / DAY), self.horizon)
            site.leaders.append((max(at, leader.born + 20), end, leader))
            at = end + self.draw.uniform(5, 20)
