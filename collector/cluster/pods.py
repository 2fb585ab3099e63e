"""All pods of a cluster: by uid, by container, and by address and time. Pure: times are passed in, nanoseconds since 1970.

Deleted pods stay known for a while, since events about them come late. Strings and labels that pods share are kept once: most
of what a pod says is what all replicas of its workload say.
"""

import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterator, KeysView
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, TypeVar, cast

from peerwatch.addresses import address_text
from peerwatch.columns import NANOSECONDS
from peerwatch.subjects import Container, Pod, Workload

from collector.cluster.clocks import CERTAIN, Doubt
from collector.cluster.history import History, told_from
from collector.cluster.objects import ClusterPod, Port

if TYPE_CHECKING:
    from peerwatch.kubernetes.workloads import OwnerRef

__all__ = ["KnownPod", "Pods"]

DELETED_FOR_NS = 3600 * NANOSECONDS
"""How long a deleted pod stays known: an agent that could not reach the collector sends what it kept, mostly within this."""

DELETED_MAX = 20_000
"""Deleted pods known at a time: an hour of a cluster that replaces five pods a second. 30 MB."""

EARLIER_MAX = 8
"""Container instances remembered per pod beyond those in its status, which names the current and the one before."""

SHARED_MAX = 16_384
"""What is remembered as shared; beyond it, it begins anew. Lists come in order of names, so what is equal comes together."""

_Value = TypeVar("_Value", bound=Hashable)


class KnownPod:
    """One pod. Compared by identity: it stands for itself wherever it is referred to."""

    __slots__ = ("addresses", "containers", "facts", "former", "host_ports", "key", "node", "owner", "pod")

    def __init__(self, key: str) -> None:
        self.key = key
        self.pod = Pod()
        self.containers: tuple[Container, ...] = ()
        self.owner: OwnerRef | None = None
        self.node = ""
        self.addresses: tuple[bytes, ...] = ()
        self.former: tuple[bytes, ...] = ()
        """Addresses it had before its sandbox was made again."""
        self.host_ports: tuple[Port, ...] = ()
        self.facts = 0
        """`risk.Fact` as a number below 256, of which Python keeps one each."""

    @property
    def full_pod(self) -> Pod:
        """The pod with its address, of which the text is not kept."""
        return replace(self.pod, ip=address_text(self.addresses[0])) if self.addresses else self.pod

    def container(self, container_id: str) -> Container | None:
        """Return one of its containers, None if it has none with this id."""
        return next((each for each in self.containers if each.id == container_id), None)


@dataclass(frozen=True, slots=True)
class _Told:
    """When something is told of a pod, until when what was known of it was so for sure, and what its node's clock is worth."""

    now: int
    heard: int
    doubt: Doubt


