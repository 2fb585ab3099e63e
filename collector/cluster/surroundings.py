"""What is around a workload: what leads to it from outside of the cluster, and what its namespace is for. Pure.

Only what weighs in the rank of an incident is kept: a few names for each ingress, one fact for each namespace.
"""

import re
from collections.abc import Iterable, Iterator, KeysView, Mapping
from dataclasses import dataclass

from peerwatch.kubernetes.fields import MAX_ITEMS, MAX_VALUE, items_of, name_of, object_of, pairs_of

from collector.cluster.objects import identity_of, raw_object
from collector.risk import Fact

__all__ = ["IngressObject", "Ingresses", "NamespaceObject", "Namespaces", "parse_ingress", "parse_namespace"]

MOST_LABELS = 64
"""Labels read of a namespace."""

KEYS = frozenset({"environment", "env", "stage"})
"""Words in the name of a label that says what a namespace is for."""

PRODUCTION = frozenset({"production", "prod", "prd", "live"})
TEST = frozenset(
    {"dev", "develop", "development", "test", "tests", "testing", "qa", "uat", "e2e", "ci", "sandbox", "playground", "preview"}
    | {"demo", "staging", "stage", "stg", "nonprod", "nonproduction", "preprod", "non", "pre"}
)
"""Words that people use for it, `non` and `pre` before one of the others."""

_BETWEEN = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class IngressObject:
    """An ingress: which services it leads to."""

    key: str
    namespace: str
    name: str
    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class NamespaceObject:
    """A namespace: whether it is for production, for tests, or does not say."""

    key: str
    name: str
    purpose: Fact


def parse_ingress(raw: object) -> IngressObject:
    """Return what is kept of an ingress.

    Raises:
        MalformedError: it is none.
    """
    key, metadata = identity_of(raw)
    spec = object_of(raw_object(raw), "spec")
    names = (name_of(object_of(each, "service"), "name") for each in _backends(spec))
    return IngressObject(key, name_of(metadata, "namespace"), name_of(metadata, "name"), frozenset(filter(None, names)))


def _backends(spec: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    yield object_of(spec, "defaultBackend")
    left = MAX_ITEMS
    for rule in items_of(spec, "rules"):
        for path in items_of(object_of(rule, "http"), "paths")[:left]:
            left -= 1
            yield object_of(path, "backend")


def parse_namespace(raw: object) -> NamespaceObject:
    """Return what is kept of a namespace, of which only the metadata is read.

    Raises:
        MalformedError: it is none.
    """
    key, metadata = identity_of(raw)
    name = name_of(metadata, "name")
    return NamespaceObject(key, name, _purpose(name, pairs_of(metadata, "labels", "", MOST_LABELS)))


def _purpose(name: str, labels: Iterable[tuple[str, str]]) -> Fact:
    """Return what its labels say, else what its name does."""
    said = [value for key, value in labels if KEYS.intersection(_words(key))]
    for text in (*said, name):
        words = _words(text[:MAX_VALUE])
        if TEST.intersection(words):
            return Fact.TEST
        if PRODUCTION.intersection(words):
            return Fact.PRODUCTION
    return Fact(0)


def _words(text: str) -> list[str]:
    return _BETWEEN.split(text.lower())


class Ingresses:
    """All ingresses, by the services that they lead to."""

    def __init__(self) -> None:
        self._ingresses: dict[str, IngressObject] = {}
        self._leading: dict[str, dict[str, set[str]]] = {}

    def keys(self) -> KeysView[str]:
        """Return the keys of the ingresses there are."""
        return self._ingresses.keys()

    def leading(self, namespace: str) -> Iterator[tuple[str, str]]:
        """Yield the services of a namespace that an ingress leads to, each with the first such ingress."""
        for service, names in self._leading.get(namespace, {}).items():
            yield service, min(names)

    def apply(self, ingress: IngressObject, now: int, _heard: int | None = None) -> None:
        """Add an ingress or replace what is known of it."""
        self.delete(ingress.key, now, now)
        self._ingresses[ingress.key] = ingress
        services = self._leading.setdefault(ingress.namespace, {})
        for service in ingress.services:
            services.setdefault(service, set()).add(ingress.name)

    def delete(self, key: str, _time: int, _now: int) -> None:
        """Forget an ingress."""
        before = self._ingresses.pop(key, None)
        if before is None:
            return
        services = self._leading[before.namespace]
        for service in before.services:
            services[service].discard(before.name)
            if not services[service]:
                del services[service]
        if not services:
            del self._leading[before.namespace]


class Namespaces:
    """All namespaces, by what they are for."""

    def __init__(self) -> None:
        self._namespaces: dict[str, NamespaceObject] = {}
        self._by_name: dict[str, NamespaceObject] = {}

    def keys(self) -> KeysView[str]:
        """Return the keys of the namespaces there are."""
        return self._namespaces.keys()

    def purpose(self, name: str) -> Fact:
        """Return what a namespace is for, as far as it says."""
        found = self._by_name.get(name)
        return Fact(0) if found is None else found.purpose

    def apply(self, namespace: NamespaceObject, _now: int, _heard: int | None = None) -> None:
        """Add a namespace or replace what is known of it."""
        self._namespaces[namespace.key] = self._by_name[namespace.name] = namespace

    def delete(self, key: str, _time: int, _now: int) -> None:
        """Forget a namespace."""
        before = self._namespaces.pop(key, None)
        if before is not None and self._by_name.get(before.name) is before:  # one of the same name may have been made meanwhile
            del self._by_name[before.name]
