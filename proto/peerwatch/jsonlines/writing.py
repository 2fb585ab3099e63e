"""Columns into lines."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from peerwatch import addresses
from peerwatch.capabilities import capability_names
from peerwatch.columns import (
    ARGS_TRUNCATED,
    NOT_RECORDED,
    ConnectResult,
    EventColumns,
    EventKind,
    Peer,
    Processes,
    ProcessFlag,
    Protocol,
    columns_of,
)
from peerwatch.subjects import Subject, Workload
from peerwatch.times import format_duration, format_time

__all__ = ["write"]

Object = dict[str, Any]


def write(table: EventColumns) -> Iterator[bytes]:
    """Yield one line, with its end, per event in the table's order."""
    if not len(table):
        return
    subjects = [orjson.dumps(_subject(subject))[1:-1] for subject in table.subjects]
    processes = _processes(table)
    deeds = {int(kind): _deeds(table, kind) for kind in EventKind}
    for time, kind, subject, process in zip(
        table.time.tolist(), table.kind.tolist(), table.subject.tolist(), table.process.tolist(), strict=True
    ):
        parts = [b'"time":"%b"' % format_time(time).encode()]
        if subjects[subject]:
            parts.append(subjects[subject])
        if kind != EventKind.LOSS:
            parts.append(processes[process])
        parts.append(next(deeds[kind]))
        yield b"{%b}\n" % b",".join(parts)


def _filled(values: Object) -> Object:
    """Leave out what proto3 JSON leaves out: fields with their default."""
    return {name: value for name, value in values.items() if value}


def _time(time: int) -> str:
    return format_time(time) if time else ""


def _workload(workload: Workload) -> Object:
    return _filled({"kind": workload.kind, "name": workload.name})


def _peer(peer: Peer) -> Object:
    return _filled({"namespace": peer.namespace, "workload": _workload(peer.workload)})


def _subject(subject: Subject) -> Object:
    pod, container = subject.pod, subject.container
    return _filled(
        {
            "cluster": subject.cluster,
            "node": subject.node,
            "pod": _filled(
                {
                    "namespace": pod.namespace,
                    "name": pod.name,
                    "uid": pod.uid,
                    "ip": pod.ip,
                    "workload": _workload(pod.workload),
                    "revision": pod.revision,
                    "createdAt": _time(pod.created_at),
                    "serviceAccount": pod.service_account,
                    "labels": dict(pod.labels),
                    "annotations": dict(pod.annotations),
                }
            ),
            "container": _filled(
                {
                    "name": container.name,
                    "kind": container.kind.name if container.kind else "",
                    "id": container.id,
                    "image": container.image,
                    "imageDigest": container.image_digest,
                    "startedAt": _time(container.started_at),
                }
            ),
        }
    )


def _processes(table: EventColumns) -> dict[int, bytes]:
    """Return the field of each process that an event refers to."""
    used = np.unique(table.process[table.kind != EventKind.LOSS])
    strings, columns = table.strings, table.processes.take(used)
    lists = {index: table.string_list(index) for index in {*columns.args.tolist(), *columns.ancestors.tolist()}}
    ids = {index: _ancestor_ids(table, index) for index in set(columns.ancestor_ids.tolist())}
    fields = {}
    names = [column.name for column in columns_of(Processes)]
    for number, *values in zip(used.tolist(), *(getattr(columns, name).tolist() for name in names), strict=True):
        row = dict(zip(names, values, strict=True))
        process = _filled(
            {
                "pid": row["pid"],
                "startTime": _time(row["start_time"]),
                "exe": strings[row["exe"]],
                "script": strings[row["script"]],
                "args": lists[row["args"]],
                "cwd": strings[row["cwd"]],
                "uid": row["uid"],
                "gid": row["gid"],
                "capabilities": "" if row["capabilities"] == NOT_RECORDED else f"{row['capabilities']:016x}",
                "gainedCapabilities": capability_names(row["gained_capabilities"]),
                "parent": _filled(
                    {
                        "pid": row["parent_pid"],
                        "exe": strings[row["parent_exe"]],
                        "startTime": _time(row["parent_start_time"]),
                    }
                ),
                "ancestors": lists[row["ancestors"]],
                "ancestorIds": ids[row["ancestor_ids"]],
                "flags": _flags(row["flags"]),
                "argsTruncated": bool(row["flags"] & int(ARGS_TRUNCATED)),
            }
        )
        # Written where they differ, 0 too: root's rights are what one wants to see.
        if row["effective_uid"] != row["uid"]:
            process["effectiveUid"] = row["effective_uid"]
        if row["effective_gid"] != row["gid"]:
            process["effectiveGid"] = row["effective_gid"]
        fields[number] = orjson.dumps({"process": process})[1:-1]
    return fields


