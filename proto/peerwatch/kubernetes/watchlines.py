"""What the API server says in a watch: one JSON object a line, cut into chunks wherever the network likes. Pure."""

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from peerwatch.kubernetes.errors import ServerError, failure

__all__ = ["Change", "WatchEvent", "lines", "watch_event"]

MAX_LINE = 8 << 20
"""Longest line that is taken, bytes. An object in etcd has 1.5 MiB by default; JSON may double that."""


class Change(enum.StrEnum):
    """What an event of a watch does."""

    APPLY = "APPLY"
    DELETE = "DELETE"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event: the object as it is now (or last was), and the resource version from which a watch can go on."""

    change: Change
    object: Mapping[str, Any]
    version: str


_CHANGES = {"ADDED": Change.APPLY, "MODIFIED": Change.APPLY, "DELETED": Change.DELETE, "BOOKMARK": Change.BOOKMARK}


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines without their ends; a last line without an end was cut off and is dropped.

    Raises:
        ServerError: a line is longer than `MAX_LINE`.
    """
    parts: list[bytes] = []
    length = 0
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join((*parts, line))
            parts, length = [], 0
        parts.append(rest)
        length += len(rest)
        if length > MAX_LINE:
            raise ServerError(f"a watch event is longer than {MAX_LINE} bytes")


def watch_event(line: bytes) -> WatchEvent | None:
    """Return the event of a line, None for a type that is not known.

    Raises:
        ExpiredError: the server ends the watch because its resource version is too old.
        ServerError: the server reports another error, or the line is no event.
    """
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ServerError(f"a watch event is not JSON: {error}") from None
    subject = event.get("object") if isinstance(event, dict) else None
    if not isinstance(subject, dict):
        raise ServerError("a watch event has no object")
    if event.get("type") == "ERROR":
        code = subject.get("code")
        raise failure(code if isinstance(code, int) else 500, line)
    change = _CHANGES.get(str(event.get("type")))
    metadata = subject.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or not version:
        raise ServerError("a watch event has no resourceVersion")
    return None if change is None else WatchEvent(change, subject, version)
