"""Pods from a file (`--pods FILE`): a Kubernetes `PodList` or `List` in JSON or YAML, read again when it changes."""

import logging
import os
import threading
import time
from typing import Any

import orjson
from peerwatch.kubernetes.fields import MalformedError
from peerwatch.kubernetes.pods import PodRecord, parse_pod

from agent.errors import ConfigError
from agent.identity.index import PodIndex

__all__ = ["PodFile", "read_pods"]

_log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often the file is looked at, seconds: one `stat`, and a test or demo that adds a pod need not wait."""

MAX_FILE = 64 << 20
"""Largest file that is read, bytes: some 10,000 pods with all they carry."""

SETTLED_NS = 100_000_000
"""A file younger than this when it was read is read once more: a second write may fall into the same tick of its clock."""

MAX_DEPTH = 100
"""Deepest nesting of YAML that is read: a pod's is under 20, and libyaml's loader recurses in C, where too deep is a crash."""

_FIX = "give a Kubernetes PodList in JSON or YAML, for example from `kubectl get pods -A -o json`"

Stamp = tuple[int, int, int]


def read_pods(path: str) -> list[PodRecord]:
    """Return the pods of a file.

    Raises:
        ConfigError: it cannot be read or is no list of pods. The text says where and what is wrong.
    """
    return _read(path)[0]


class PodFile:
    """Keeps an index equal to a file. A change that cannot be read is told once and changes nothing.

    `synced` is set once the file's pods are in the index, which they are when `start` returns.
    """

    def __init__(self, path: str, index: PodIndex, *, poll_s: float = POLL_S) -> None:
        """`path` is looked at each `poll_s` seconds; it may be replaced atomically or written in place."""
        self.synced = threading.Event()
        self._path = path
        self._index = index
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pod-file", daemon=True)
        self._read_at = time.monotonic()
        self._seen: Stamp | None = None
        self._broken = ""

    def start(self) -> None:
        """Read the file and begin to watch it.

        Raises:
            ConfigError: the file cannot be read or is no list of pods.
        """
        pods, self._seen = _read(self._path)
        self._index.replace(pods)
        self.synced.set()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; the index keeps what it has."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def age_s(self) -> float:
        """Return how long ago the index last agreed with the file, seconds."""
        return time.monotonic() - self._read_at

    def requests(self) -> int:
        """Return how often an API server was asked: never."""
        return 0

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                status = os.stat(self._path)  # noqa: PTH116 — the same three numbers as from fstat
            except OSError as error:
                self._tell(f"--pods {self._path}: {error.strerror}")
                self._seen = None
                continue
            if self._seen == _stamp(status):
                if not self._broken:
                    self._read_at = time.monotonic()
                continue
            try:
                pods, self._seen = _read(self._path)
            except ConfigError as error:
                self._tell(str(error))
                # Not read again until it changes, once it is old enough to tell by its stamp.
                self._seen = _stamp(status) if _settled(status) else None
                continue
            self._index.replace(pods)
            self._read_at = time.monotonic()
            if self._broken:
                self._broken = ""
                _log.info("--pods %s is read again: %d pods", self._path, len(pods))

    def _tell(self, problem: str) -> None:
        if not self._broken:
            _log.warning("%s; the %d pods read before stay", problem, len(self._index))
        self._broken = problem


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _settled(status: os.stat_result) -> bool:
    return not 0 <= time.time_ns() - status.st_mtime_ns < SETTLED_NS


def _read(path: str) -> tuple[list[PodRecord], Stamp | None]:
    """Return the pods and the stamp of what was read; no stamp if the file is too young to tell a later write by it."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 — a path or /dev/stdin, as given
            status = os.fstat(file.fileno())
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"--pods {path}: {error.strerror}; {_FIX}") from error
    if len(content) > MAX_FILE:
        raise ConfigError(f"--pods {path}: larger than {MAX_FILE >> 20} MiB; give only this node's pods")
    return _pods(path, _parse(path, content)), _stamp(status) if _settled(status) else None


def _parse(path: str, content: bytes) -> Any:  # noqa: ANN401 — whatever the file holds
    if content.lstrip()[:1] in (b"{", b"["):
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"--pods {path}, line {error.lineno}, column {error.colno}: {error.msg}; {_FIX}") from None
    return _parse_yaml(path, content)


def _parse_yaml(path: str, content: bytes) -> Any:  # noqa: ANN401 — whatever the file holds
    import yaml  # noqa: PLC0415 — 3 MB and 30 ms that a JSON file does not need

    # libyaml's loader, where the wheel has it, is ten times as fast: a node's pods are a megabyte.
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # Times stay text, as JSON has them.
    resolvers = {
        first: [(tag, pattern) for tag, pattern in each if tag != "tag:yaml.org,2002:timestamp"]
        for first, each in base.yaml_implicit_resolvers.items()
    }
    loader = type("Loader", (base,), {"yaml_implicit_resolvers": resolvers})
    depth = 0
    try:
        for event in yaml.parse(content, loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")  # noqa: TRY301 — told as what the parser finds is
        return yaml.load(content, loader)  # noqa: S506 — a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"--pods {path}{where}: {error.problem}; {_FIX}") from None
    except Exception as error:  # noqa: BLE001 — explicit tags reach constructors that raise whatever their code meets
        raise ConfigError(f"--pods {path}: {' '.join(str(error).split())[:200]}; {_FIX}") from None


def _pods(path: str, content: object) -> list[PodRecord]:
    kind = content.get("kind") if isinstance(content, dict) else None
    items = content.get("items") if isinstance(content, dict) else None
    if kind not in ("PodList", "List") or not isinstance(items, list):
        found = f"kind {str(kind)[:64]}" if kind else type(content).__name__
        raise ConfigError(f"--pods {path}: expected a PodList with items, found {found}; {_FIX}")
    pods = []
    for number, item in enumerate(items):
        # A `List` may hold other kinds beside pods; the items of a `PodList` carry no kind.
        if isinstance(item, dict) and item.get("kind", "Pod") != "Pod":
            continue
        try:
            pods.append(parse_pod(item))
        except MalformedError as error:
            raise ConfigError(f"--pods {path}, items[{number}]: {error}; {_FIX}") from None
    return pods
