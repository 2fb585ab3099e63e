"""Events as JSON Lines, the form in which recordings, imports and exports speak (proto3 JSON of `Event`).

`read` turns lines into columns; what it accepts is what proto3 JSON accepts, plus fields and event kinds it does not know,
which it leaves out. `write` turns columns into lines. Both cost a few microseconds an event: what repeats (subjects, processes,
whole seconds) is worked out once.
"""

import datetime
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import orjson

from peerwatch.addresses import address_text, pack_address
from peerwatch.columns import (
    ARGS_TRUNCATED,
    NANOSECONDS,
    ColumnsBuilder,
    ConnectResult,
    EventColumns,
    EventKind,
    Peer,
    ProcessFlag,
    Protocol,
)
from peerwatch.subjects import NOBODY, Container, ContainerKind, Pod, Subject, Workload

__all__ = ["MAX_LINE", "BadLineError", "Reader", "format_time", "lines", "parse_time", "read", "write"]

ROWS_PER_TABLE = 16_384
"""How many events `read` puts into one table: large enough for column work, small enough to keep memory flat."""

MAX_LINE = 1 << 20
"""Longest line that is read, bytes: 4 KiB of arguments and a pod's labels stay far below."""

MAX_DIGITS = 20
"""Digits of the largest 64-bit number: Python refuses to convert thousands, and none is meant."""

