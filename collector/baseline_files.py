"""Baselines as YAML files: what people keep in Git, review, and carry from one cluster to another.

A file says what is normal and what is not, and nothing that changes by itself (no counts, no times of sightings), so that a
difference in Git is a decision. All values are read as text; aliases are refused, so that a small file stays small.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peerwatch.times import format_time, parse_time

from collector.errors import InputError
from collector.records import BaselineEntry, BehaviourState, BehaviourType, Lock, WorkloadKey
from collector.yaml_documents import compose, line_of

__all__ = ["FILE_MAX", "BaselineFile", "FileEntry", "entries_as_yaml", "from_baseline", "parse", "to_yaml"]

VERSION = "baseline/v1"

FILE_MAX = 8 << 20
"""Largest file that is read, bytes: 20,000 behaviours with reasons take 6 MB."""

DEPTH_MAX = 8
"""Levels of nesting; a baseline has five."""

_STATES = {"learned", "approved", "rejected", "expired", "candidate"}
_FIX = "correct it, or make a new one with peerwatch baseline export"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One behaviour of a file."""

    container: str
    type: BehaviourType
    key: str
    state: BehaviourState
    by: str = ""
    why: str = ""
    until: int = 0
    example: str = ""


@dataclass(frozen=True, slots=True)
class BaselineFile:
    """One workload's baseline, in the order of container, type and key."""

    workload: WorkloadKey
    locked: Lock | None = None
    entries: tuple[FileEntry, ...] = field(default=())


def from_baseline(
    workload: WorkloadKey, entries: Iterable[BaselineEntry], lock: Lock | None, *, candidates: bool = False
) -> BaselineFile:
    """Return the file of a baseline; without candidates it is what stands on the list or was rejected."""
    chosen = [
        FileEntry(
            *(each.container, each.type, each.key, each.state, each.by, each.why, each.until),
            example=shlex.join(each.example),
        )
        for each in entries
        if candidates
        or (each.state is not BehaviourState.CANDIDATE and not (each.state is BehaviourState.EXPIRED and not each.by))
    ]
    return BaselineFile(workload, lock, tuple(sorted(chosen, key=_order)))


def to_yaml(baseline: BaselineFile) -> str:
    """Return the text of a file: the same baseline gives the same text."""
    workload = baseline.workload
    value: dict[str, Any] = {"peerwatch": VERSION}
    if workload.cluster:
        value["cluster"] = workload.cluster
    value["workload"] = f"{workload.namespace}/{workload.kind}/{workload.name}"
    if baseline.locked is not None:
        value["locked"] = {"by": baseline.locked.by, "why": baseline.locked.why}
    value["containers"] = _tree((each, _entry_value(each)) for each in baseline.entries)
    return _dump(value)


