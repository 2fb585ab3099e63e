"""Where noise and attacks happen: all containers of all pods, started, with the traffic of their services."""

from collections.abc import Iterator

from peerwatch.addresses import pack_address
from peerwatch.subjects import ContainerKind

from scenario.cluster import DAY, Cluster, Life, Site
from scenario.network import Dial
from scenario.timeline import Mark, Place, Timeline
from scenario.words import Draw

__all__ = ["TRAFFIC_EVERY", "Stage"]

TRAFFIC_EVERY = 5.0
"""Seconds between two connects of a service of middling activity to one of those that it uses."""


class Stage:
    """All containers, and when things happen in them."""

    def __init__(self, cluster: Cluster, timeline: Timeline, draw: Draw) -> None:
        self.cluster, self.timeline, self.draw = cluster, timeline, draw
        self.pace, self.horizon = cluster.pace, cluster.horizon
        self.places: dict[tuple[int, str, float], list[Place]] = {}
        self._site_times: dict[tuple[int, int], list[float]] = {}
        self._rare: dict[int, list[str]] = {}

    def set_up(self) -> Iterator[Place]:
        """Start every container of every pod and yield the services' own."""
        for site in self.cluster.sites:
            for life in site.lives:
                begins = [life.born + self.draw.uniform(0.5, 2), *life.restarts]
                for begin, end in zip(begins, [*life.restarts, life.died], strict=True):
                    if begin < min(end, self.horizon):
                        yield self._boot(site, life, begin, end, again=begin is not begins[0])

    def at(self, life: Life, time: float) -> Place | None:
        """Return the service's container of a pod at a time."""
        places = self.places.get((id(life), life.uid, life.born), [])
        return next((each for each in places if each.begin <= time < each.end), None)

    def times(self, place: Place, a_day: float) -> list[float]:
        """Return when something that is not periodic happens in a container."""
        begin, end = place.begin + 8, place.end
        many = self.draw.poisson(max(0.0, end - begin) / DAY * a_day)
        return sorted(self.draw.uniform(begin, end) for _ in range(many))

    def site_times(self, site: Site, row: int, a_day: float) -> list[float]:
        """Return when something happens to a workload as a whole, at least once."""
        key = (site.number, row)
        if key not in self._site_times:
            many = max(1, self.draw.poisson(self.horizon / DAY * a_day))
            self._site_times[key] = sorted(self.draw.uniform(60, self.horizon) for _ in range(many))
        return self._site_times[key]

    def draw_of(self, site: Site) -> Draw:
        """Return the chance that is the same for all replicas of a workload."""
        return Draw(f"{self.cluster.name} {site.name}")

    def rare_address(self, number: int) -> str:
        """Return one of the few addresses that a workload meets once a day."""
        pool = self._rare.setdefault(number, [self.draw.public_address() for _ in range(5)])
        return self.draw.choice(pool)

    def _boot(self, site: Site, life: Life, begin: float, end: float, *, again: bool) -> Place:
        line, kind, at = self.timeline, site.archetype, begin
        row = 44 if again or life.cause == "restart" else {"rollout": 15, "scale": 24}.get(life.cause, 0)
        if kind.init and not again:
            init = line.place(site, life, at, container="init", kind=ContainerKind.INIT)
            at = line.play(init, at, kind.init, mark=Mark(12), gap=(0.05, 0.3)) + 0.5
        place = line.place(site, life, at, end=end)
        self.places.setdefault((id(life), life.uid, life.born), []).append(place)
        first = None
        if kind.first or kind.start:
            first = line.start(place, at, kind.first or "/usr/bin/tini", mark=Mark(row or 14))
        if kind.start and kind.kind != "CronJob":
            at = line.play(place, at + 0.05, kind.start, under=first, mark=Mark(row or 14), gap=(0.01, 0.4))
        place.main = line.start(place, at + 0.1, kind.main, under=first, mark=Mark(row))
        if kind.start and kind.kind == "CronJob":
            line.play(place, at + 0.5, kind.start, under=place.main, mark=Mark(43), gap=(0.1, 3))
        if 29 in kind.noise:
            place.workers = [line.fork(place, at + 0.2, place.main) for _ in range(3)]
        if kind.port:
            line.listen(place, at + 0.3, place.main, kind.port)
            self._accept(place)
        if kind.sidecar:
            self._sidecar(site, life, begin, end)
        self._traffic(place, at + 1)
        return place

    def _traffic(self, place: Place, at: float) -> None:
        """Let a service ask for names and call what it uses."""
        assert place.main is not None
        if place.site.archetype.main.startswith("sh "):
            return  # a job's script: its commands connect, not the shell
        line, uses = self.timeline, place.life.revision.uses
        line.dial(place, at, place.main, "dns", mark=Mark(36))
        for number in range(len(uses)):
            every = max(0.2, TRAFFIC_EVERY * (1 + number) / place.life.activity)
            for when, count in line.windows(place, every, after=1):
                process = self.draw.choice(place.workers) if place.workers else place.main
                line.dial(place, when, process, f"use:{number}", mark=Mark(), count=count, span=count * every)
        for host in place.site.hosts[:2]:
            for when, count in line.windows(place, 30, after=1):
                address = f"{self.draw.choice(host.addresses)}:{host.port}" if self.draw.random() < 0.3 else "pub:"
                line.dial(place, when, place.main, address if place.site.hosts else "dns", mark=Mark(38), count=count)
        for when, count in line.windows(place, 20, after=2):
            line.dial(place, when, place.main, "dns", mark=Mark(36), count=count, span=count * 20.0)

    def _accept(self, place: Place) -> None:
        assert place.main is not None
        line, every = self.timeline, max(0.2, 2 / place.life.activity)
        callers = [site for site in self.cluster.sites if place.site.number in site.lives[0].revision.uses][:2]
        for caller in callers:
            for when, count in line.windows(place, every, after=3):
                source = self.draw.choice(caller.lives).ip
                dial = Dial(pack_address(source), place.site.archetype.port)
                line.accept(place, when, place.main, dial, count=count, span=count * every)

    def _sidecar(self, site: Site, life: Life, begin: float, end: float) -> None:
        proxy = self.timeline.place(site, life, begin, container="proxy", kind=ContainerKind.SIDECAR, end=end)
        proxy.main = self.timeline.start(proxy, begin + 0.3, site.archetype.sidecar, mark=Mark(37))
        for number in range(len(life.revision.uses)):
            for when, count in self.timeline.windows(proxy, 5):
                self.timeline.dial(proxy, when, proxy.main, f"use:{number}", mark=Mark(37), count=count)