class Pods:
    """All pods there are and those deleted lately. `version` rises with each change."""

    def __init__(self, *, deleted_max: int = DELETED_MAX, deleted_for_ns: int = DELETED_FOR_NS) -> None:
        self.version = 0
        self.addresses: History[bytes, KnownPod] = History()
        self.ports: History[Port, KnownPod] = History()
        """Ports of nodes that lead to a pod."""
        self._deleted_max = deleted_max
        self._deleted_for_ns = deleted_for_ns
        self._pods: dict[str, KnownPod] = {}
        self._deleted: OrderedDict[str, tuple[int, KnownPod]] = OrderedDict()
        self._static: dict[str, KnownPod] = {}
        """Pods that cgroups call otherwise than the API server does, by what cgroups call them."""
        self._by_container: dict[str, KnownPod] = {}
        self._shared: dict[object, object] = {}

    def __len__(self) -> int:
        """Return how many pods there are, without deleted ones."""
        return len(self._pods)

    def keys(self) -> KeysView[str]:
        """Return the keys of the pods there are."""
        return self._pods.keys()

    def of_key(self, key: str) -> KnownPod | None:
        """Return the pod with this uid in the API server, if it is there."""
        return self._pods.get(key)

    def of_uid(self, uid: str) -> KnownPod | None:
        """Return the pod with this uid, as cgroups carry it."""
        known = self._static.get(uid) or self._pods.get(uid)
        if known is None and uid in self._deleted:
            known = self._deleted[uid][1]
        return known if known is not None and known.pod.uid == uid else None

    def of_container(self, container_id: str) -> KnownPod | None:
        """Return the pod that has or had this container."""
        return self._by_container.get(container_id)

    def apply(self, found: ClusterPod, now: int, heard: int | None = None, doubt: Doubt = CERTAIN) -> None:
        """Add a pod or replace what is known of it, which was so until `heard` for sure: until now, if it is not given.

        `doubt`: in the clock of its node, which says when it began and ended.
        """
        self.expire(now)
        back = self._deleted.pop(found.record.key, None)  # a list can bring back what a late deletion took
        known = self._pods.get(found.record.key) or (back[1] if back is not None else KnownPod(found.record.key))
        self._unlink(known)
        self._take(known, found, _Told(now, now if heard is None else heard, doubt))
        self._pods[known.key] = known
        if known.pod.uid != known.key:
            self._static[known.pod.uid] = known
        for container in known.containers:
            self._by_container[container.id] = known
        self.version += 1

    def delete(self, key: str, time: int, now: int) -> None:
        """Note that a pod is gone since `time` or a later time that is not known."""
        self.expire(now)
        known = self._pods.pop(key, None)
        if known is None:
            return
        self._end(known, now, time)
        self._deleted[key] = (now + self._deleted_for_ns, known)
        if len(self._deleted) > self._deleted_max:
            self._forget(self._deleted.popitem(last=False)[1][1])
        self.version += 1

    def expire(self, now: int) -> None:
        """Forget the pods that were deleted long ago."""
        while self._deleted:
            key, (until, known) = next(iter(self._deleted.items()))
            if until > now:
                return
            del self._deleted[key]
            self._forget(known)

    def doubt(self, node: str, doubt: Doubt, now: int) -> None:
        """Take note that what was said of a node's pods was said by a clock that is off by so much more."""
        for known in chain(self._pods.values(), (each for _, each in self._deleted.values())):
            if known.node == node:
                for address in (*known.addresses, *known.former):
                    self.addresses.doubt(address, known, least=doubt.least, most=doubt.most, now=now)
                for port in known.host_ports:
                    self.ports.doubt(port, known, least=doubt.least, most=doubt.most, now=now)

    def _take(self, known: KnownPod, found: ClusterPod, told: "_Told") -> None:
        now, doubt = told.now, told.doubt
        certain = min((found.certain or now) + doubt.most, now)
        if known.addresses and known.addresses != found.addresses:
            # Its sandbox was made again: when its containers began may still be said of the former ones.
            certain = now
            for address in set(known.addresses).difference(found.addresses):
                self.addresses.end(address, known, now, told.heard)
                known.former = (*known.former, address)[-EARLIER_MAX:]
        known.containers = tuple(self._merged(known, found))
        known.pod = self._pod(found.record.pod, known.key, own_address=bool(found.addresses))
        known.owner = self._share(found.owner)
        known.node = sys.intern(found.node)
        known.addresses, known.host_ports = found.addresses, found.host_ports
        known.facts = int(found.facts)
        doubtful = bool(doubt) or not found.begin
        begin = told_from(max(0, found.begin + doubt.least), certain, heard=told.heard, now=now)
        for address in known.addresses:
            self.addresses.hold(address, known, begin, certain, doubtful=doubtful)
        for port in known.host_ports:
            self.ports.hold(port, known, begin, certain, doubtful=doubtful)
        if found.ended:
            self._end(known, max(found.ended, min(found.ended + doubt.most, now)), max(0, found.ended + doubt.least))

    def _merged(self, known: KnownPod, found: ClusterPod) -> Iterator[Container]:
        current = {each.id: each for each in found.record.containers}
        earlier = [each for each in known.containers if each.id not in current]
        yield from earlier[-EARLIER_MAX:]
        for each in known.containers:
            # After a restart the status no longer says which digest the instance before it ran; it did before.
            if each.id in current and each.image_digest and not current[each.id].image_digest:
                current[each.id] = each
        yield from (self._container(each) for each in current.values())

    def _end(self, known: KnownPod, time: int, sure: int) -> None:
        for address in known.addresses:
            self.addresses.end(address, known, time, sure)
        for port in known.host_ports:
            self.ports.end(port, known, time, sure)

    def _unlink(self, known: KnownPod) -> None:
        # A static pod's mirror that was made again has taken over uid and containers: what belongs to it stays.
        if self._static.get(known.pod.uid) is known:
            del self._static[known.pod.uid]
        for container in known.containers:
            if self._by_container.get(container.id) is known:
                del self._by_container[container.id]

    def _forget(self, known: KnownPod) -> None:
        self._unlink(known)
        for address in (*known.addresses, *known.former):
            self.addresses.forget(address, known)
        for port in known.host_ports:
            self.ports.forget(port, known)

    def _pod(self, pod: Pod, key: str, *, own_address: bool) -> Pod:
        return replace(
            pod,
            uid=key if pod.uid == key else pod.uid,  # the same text once
            ip="" if own_address else sys.intern(pod.ip),
            namespace=sys.intern(pod.namespace),
            workload=self._share(Workload(sys.intern(pod.workload.kind), sys.intern(pod.workload.name))),
            revision=sys.intern(pod.revision),
            service_account=sys.intern(pod.service_account),
            labels=self._share(tuple(self._share((sys.intern(name), sys.intern(value))) for name, value in pod.labels)),
            annotations=self._share(pod.annotations),
        )

    def _container(self, container: Container) -> Container:
        return replace(
            container,
            name=sys.intern(container.name),
            image=sys.intern(container.image),
            image_digest=sys.intern(container.image_digest),
        )

    def _share(self, value: _Value) -> _Value:
        """Return the first of all equal values that came here."""
        if len(self._shared) > SHARED_MAX:
            self._shared = {}
        return cast("_Value", self._shared.setdefault(value, value))
