"""What a destination in a script means at a time: addresses, ports, and what the address is known as.

lo:8080  use:0  dns  pub:443  api  meta  node:10250  other:6379  pods:5432  scan:40:22  ports:30:10.1.2.3  1.2.3.4:443
with `/udp` behind it: UDP; with `?`: refused or never answered
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from peerwatch.addresses import pack_address
from peerwatch.columns import ConnectResult, Peer, Protocol
from peerwatch.subjects import Workload

from scenario.cluster import Cluster, Life, Site
from scenario.words import Draw

__all__ = ["Dial", "Network"]

_API = Peer("default", Workload("apiserver", "kubernetes"))
_META = Peer("", Workload("metadata-service", "metadata-service"))
_DNS = Peer("kube-system", Workload("Service", "kube-dns"))


Target: TypeAlias = tuple[str, int, Peer | None]
"""Address, port, and what the address is."""


@dataclass(frozen=True, slots=True)
class Dial:
    """One connect."""

    address: bytes
    port: int
    protocol: Protocol = Protocol.TCP
    result: ConnectResult = ConnectResult.OK
    peer: Peer | None = None


class Network:
    """Resolves destinations."""

    def __init__(self, cluster: Cluster, draw: Draw, *, resolved: float) -> None:
        """Let a share of the addresses inside the cluster be known for what they are."""
        self._cluster, self._draw, self._resolved = cluster, draw, resolved
        self._known: dict[tuple[int, str], bool] = {}

    def dials(self, site: Site, life: Life, time: float, text: str) -> Iterator[Dial]:
        """Yield the connects that a destination stands for."""
        result = ConnectResult.OK
        if text.endswith("?"):
            text, result = text[:-1], self._draw.choice((ConnectResult.REFUSED, ConnectResult.TIMEOUT))
        text, _, protocol = text.partition("/")
        for address, port, peer in self._targets(site, life, time, text):
            known = peer if peer and self._knows(site, address) else None
            kind = Protocol.UDP if protocol == "udp" or port == 53 else Protocol.TCP
            yield Dial(pack_address(address), port, kind, result, known)

    def _knows(self, site: Site, address: str) -> bool:
        """Say whether an address is known for what it is; who is not known once stays so for whoever calls him."""
        pair = (site.number, address)
        if pair not in self._known:
            self._known[pair] = self._draw.random() < self._resolved
        return self._known[pair]

    def _targets(self, site: Site, life: Life, time: float, text: str) -> Iterable[Target]:
        where, _, rest = text.partition(":")
        ways: dict[str, Callable[[], Iterable[Target]]] = {
            "lo": lambda: [("127.0.0.1", int(rest) % 65_536, None)],
            "dns": lambda: [("169.254.20.10" if site.dns == "node-local" else self._cluster.service_ip(1), 53, _DNS)],
            "api": lambda: [(self._cluster.service_ip(0), 443, _API)],
            "meta": lambda: [("169.254.169.254", 80, _META)],
            "node": lambda: [(self._cluster.node_ip(life.node), int(rest), self._node(life))],
            "pub": lambda: self._abroad(site, rest),
            "use": lambda: self._used(site, life, time, int(rest or 0)),
            "other": lambda: self._strange(site, life, time, rest),
            "pods": lambda: self._mates(site, life, time, int(rest)),
            "scan": lambda: self._scan(*rest.split(":")),
            "ports": lambda: self._ports(*rest.split(":")),
        }
        return ways[where]() if where in ways else [(where, int(rest), None)]

    def _node(self, life: Life) -> Peer:
        return Peer("", Workload("Node", self._cluster.nodes[life.node]))

    def _abroad(self, site: Site, port: str) -> Iterator[Target]:
        if site.hosts:
            host = self._draw.choice(site.hosts)
            yield self._draw.choice(host.addresses), int(port or host.port), Peer("", Workload("DNS", host.name))

    def _used(self, site: Site, life: Life, time: float, number: int) -> Iterator[Target]:
        uses = life.revision.uses
        if uses:
            yield from self.service(site, self._cluster.sites[uses[number % len(uses)]], time)

    def _strange(self, site: Site, life: Life, time: float, port: str) -> Iterator[Target]:
        known = {*life.revision.uses, site.number}
        strange = [each for each in self._cluster.sites if each.number not in known and each.archetype.port]
        wanted = [each for each in strange if port and each.archetype.port == int(port)]
        yield from self.service(site, self._draw.choice(wanted or strange), time)

    def _mates(self, site: Site, life: Life, time: float, port: int) -> list[Target]:
        return [(each.ip, port, Peer(site.namespace, site.workload)) for each in site.alive(time) if each is not life]

    def _scan(self, many: str, port: str) -> Iterator[Target]:
        for _ in range(int(many)):
            yield self._cluster.pod_address(self._draw), int(port), None

    def _ports(self, many: str, address: str) -> Iterator[Target]:
        for port in self._draw.sample(range(20, 10_000), int(many)):
            yield address, port, None

    def service(self, site: Site, target: Site, time: float) -> Iterator[Target]:
        """Yield one connect to another workload, as this site's packets would show it."""
        alive = target.alive(time)
        by_pod = alive and (site.mode == "pods" or (site.mode == "both" and self._draw.random() < 0.5))
        if by_pod:
            yield self._draw.choice(alive).ip, target.archetype.port, Peer(target.namespace, target.workload)
        else:
            yield target.service_ip, target.archetype.port, target.peer