MOST_NS = 2**63 - 1
"""Times are 64-bit nanoseconds since 1970: from 1677 to 2262."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BadLineError(ValueError):
    """A line is no event. The text says what is wrong; `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        """Say which line and why."""
        super().__init__(f"line {line}: {why}")
        self.line = line


class _Wrong(ValueError):  # noqa: N818 — carries a sentence from a field to its line, never leaves this module
    pass


def _text(holder: dict[str, Any], name: str) -> str:
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Wrong(f"{name} must be a string")
    return value


def _integer(holder: dict[str, Any], name: str, most: int = 2**32 - 1) -> int:
    value = holder.get(name)
    if value is None:
        return 0
    if (
        isinstance(value, str) and len(value) <= MAX_DIGITS and value.isascii() and value.isdigit()
    ):  # proto3 JSON takes numbers as strings
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _Wrong(f"{name} must be a whole number from 0 to {most}")
    return value


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Wrong(f"{name} must be an object")
    return value


def _texts(holder: dict[str, Any], name: str) -> tuple[str, ...]:
    value = holder.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _Wrong(f"{name} must be a list of strings")
    return tuple(value)


def _pairs(holder: dict[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    value = _object(holder, name)
    if not all(isinstance(each, str) for each in value.values()):
        raise _Wrong(f"{name} must map strings to strings")
    return tuple(sorted(value.items()))


_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)


def parse_time(text: str) -> int:
    """Return nanoseconds since 1970 of an RFC 3339 time.

    Raises:
        ValueError: it is not one.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise _no_time(text)
    try:
        whole = datetime.datetime.strptime(match[1].upper(), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.UTC)
    except ValueError:  # a 13th month
        raise _no_time(text) from None
    seconds = (whole - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(seconds=1)
    if match[3]:
        offset = int(match[4]) * 3600 + int(match[5]) * 60
        seconds -= offset if match[3] == "+" else -offset
    return seconds * NANOSECONDS + int((match[2] or "").ljust(9, "0"))


def _no_time(text: str) -> ValueError:
    return ValueError(f"not an RFC 3339 time: {text[:64]!r}")


@functools.lru_cache(maxsize=1024)  # events come in order: a second is asked for again and again
def _format_second(seconds: int) -> str:
    return str(np.datetime_as_string(np.datetime64(seconds, "s")))


def format_time(time: int) -> str:
    """Return the RFC 3339 form, UTC, of nanoseconds since 1970; digits as proto3 JSON writes them (0, 3, 6 or 9)."""
    seconds, nanoseconds = divmod(time, NANOSECONDS)
    whole = _format_second(seconds)
    if not nanoseconds:
        return f"{whole}Z"
    digits = f"{nanoseconds:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{whole}.{digits}Z"


def _enum(holder: dict[str, Any], name: str, values: type[Protocol] | type[ConnectResult] | type[ContainerKind]) -> int:
    value = holder.get(name)
    if isinstance(value, str):
        member = values.__members__.get(value)
        return int(member) if member is not None else 0  # a newer writer's value
    number = _integer(holder, name)
    return number if number < len(values) else 0


def _pod(value: dict[str, Any], time: Callable[[dict[str, Any], str], int]) -> Pod:
    workload = _object(value, "workload")
    return Pod(
        namespace=_text(value, "namespace"),
        name=_text(value, "name"),
        uid=_text(value, "uid"),
        ip=_text(value, "ip"),
        workload=Workload(_text(workload, "kind"), _text(workload, "name")),
        revision=_text(value, "revision"),
        created_at=time(value, "createdAt"),
        service_account=_text(value, "serviceAccount"),
        labels=_pairs(value, "labels"),
        annotations=_pairs(value, "annotations"),
    )


def _container(value: dict[str, Any], time: Callable[[dict[str, Any], str], int]) -> Container:
    return Container(
        name=_text(value, "name"),
        kind=ContainerKind(_enum(value, "kind", ContainerKind)),
        id=_text(value, "id"),
        image=_text(value, "image"),
        image_digest=_text(value, "imageDigest"),
        started_at=time(value, "startedAt"),
    )


@dataclass(slots=True)
class Reader:
    """Reads lines into tables; `unknown` counts lines whose kind of event it does not know, `bad` those it skipped."""

    skip_bad_lines: bool = False
    unknown: int = 0
    bad: int = 0
    lines: int = 0

    def read(self, lines: Iterable[bytes]) -> Iterator[EventColumns]:
        """Yield tables of up to `ROWS_PER_TABLE` events in the order of the lines. Empty lines are passed over.

        Raises:
            BadLineError: a line is no event, and bad lines are not to be skipped.
        """
        table = _Table()
        for line in lines:
            self.lines += 1
            if self.lines == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)  # noqa: PLW2901 — some editors and shells begin files with it
            if not line or line.isspace():
                continue
            try:
                if not table.add(line):
                    self.unknown += 1
            except _Wrong as wrong:
                if not self.skip_bad_lines:
                    raise BadLineError(self.lines, str(wrong)) from None
                self.bad += 1
            if len(table.builder) >= ROWS_PER_TABLE:
                yield table.builder.build()
                table = _Table()
        if len(table.builder):
            yield table.builder.build()


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file, of one that is too long only its beginning: no more of it is ever held in memory."""
    while line := file.readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE + 1)


def read(lines: Iterable[bytes]) -> Iterator[EventColumns]:
    """Yield tables of the lines' events; see `Reader` for counters and for skipping bad lines."""
    return Reader().read(lines)


class _Table:
    """The table under construction, with what was worked out before for equal parts of lines."""

    def __init__(self) -> None:
        self.builder = ColumnsBuilder()
        self._seconds: dict[str, int] = {}
        self._subjects: dict[tuple[object, ...], tuple[dict[str, Any], dict[str, Any], int]] = {}
        self._processes: dict[tuple[object, object], tuple[dict[str, Any], int]] = {}
        self._addresses: dict[str, bytes] = {}
        self._peers: dict[tuple[object, ...], int] = {}

    def time(self, holder: dict[str, Any], name: str) -> int:
        text = holder.get(name)
        if text is None:
            return 0
        if not isinstance(text, str):
            raise _Wrong(f"{name} must be an RFC 3339 time")
        # "2026-11-21T10:00:00" is worked out once a second; what follows is a point, digits and Z.
        second, rest = text[:19], text[19:]
        known = self._seconds.get(second)
        if known is not None and rest[-1:] == "Z":
            digits = rest[1:-1]
            if not digits and rest == "Z":
                return known
            if rest[0] == "." and len(digits) <= 9 and digits.isascii() and digits.isdigit():
                return known + int(digits.ljust(9, "0"))
        try:
            time = parse_time(text)
        except ValueError as error:
            raise _Wrong(f"{name}: {error}") from None
        if not -MOST_NS <= time <= MOST_NS:
            if name == "time":
                raise _Wrong(f"time: {text[:64]!r} is before 1678 or after 2261")
            return 0  # year 1 is how some programs write that they do not know
        if rest[-1:] == "Z":
            self._seconds[second] = time // NANOSECONDS * NANOSECONDS
        return time

    def add(self, line: bytes) -> bool:
        """Add the event of one line; return false when its kind is unknown."""
        if len(line) > MAX_LINE:
            raise _Wrong(f"longer than {MAX_LINE} bytes")
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise _Wrong(f"not JSON: {error}") from None
        if not isinstance(event, dict):
            raise _Wrong("an event must be a JSON object")
        if event.get("time") is None:
            raise _Wrong("an event needs a time")
        time = self.time(event, "time")
        # In proto3 JSON null says that a field is not set.
        if event.get("exec") is not None:
            _object(event, "exec")
            self.builder.exec(time, self.subject(event), self.process(event))
        elif event.get("connect") is not None:
            self.connect(time, event, _object(event, "connect"))
        elif event.get("loss") is not None:
            loss = _object(event, "loss")
            self.builder.loss(
                time,
                self.subject(event),
                reason=_text(loss, "reason"),
                count=_integer(loss, "count"),
                begin=self.time(loss, "from"),
                end=self.time(loss, "to"),
            )
        elif any(name not in _KNOWN and isinstance(value, dict) for name, value in event.items()):
            return False
        else:
            raise _Wrong("an event needs a kind: exec, connect or loss")
        return True

    def subject(self, event: dict[str, Any]) -> int:
        pod, container = _object(event, "pod"), _object(event, "container")
        cluster, node = _text(event, "cluster"), _text(event, "node")
        key = (cluster, node, _text(pod, "uid"), _text(container, "id"))
        known = self._subjects.get(key)
        if known is not None and known[0] == pod and known[1] == container:
            return known[2]
        subject = Subject(cluster, node, _pod(pod, self.time), _container(container, self.time))
        index = self.builder.subject(NOBODY if subject == NOBODY else subject)
        self._subjects[key] = pod, container, index
        return index

    def process(self, event: dict[str, Any]) -> int:
        process = _object(event, "process")
        pid, start = process.get("pid"), process.get("startTime")
        if not isinstance(start, str | None) or not isinstance(pid, int | str | None):
            raise _Wrong("process.pid must be a number and process.startTime a time")
        known = self._processes.get((pid, start))
        if known is not None and known[0] == process:
            return known[1]
        parent = _object(process, "parent")
        flags = 0
        named = process.get("flags") or []
        if not isinstance(named, list):
            raise _Wrong("flags must be a list")
        for flag in named:
            member = ProcessFlag.__members__.get(flag) if isinstance(flag, str) else None
            flags |= 1 << member if member is not None else 0
        if process.get("argsTruncated"):
            flags |= int(ARGS_TRUNCATED)
        index = self.builder.process(
            pid=_integer(process, "pid"),
            start_time=self.time(process, "startTime"),
            exe=_text(process, "exe"),
            args=_texts(process, "args"),
            cwd=_text(process, "cwd"),
            uid=_integer(process, "uid"),
            parent_pid=_integer(parent, "pid"),
            parent_start_time=self.time(parent, "startTime"),
            parent_exe=_text(parent, "exe"),
            ancestors=_texts(process, "ancestors"),
            flags=flags,
        )
        self._processes[pid, start] = process, index
        return index

    def connect(self, time: int, event: dict[str, Any], connect: dict[str, Any]) -> None:
        address = _text(connect, "address")
        packed = self._addresses.get(address)
        if packed is None:
            try:
                packed = self._addresses[address] = pack_address(address)
            except ValueError:
                raise _Wrong(f"connect.address is no IP address: {address[:64]!r}") from None
        self.builder.connect(
            time,
            self.subject(event),
            self.process(event),
            protocol=_enum(connect, "protocol", Protocol),
            address=packed,
            port=_integer(connect, "port", 65_535),
            result=_enum(connect, "result", ConnectResult),
            count=_integer(connect, "count") or 1,
            last_time=self.time(connect, "lastTime"),
            peer=self.peer(connect),
        )

    def peer(self, connect: dict[str, Any]) -> int:
        peer = _object(connect, "peer")
        if not peer:
            return 0
        workload = _object(peer, "workload")
        key = (_text(peer, "namespace"), _text(workload, "kind"), _text(workload, "name"))
        known = self._peers.get(key)
        if known is None:
            known = self._peers[key] = self.builder.peer(Peer(key[0], Workload(key[1], key[2])))
        return known


_KNOWN = {"time", "cluster", "node", "pod", "container", "process"}


def write(table: EventColumns) -> Iterator[bytes]:
    """Yield one line, with its end, per event in the table's order."""
    if not len(table):
        return
    subjects = [_members(_subject_json(subject)) for subject in table.subjects]
    used = np.unique(table.process[table.kind != EventKind.LOSS])
    processes = {int(row): orjson.dumps({"process": _process_json(table, int(row))})[1:-1] for row in used}
    peers = [b""] + [orjson.dumps({"peer": _peer_json(peer)})[1:-1] for peer in table.peers]
    addresses: dict[bytes, str] = {}
    connect = loss = 0
    for time, kind, subject, process in zip(
        table.time.tolist(), table.kind.tolist(), table.subject.tolist(), table.process.tolist(), strict=True
    ):
        parts = [b'"time":"%b"' % format_time(time).encode()]
        if subjects[subject]:
            parts.append(subjects[subject])
        if kind == EventKind.EXEC:
            parts += [processes[process], b'"exec":{}']
        elif kind == EventKind.CONNECT:
            parts += [processes[process], b'"connect":' + _connect_json(table, connect, time, peers, addresses)]
            connect += 1
        else:
            parts.append(orjson.dumps({"loss": _loss_json(table, loss)})[1:-1])
            loss += 1
        yield b"{%b}\n" % b",".join(parts)


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what proto3 JSON leaves out: fields with their default."""
    return {name: value for name, value in values.items() if value}


def _members(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value)[1:-1]


def _time_json(time: int) -> str:
    return format_time(time) if time else ""


def _workload_json(workload: Workload) -> dict[str, Any]:
    return _filled({"kind": workload.kind, "name": workload.name})


def _peer_json(peer: Peer) -> dict[str, Any]:
    return _filled({"namespace": peer.namespace, "workload": _workload_json(peer.workload)})


def _subject_json(subject: Subject) -> dict[str, Any]:
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
                    "workload": _workload_json(pod.workload),
                    "revision": pod.revision,
                    "createdAt": _time_json(pod.created_at),
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
                    "startedAt": _time_json(container.started_at),
                }
            ),
        }
    )


def _process_json(table: EventColumns, row: int) -> dict[str, Any]:
    columns = table.processes
    flags = int(columns.flags[row])
    return _filled(
        {
            "pid": int(columns.pid[row]),
            "startTime": _time_json(int(columns.start_time[row])),
            "exe": table.strings[columns.exe[row]],
            "args": table.string_list(int(columns.args[row])),
            "cwd": table.strings[columns.cwd[row]],
            "uid": int(columns.uid[row]),
            "parent": _filled(
                {
                    "pid": int(columns.parent_pid[row]),
                    "exe": table.strings[columns.parent_exe[row]],
                    "startTime": _time_json(int(columns.parent_start_time[row])),
                }
            ),
            "ancestors": table.string_list(int(columns.ancestors[row])),
            "flags": [flag.name for flag in ProcessFlag if flags >> flag & 1],
            "argsTruncated": bool(flags & int(ARGS_TRUNCATED)),
        }
    )


def _connect_json(table: EventColumns, row: int, time: int, peers: list[bytes], addresses: dict[bytes, str]) -> bytes:
    columns = table.connects
    packed = columns.address[row].tobytes()
    address = addresses.get(packed)
    if address is None:
        address = addresses[packed] = address_text(packed)
    last = int(columns.last_time[row])
    fixed = _members(
        _filled(
            {
                "protocol": Protocol(columns.protocol[row]).name if columns.protocol[row] else "",
                "address": address,
                "port": int(columns.port[row]),
                "result": ConnectResult(columns.result[row]).name if columns.result[row] else "",
                "count": int(columns.count[row]),
                "lastTime": format_time(last) if last != time else "",
            }
        )
    )
    return b"{%b}" % b",".join(filter(None, (fixed, peers[columns.peer[row]])))


def _loss_json(table: EventColumns, row: int) -> dict[str, Any]:
    columns = table.losses
    return _filled(
        {
            "reason": table.strings[columns.reason[row]],
            "count": int(columns.count[row]),
            "from": _time_json(int(columns.begin[row])),
            "to": _time_json(int(columns.end[row])),
        }
    )
