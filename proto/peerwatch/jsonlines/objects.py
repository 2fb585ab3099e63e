"""The JSON objects of a line as values: whose an event is, which process did it and what it did.

Knows nothing of tables: texts are texts here, and a peer is a peer.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from peerwatch.addresses import pack_address
from peerwatch.capabilities import capability_mask
from peerwatch.columns import ARGS_TRUNCATED, NOT_RECORDED, ConnectResult, EventKind, Peer, ProcessFlag, Protocol
from peerwatch.jsonlines.fields import MOST_PORT, WrongError, duration, integer, items, mapping, number_of, pairs, text, texts
from peerwatch.jsonlines.moments import Moments
from peerwatch.subjects import NOBODY, Container, ContainerKind, Pod, Subject, Workload

__all__ = ["KINDS", "KNOWN", "WHOSE", "ancestor_ids", "deed_of", "loss_of", "process_of", "subject_of"]

Object = dict[str, Any]

KINDS = {each.name.lower(): each for each in EventKind if each is not EventKind.LOSS}
"""Kinds of event by their names, loss apart. A line that has several, which none should, is the first of them."""

WHOSE = {"cluster", "node", "pod", "container"}
KNOWN = {"time", "process", *WHOSE}


def subject_of(holder: Object, moments: Moments) -> Subject:
    """Return whose an event is."""
    pod, container = mapping(holder, "pod"), mapping(holder, "container")
    workload = mapping(pod, "workload")
    subject = Subject(
        text(holder, "cluster"),
        text(holder, "node"),
        Pod(
            namespace=text(pod, "namespace"),
            name=text(pod, "name"),
            uid=text(pod, "uid"),
            ip=text(pod, "ip"),
            workload=Workload(text(workload, "kind"), text(workload, "name")),
            revision=text(pod, "revision"),
            created_at=moments.field(pod, "createdAt"),
            service_account=text(pod, "serviceAccount"),
            labels=pairs(pod, "labels"),
            annotations=pairs(pod, "annotations"),
        ),
        Container(
            name=text(container, "name"),
            kind=ContainerKind(number_of(container, "kind", ContainerKind)),
            id=text(container, "id"),
            image=text(container, "image"),
            image_digest=text(container, "imageDigest"),
            started_at=moments.field(container, "startedAt"),
        ),
    )
    return NOBODY if subject == NOBODY else subject


def process_of(process: Object, moments: Moments) -> Object:
    """Return a process image, as the builder takes it."""
    values: Object = {"pid": 0, "flags": 0}
    for name in process:
        field = _PROCESS_FIELDS.get(name)
        if field is not None:
            values[field[0]] = field[1](process, name)
    if "parent" in process:
        parent = mapping(process, "parent")
        values["parent_pid"] = integer(parent, "pid")
        values["parent_exe"] = text(parent, "exe")
        values["parent_start_time"] = moments.field(parent, "startTime")
    if process.get("argsTruncated"):
        values["flags"] |= int(ARGS_TRUNCATED)
    values["start_time"] = moments.field(process, "startTime")
    values["ancestor_ids"] = ancestor_ids(items(process, "ancestorIds"), moments)
    return values


def ancestor_ids(ids: list[Any], moments: Moments) -> tuple[tuple[int, int], ...]:
    """Return pid and start time of each ancestor."""
    if not all(isinstance(each, dict) for each in ids):
        raise WrongError("ancestorIds must be a list of objects")
    return tuple((integer(each, "pid"), moments.field(each, "startTime")) for each in ids)


def deed_of(kind: EventKind, deed: Object, moments: Moments) -> Object:
    """Return what is special to an event that is no loss, by the names of its part's columns."""
    values: Object = {}
    if kind in _SOCKETS:
        values["protocol"] = number_of(deed, "protocol", Protocol)
        values["address"] = _address(kind, deed)
        values["port"] = integer(deed, "port", MOST_PORT)
    if kind is not EventKind.LISTEN:
        values["count"] = integer(deed, "count") or 1
        values["last_time"] = moments.field(deed, "lastTime")
    if kind in _WITH_PEER:
        values["peer"] = _peer(deed)
    if kind is EventKind.CONNECT:
        values["result"] = number_of(deed, "result", ConnectResult)
    elif kind is EventKind.EXIT:
        values["code"] = integer(deed, "code")
        values["signal"] = integer(deed, "signal")
        values["lifetime"] = duration(deed, "lifetime")
    return values


def loss_of(loss: Object, moments: Moments) -> Object:
    """Return what is special to a loss."""
    return {
        "reason": text(loss, "reason"),
        "count": integer(loss, "count"),
        "begin": moments.field(loss, "from"),
        "end": moments.field(loss, "to"),
    }


_SOCKETS = {EventKind.CONNECT, EventKind.LISTEN, EventKind.ACCEPT}
_WITH_PEER = {EventKind.CONNECT, EventKind.ACCEPT}


def _peer(deed: Object) -> Peer | None:
    peer = mapping(deed, "peer")
    workload = mapping(peer, "workload")
    return Peer(text(peer, "namespace"), Workload(text(workload, "kind"), text(workload, "name"))) if peer else None


def _optional(holder: Object, name: str) -> int | None:
    return None if holder.get(name) is None else integer(holder, name)


def _capabilities(process: Object, name: str) -> int:
    digits = text(process, name)
    if not digits:
        return NOT_RECORDED
    if _HEXADECIMAL.fullmatch(digits) is None:
        raise WrongError(f"{name} must be up to 16 hexadecimal digits")
    return int(digits, 16)


_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{1,16}")


def _flags(process: Object, name: str) -> int:
    flags = 0
    for flag in items(process, name):
        member = ProcessFlag.__members__.get(flag) if isinstance(flag, str) else None
        flags |= 1 << member if member is not None else 0
    return flags


_PROCESS_FIELDS: dict[str, tuple[str, Callable[[Object, str], object]]] = {
    "pid": ("pid", integer),
    "exe": ("exe", text),
    "args": ("args", texts),
    "cwd": ("cwd", text),
    "uid": ("uid", integer),
    "gid": ("gid", integer),
    "effectiveUid": ("effective_uid", _optional),
    "effectiveGid": ("effective_gid", _optional),
    "capabilities": ("capabilities", _capabilities),
    "gainedCapabilities": ("gained_capabilities", lambda process, name: capability_mask(texts(process, name))),
    "script": ("script", text),
    "ancestors": ("ancestors", texts),
    "flags": ("flags", _flags),
}
"""Field → what the builder calls it, and what reads it. Fields with times are read where times are known."""


@lru_cache(maxsize=4096)
def _packed(address: str) -> bytes:
    return pack_address(address)


def _address(kind: EventKind, deed: Object) -> bytes:
    address = text(deed, "address")
    try:
        return _packed(address)
    except ValueError:
        raise WrongError(f"{kind.name.lower()}.address is no IP address: {address[:64]!r}") from None
