"""Who sends: nodes with their counters, and the sessions in which their sequence numbers count. Bounded."""

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["CanaryRecord", "NodeRecord", "SessionRecord", "Sessions"]

SESSIONS_PER_NODE = 8
"""Older ones are forgotten: an agent process has one session, and its predecessors are dead."""

REASONS_PER_NODE = 32
"""Loss reasons kept apart for one node; further ones count as OTHER, since the text is the node's."""

OTHER = "OTHER"

MOST = 2**63 - 1
"""What the state holds as a number: sums stay at it, since each summand is a node's claim."""


@dataclass(slots=True)
class SessionRecord:
    """How far one agent process got."""

    session: str
    last_sequence: int = 0
    last_batch: int = 0
    """Collector's clock, nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """An agent's own probe of capture that arrived."""

    arrived: int
    """Collector's clock, nanoseconds since 1970."""
    delay: int
    """From the event on the node's clock to `arrived`, nanoseconds: how far the two clocks differ is part of it."""


@dataclass(slots=True)
class NodeRecord:
    """One node that sends or sent events."""

    cluster: str
    node: str
    version: str = ""
    last_batch: int = 0
    events: int = 0
    """What the stored rows stand for, the sum of their counts, without losses."""
    lost: dict[str, int] = field(default_factory=dict)
    """Events by reason, as the node reported them."""
    canary: CanaryRecord | None = None
    """The last one; not kept across restarts, since the next comes within a minute."""
    sessions: dict[str, SessionRecord] = field(default_factory=dict)


class Sessions:
    """All nodes; remembers which changed since they were last written."""

    def __init__(self, nodes: Iterable[NodeRecord], *, nodes_max: int) -> None:
        self._nodes = {(node.cluster, node.node): node for node in nodes}
        self._nodes_max = nodes_max
        self._changed: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        """Return how many nodes are known."""
        return len(self._nodes)

    def nodes(self) -> list[NodeRecord]:
        """Return all nodes, sorted."""
        return [self._nodes[key] for key in sorted(self._nodes)]

    def last_sequence(self, cluster: str, node: str, session: str) -> int:
        """Return the last stored sequence number, 0 if there is none."""
        known = self._nodes.get((cluster, node))
        entry = known.sessions.get(session) if known else None
        return entry.last_sequence if entry else 0

    def counted(self, cluster: str, node: str, session: str, *, sequence: int, received: int) -> bool:
        """Say whether a batch of the journal, received at this time, was counted before the last run ended.

        A session that is not remembered was forgotten if all that are remembered have sent later than this batch came.
        """
        known = self._nodes.get((cluster, node))
        if known is None or session in known.sessions or len(known.sessions) < SESSIONS_PER_NODE:
            return sequence <= self.last_sequence(cluster, node, session)
        return received <= min(each.last_batch for each in known.sessions.values())

    def admits(self, cluster: str, node: str) -> bool:
        """Say whether this node is known or may still become so."""
        return (cluster, node) in self._nodes or len(self._nodes) < self._nodes_max

    def greeted(self, cluster: str, node: str, version: str) -> None:
        """Note that a node's agent is there: a quiet node is known before its first event."""
        known = self._nodes.setdefault((cluster, node), NodeRecord(cluster, node))
        if known.version != version or not known.last_batch:
            known.version = version
            self._changed.add((cluster, node))

    def stored(
        self,
        cluster: str,
        node: str,
        session: str,
        *,
        sequence: int,
        version: str,
        now: int,
        events: int,
        lost: dict[str, int],
        canary: CanaryRecord | None = None,
    ) -> None:
        """Note that a batch is in the journal and was counted."""
        known = self._nodes.setdefault((cluster, node), NodeRecord(cluster, node))
        known.version, known.last_batch = version, now
        known.events = min(known.events + events, MOST)
        known.canary = canary or known.canary
        for reason, count in lost.items():
            name = reason if reason in known.lost or len(known.lost) < REASONS_PER_NODE else OTHER
            known.lost[name] = min(known.lost.get(name, 0) + count, MOST)
        entry = known.sessions.setdefault(session, SessionRecord(session))
        entry.last_sequence, entry.last_batch = sequence, now
        if len(known.sessions) > SESSIONS_PER_NODE:
            del known.sessions[min(known.sessions.values(), key=lambda each: each.last_batch).session]
        self._changed.add((cluster, node))

    def changed(self) -> list[NodeRecord]:
        """Return the nodes that changed since `written`."""
        return [self._nodes[key] for key in sorted(self._changed)]

    def written(self) -> None:
        """Forget what changed: it is on disk."""
        self._changed.clear()
