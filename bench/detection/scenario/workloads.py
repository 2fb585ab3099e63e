"""Kinds of workloads as they are deployed: what `workloads.toml` says, as values."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ARCHETYPES", "Archetype"]


@dataclass(frozen=True, slots=True)
class Archetype:
    """One kind of workload; programs are scripts as in `script`."""

    name: str
    kind: str
    replicas: tuple[int, int]
    main: str
    noise: tuple[int, ...] = ()
    """Rows of the noise catalogue that it shows, besides those that the cluster brings to all."""
    image: str = ""
    """Distribution; empty: drawn."""
    first: str = ""
    """First process, if that is not the main program."""
    start: str = ""
    """What the first process does before the service runs."""
    init: str = ""
    """What an init container does."""
    probe: str = ""
    """What the kubelet executes every ten seconds."""
    helpers: tuple[str, ...] = ()
    """What it runs now and then, per request or job."""
    periodic: tuple[str, ...] = ()
    """Jobs by the clock, from its own scheduler: the first a quarter-hourly one, the second hourly, the third daily."""
    reload: str = ""
    stop: str = ""
    """What a preStop hook does."""
    backup: str = ""
    port: int = 8080
    """Where it serves; 0: nowhere."""
    uses: tuple[int, int] = (0, 3)
    """Other workloads of the cluster that it calls."""
    abroad: tuple[int, int] = (0, 1)
    """Hosts on the internet."""
    entries: tuple[str, ...] = ("rce", "self", "exec")
    """Ways in for an attacker."""
    sidecar: str = ""
    cwd: str = "/app"
    uid: int = 1000


def _read(path: Path) -> tuple[Archetype, ...]:
    def value(entry: object) -> object:
        return tuple(entry) if isinstance(entry, list) else entry

    kinds = tomllib.loads(path.read_text())
    return tuple(Archetype(name=name, **{key: value(each) for key, each in fields.items()}) for name, fields in kinds.items())


ARCHETYPES = _read(Path(__file__).with_suffix(".toml"))
"""38 kinds, one workload of each."""