def entries_as_yaml(entries: Iterable[BaselineEntry], completeness: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return all that is known of behaviours, and per container how much that is: for reading, not for Git."""
    known = {name: dict(value) for name, value in (completeness or {}).items()}
    behaviours = _tree((each, _evidence(each)) for each in sorted(entries, key=_order))
    return _dump(({"completeness": known} if known else {}) | {"containers": behaviours})


def parse(text: bytes, name: str) -> BaselineFile:
    """Return the baseline of a file.

    Args:
        text: its content.
        name: what errors call it.

    Raises:
        InputError: it is no baseline; the text names file, line, field and what is wrong.
    """
    return _Reader(name).baseline(text)


def _order(entry: BaselineEntry | FileEntry) -> tuple[str, int, str]:
    return entry.container, int(entry.type), entry.key


def _tree(values: Iterable[tuple[BaselineEntry | FileEntry, Mapping[str, Any]]]) -> dict[str, dict[str, list[Any]]]:
    tree: dict[str, dict[str, list[Any]]] = {}
    for entry, value in values:
        tree.setdefault(entry.container, {}).setdefault(entry.type.name.lower(), []).append(value)
    return tree


def _entry_value(entry: FileEntry) -> dict[str, str]:
    value = {
        "key": entry.key,
        "state": entry.state.name.lower(),
        "by": entry.by,
        "why": entry.why,
        "until": format_time(entry.until) if entry.until else "",
        "example": entry.example,
    }
    return {name: text for name, text in value.items() if text}


def _evidence(entry: BaselineEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "state": entry.state.name.lower(),
        "count": entry.count,
        "replicas": entry.replicas,
        "of": entry.of,
        "nodes": entry.nodes,
        "revisions": list(entry.revisions),
        "phases": [each.name.lower() for each in entry.phases],
        "firstSeen": format_time(entry.first_seen) if entry.first_seen else "",
        "lastSeen": format_time(entry.last_seen) if entry.last_seen else "",
        "gone": format_time(entry.gone) if entry.gone else "",
        "example": shlex.join(entry.example),
        "by": entry.by,
        "why": entry.why,
        "decided": format_time(entry.decided) if entry.decided else "",
        "until": format_time(entry.until) if entry.until else "",
    }


def _dump(value: object) -> str:
    import yaml  # noqa: PLC0415 — 3 MB and 30 ms that most commands do not need

    # ASCII only: what a terminal or a reviewer's screen would obey or hide stands as an escape.
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=120))


class _Reader:
    """Walks the nodes of a document."""

    def __init__(self, name: str) -> None:
        self.name = name

    def baseline(self, text: bytes) -> BaselineFile:
        if len(text) > FILE_MAX:
            raise InputError(f"{self.name} has more than {FILE_MAX >> 20} MiB, and no baseline has; {_FIX}")
        fields = self._fields(
            compose(text, self.name, depth_max=DEPTH_MAX, fix=_FIX),
            "the file",
            {"peerwatch", "cluster", "workload", "locked", "containers"},
        )
        version = self._text(fields.get("peerwatch"), "peerwatch", required=True)
        if version != VERSION:
            raise self._wrong(fields["peerwatch"], f"peerwatch: {version!r} is not {VERSION!r}: another version wrote it")
        named = self._text(fields.get("workload"), "workload", required=True)
        parts = named.split("/")
        if len(parts) != 3 or not all(parts):
            raise self._wrong(fields["workload"], f"workload: {named!r} is not NAMESPACE/KIND/NAME")
        cluster = self._text(fields.get("cluster"), "cluster")
        entries = list(self._entries(fields.get("containers")))
        known: set[tuple[str, int, str]] = set()
        for each in entries:
            if _order(each) in known:
                raise self._wrong(fields["containers"], f"containers.{each.container}: {each.key!r} stands there twice")
            known.add(_order(each))
        return BaselineFile(WorkloadKey(cluster, *parts), self._lock(fields.get("locked")), tuple(sorted(entries, key=_order)))

    def _entries(self, node: Any) -> Iterator[FileEntry]:  # noqa: ANN401 — a node
        for container, types in self._mapping(node, "containers").items():
            for kind, listed in self._mapping(types, f"containers.{container}").items():
                where = f"containers.{container}.{kind}"
                names = {each.name.lower(): each for each in BehaviourType}
                if kind not in names:
                    raise self._wrong(listed, f"{where}: no such type; there are {', '.join(names)}")
                for each in self._sequence(listed, where):
                    yield self._entry(each, where, container, names[kind])

    def _entry(self, node: Any, where: str, container: str, kind: BehaviourType) -> FileEntry:  # noqa: ANN401 — a node
        fields = self._fields(node, where, {"key", "state", "by", "why", "until", "example"})
        key = self._text(fields.get("key"), f"{where}.key", required=True, at=node)
        state = self._text(fields.get("state"), f"{where}.state", required=True, at=node)
        if state not in _STATES:
            raise self._wrong(fields["state"], f"{where}.state: {state!r} is none of {', '.join(sorted(_STATES))}")
        until = self._text(fields.get("until"), f"{where}.until")
        try:
            until_ns = parse_time(until) if until else 0
        except ValueError:
            raise self._wrong(fields["until"], f"{where}.until: {until!r} is no time like 2026-11-21T10:00:00Z") from None
        by, why, example = (self._text(fields.get(name), f"{where}.{name}") for name in ("by", "why", "example"))
        return FileEntry(container, kind, key, BehaviourState[state.upper()], by, why, until_ns, example)

    def _lock(self, node: Any) -> Lock | None:  # noqa: ANN401 — a node
        if node is None:
            return None
        fields = self._fields(node, "locked", {"by", "why"})
        return Lock(self._text(fields.get("by"), "locked.by"), self._text(fields.get("why"), "locked.why"), 0)

    def _fields(self, node: Any, where: str, known: set[str]) -> dict[str, Any]:  # noqa: ANN401 — a node
        fields = self._mapping(node, where)
        for name in fields.keys() - known:
            raise self._wrong(fields[name], f"{where}: no such field {name!r}; there are {', '.join(sorted(known))}")
        return fields

    def _mapping(self, node: Any, where: str) -> dict[str, Any]:  # noqa: ANN401 — a node
        if node is None:
            return {}
        if node.id != "mapping":
            raise self._wrong(node, f"{where}: fields are expected here, not a {node.id}")
        fields: dict[str, Any] = {}
        for name, value in node.value:
            text = self._text(name, where, required=True)
            if text in fields:
                raise self._wrong(name, f"{where}: {text!r} stands there twice")
            fields[text] = value
        return fields

    def _sequence(self, node: Any, where: str) -> Sequence[Any]:  # noqa: ANN401 — a node
        if node.id != "sequence":
            raise self._wrong(node, f"{where}: a list is expected here, not a {node.id}")
        nodes: Sequence[Any] = node.value
        return nodes

    def _text(self, node: Any, where: str, *, required: bool = False, at: Any = None) -> str:  # noqa: ANN401 — nodes
        text = ""
        if node is not None:
            if node.id != "scalar":
                raise self._wrong(node, f"{where}: a text is expected here, not a {node.id}")
            text = str(node.value)
        if required and not text:
            raise self._wrong(node if node is not None else at, f"{where} is missing")
        if not text.isprintable():
            raise self._wrong(node, f"{where}: {text!r} has characters that are not printable")
        return text

    def _wrong(self, node: Any, problem: str) -> InputError:  # noqa: ANN401 — a node or an event
        line = f", line {line_of(node.start_mark)}" if node is not None else ""
        return InputError(f"{self.name}{line}: {problem[:500]}; {_FIX}")