@lru_cache(maxsize=1024)
def _flags(flags: int) -> list[str]:
    return [flag.name for flag in ProcessFlag if flags >> flag & 1]


def _ancestor_ids(table: EventColumns, index: int) -> list[Object]:
    ids = table.ancestor_id_list(index)
    return [_filled({"pid": pid, "startTime": _time(start_time)}) for pid, start_time in ids]


_address = lru_cache(maxsize=4096)(addresses.address_text)  # once per address, not once per event
_PROTOCOLS = ["" if not each else each.name for each in Protocol]
_RESULTS = ["" if not each else each.name for each in ConnectResult]


def _deeds(table: EventColumns, kind: EventKind) -> Iterator[bytes]:
    """Yield the field that names the kind and says what is special to it, for each event of that kind."""
    part, times = table.part(kind), table.time[table.rows_of(kind)].tolist()
    word = kind.name.lower()
    plain = b'"%b":{}' % word.encode()
    fields: dict[str, Iterable[object]] = {}
    for column in columns_of(type(part)):
        array = getattr(part, column.name)
        values = array.tolist() if column.width == 1 else list(map(bytes, array))
        if column.name == "last_time":
            values = [0 if last == time else last for last, time in zip(values, times, strict=True)]
        elif column.name == "count" and kind in _PLAIN_WHEN_ONE:
            values = [0 if count == 1 else count for count in values]
        name, convert = _FIELDS.get(column.name, (column.name, _as_it_is))
        fields[name] = convert(table, values)
    names = list(fields)
    for row in zip(*fields.values(), strict=True):
        deed = {name: value for name, value in zip(names, row, strict=True) if value}
        yield orjson.dumps({word: deed})[1:-1] if deed else plain


_PLAIN_WHEN_ONE = {EventKind.EXEC, EventKind.EXIT, EventKind.ACCEPT}
"""Kinds that say no count of 1: execs have been written so from the beginning, connects have not."""

_address = lru_cache(maxsize=4096)(addresses.address_text)  # once per address, not once per event
_ENUMS = {each: [member.name if member else "" for member in each] for each in (Protocol, ConnectResult)}


def _as_it_is(_: EventColumns, values: list[Any]) -> Iterable[object]:
    return values


def _times(_: EventColumns, values: list[int]) -> Iterable[object]:
    return map(_time, values)


_FIELDS: dict[str, tuple[str, Callable[[EventColumns, list[Any]], Iterable[object]]]] = {
    "protocol": ("protocol", lambda _, values: map(_ENUMS[Protocol].__getitem__, values)),
    "result": ("result", lambda _, values: map(_ENUMS[ConnectResult].__getitem__, values)),
    "address": ("address", lambda _, values: map(_address, values)),
    "peer": ("peer", lambda table, values: map([None, *map(_peer, table.peers)].__getitem__, values)),
    "reason": ("reason", lambda table, values: map(table.strings.__getitem__, values)),
    "lifetime": ("lifetime", lambda _, values: (format_duration(each) if each else "" for each in values)),
    "last_time": ("lastTime", _times),
    "begin": ("from", _times),
    "end": ("to", _times),
}
"""Column → name of the field and what makes JSON of its values; what is false is left out."""
