"""One line after the other into a table under construction."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from peerwatch.addresses import pack_address
from peerwatch.capabilities import capability_mask
from peerwatch.columns import (
    ARGS_TRUNCATED,
    NANOSECONDS,
    NOT_RECORDED,
    ColumnsBuilder,
    ConnectResult,
    Peer,
    ProcessFlag,
    Protocol,
)
from peerwatch.jsonlines.fields import WrongError, duration, integer, items, mapping, number_of, pairs, text, texts
from peerwatch.jsonlines.times import MOST_NS, parse_time
from peerwatch.subjects import NOBODY, Container, ContainerKind, Pod, Subject, Workload

__all__ = ["MAX_LINE", "LineTable", "Remembered"]

MAX_LINE = 1 << 20
"""Longest line that is read, bytes: 4 KiB of arguments and a pod's labels stay far below."""

MOST_REMEMBERED = 1 << 24
"""Bytes of subjects that are remembered from table to table: those of 20,000 containers."""

MOST_SECONDS = 65_536
"""Seconds that are: start times of processes are among them."""

Object = dict[str, Any]


class Remembered:
    """What was worked out before for equal parts of lines and holds for all tables, within bounds."""

    def __init__(self) -> None:
        self.seconds: dict[str, int] = {}
        self.instants: dict[bytes, int] = {}
        """The same, before they are text."""
        self.subjects: dict[bytes, Subject] = {}
        self._bytes = 0

    def subject(self, part: bytes, subject: Subject) -> None:
        """Remember whose events have this part in their lines."""
        self._bytes += len(part)
        if self._bytes > MOST_REMEMBERED:
            self.subjects, self._bytes = {}, len(part)
        self.subjects[part] = subject

    def second(self, text: str, time: int) -> None:
        """Remember when a second begins."""
        if len(self.seconds) > MOST_SECONDS:
            self.seconds.clear()
            self.instants.clear()
        self.seconds[text] = self.instants[text.encode()] = time


class LineTable:
    """The table under construction, with what was worked out before for equal parts of lines."""

    def __init__(self, remembered: Remembered | None = None) -> None:
        self.builder = ColumnsBuilder()
        self._remembered = remembered or Remembered()
        self._seconds, self._instants = self._remembered.seconds, self._remembered.instants
        self._subjects: dict[bytes, int] = {}
        self._processes: dict[bytes, int] = {}
        self._deeds: dict[tuple[bytes, bytes, bytes], tuple[Callable[..., None], Object]] = {}

    def add(self, line: bytes) -> bool:
        """Add the event of one line; return false when its kind is unknown."""
        if len(line) > MAX_LINE:
            raise WrongError(f"longer than {MAX_LINE} bytes")
        return self._add_plain(line) or self._add_any(line)

    def _add_plain(self, line: bytes) -> bool:
        """Add the event of a line that looks like one of ours; return false when it does not, whatever else it may be.

        Such a line is cut into time, subject, process and deed without being parsed, and parts seen before are known by their
        bytes. Nothing is guessed by that: each part must be JSON by itself with the names that belong there, and then the line
        says what its parts say.
        """
        time_end = line.find(b'"', len(_TIME))
        process = line.find(_PROCESS, time_end)
        deed = _DEED.search(line, process)
        if deed is None or not 0 < time_end < process or not line.startswith(_TIME):
            return False
        part = line[deed.end() :]
        varies = _VARIES.search(part)
        # All that is said of most deeds but how often and until when is said again and again.
        same = (deed[1], part, b"") if varies is None else (deed[1], part[: varies.start()], part[varies.end() :])
        whose, image = line[time_end + 1 : process], line[process + len(_PROCESS) - 1 : deed.start() + 1]
        try:
            time = self._plain_moment(line[len(_TIME) : time_end], "time")
            subject = self._subjects.get(whose)
            if subject is None:
                subject = self._plain_subject(whose)
            actor = self._processes.get(image)
            if actor is None:
                actor = self._processes[image] = self._new_process(orjson.loads(image))
            add, values = self._deeds.get(same) or self._plain_deed(same)
            if varies is None:
                add(self.builder, time, subject, actor, **values)
            else:
                count, last = varies.groups()
                last_time = self._plain_moment(last, "lastTime") if last else 0
                add(self.builder, time, subject, actor, count=int(count), last_time=last_time, **values)
        except (orjson.JSONDecodeError, UnicodeDecodeError, LookupError):
            return False
        return True

    def _add_any(self, line: bytes) -> bool:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise WrongError(f"not JSON: {error}") from None
        if not isinstance(event, dict):
            raise WrongError("an event must be a JSON object")
        if event.get("time") is None:
            raise WrongError("an event needs a time")
        time = self.time(event, "time")
        # In proto3 JSON null says that a field is not set.
        kind = next((kind for kind in (*_KINDS, "loss") if event.get(kind) is not None), None)
        if kind == "loss":
            self.builder.loss(time, self._subject(event), **self._loss(mapping(event, kind)))
        elif kind is not None:
            values = self._deed(kind, mapping(event, kind))
            _KINDS[kind](self.builder, time, self._subject(event), self._process(event), **values)
        elif any(name not in _KNOWN and isinstance(value, dict) for name, value in event.items()):
            return False
        else:
            raise WrongError(f"an event needs a kind: {', '.join(_KINDS)} or loss")
        return True

    def _plain_deed(self, part: tuple[bytes, bytes, bytes]) -> tuple[Callable[..., None], Object]:
        """Return what adds an event of this kind, and what is special to this one; what varies stood between the two parts."""
        name, before, after = part
        if after:
            # It must have been two fields of the deed itself, neither of something in it nor of a string, and there once.
            if _FLAT.fullmatch(before) is None or _TWICE.search(before) or _TWICE.search(after):
                raise LookupError
            before += b'"count":1'
        holder = orjson.loads(b'{"%b":{%b%b' % (name, before, after))
        if len(holder) != 1:
            raise LookupError
        ((kind, deed),) = holder.items()
        values = self._deed(kind, deed)
        if after:
            if deed.get("count") != 1 or "count" not in values:  # of another deed behind it, or nothing that this kind has
                raise LookupError
            del values["count"], values["last_time"]
        known = self._deeds[part] = _KINDS[kind], values
        return known

    def _deed(self, kind: str, deed: Object) -> Object:
        """Return what is special to an event that is no loss, as the builder takes it."""
        values: Object = {}
        if kind in {"connect", "listen", "accept"}:
            values["protocol"] = number_of(deed, "protocol", Protocol)
            values["address"] = _address(kind, deed)
            values["port"] = integer(deed, "port", 65_535)
        if kind in {"exec", "connect", "exit", "accept"}:
            values["count"] = integer(deed, "count") or 1
            values["last_time"] = self.time(deed, "lastTime")
        if kind in {"connect", "accept"}:
            values["peer"] = self._peer(deed)
        if kind == "connect":
            values["result"] = number_of(deed, "result", ConnectResult)
        elif kind == "exit":
            values["code"] = integer(deed, "code")
            values["signal"] = integer(deed, "signal")
            values["lifetime"] = duration(deed, "lifetime")
        return values

    def _loss(self, loss: Object) -> Object:
        return {
            "reason": text(loss, "reason"),
            "count": integer(loss, "count"),
            "begin": self.time(loss, "from"),
            "end": self.time(loss, "to"),
        }

    def _peer(self, deed: Object) -> int:
        peer = mapping(deed, "peer")
        workload = mapping(peer, "workload")
        return self.builder.peer(
            Peer(text(peer, "namespace"), Workload(text(workload, "kind"), text(workload, "name"))) if peer else None
        )

    def _plain_subject(self, part: bytes) -> int:
        known = self._subjects.get(part)
        if known is None and part in self._remembered.subjects:
            known = self._subjects[part] = self.builder.subject(self._remembered.subjects[part])
        elif known is None:
            holder = orjson.loads(b"{%b}" % part[1:])
            if part[:1] not in {b"", b","} or not holder.keys() <= _WHOSE:
                raise LookupError
            subject = self._new_subject(holder)
            self._remembered.subject(part, subject)
            known = self._subjects[part] = self.builder.subject(subject)
        return known

    def _subject(self, event: Object) -> int:
        holder = {name: event[name] for name in _WHOSE if event.get(name) is not None}
        key = orjson.dumps(holder, option=orjson.OPT_SORT_KEYS)
        known = self._subjects.get(key)
        if known is None:
            known = self._subjects[key] = self.builder.subject(self._new_subject(holder))
        return known

    def _new_subject(self, holder: Object) -> Subject:
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
                created_at=self.time(pod, "createdAt"),
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
                started_at=self.time(container, "startedAt"),
            ),
        )
        return NOBODY if subject == NOBODY else subject

    def _process(self, event: Object) -> int:
        process = mapping(event, "process")
        key = orjson.dumps(process)
        known = self._processes.get(key)
        if known is None:
            known = self._processes[key] = self._new_process(process)
        return known

    def _new_process(self, process: Object) -> int:
        values: Object = {"pid": 0, "flags": 0}
        for name in process:
            field = _PROCESS_FIELDS.get(name)
            if field is not None:
                values[field[0]] = field[1](process, name)
        if "parent" in process:
            parent = mapping(process, "parent")
            values["parent_pid"] = integer(parent, "pid")
            values["parent_exe"] = text(parent, "exe")
            values["parent_start_time"] = self.time(parent, "startTime")
        if process.get("argsTruncated"):
            values["flags"] |= int(ARGS_TRUNCATED)
        return self.builder.process(
            start_time=self.time(process, "startTime"), ancestor_ids=self._ancestor_ids(process), **values
        )

    def _ancestor_ids(self, process: Object) -> tuple[tuple[int, int], ...]:
        ids = items(process, "ancestorIds")
        if not all(isinstance(each, dict) for each in ids):
            raise WrongError("ancestorIds must be a list of objects")
        return tuple((integer(each, "pid"), self.time(each, "startTime")) for each in ids)

    def time(self, holder: Object, name: str) -> int:
        """Return a field's time as nanoseconds since 1970, 0 where there is none."""
        moment = holder.get(name)
        if moment is None:
            return 0
        if not isinstance(moment, str):
            raise WrongError(f"{name} must be an RFC 3339 time")
        return self._moment(moment, name)

    def _plain_moment(self, moment: bytes, name: str) -> int:
        """Return the nanoseconds of a time as it stands between its quotes."""
        known, digits = self._instants.get(moment[:19]), moment[20:-1]
        if known is not None and moment[19:20] == b"." and moment[-1:] == b"Z" and len(digits) <= 9 and digits.isdigit():
            return known + int(digits) * _SCALE[len(digits)]
        text = moment.decode("ascii")
        if "\\" in text:
            raise LookupError
        return self._moment(text, name)

    def _moment(self, moment: str, name: str) -> int:
        # "2026-11-21T10:00:00" is worked out once a second; what follows is a point, digits and Z.
        second, rest = moment[:19], moment[19:]
        known = self._seconds.get(second)
        if known is not None and rest[-1:] == "Z":
            digits = rest[1:-1]
            if not digits and rest == "Z":
                return known
            if rest[0] == "." and len(digits) <= 9 and digits.isascii() and digits.isdigit():
                return known + int(digits.ljust(9, "0"))
        try:
            time = parse_time(moment)
        except ValueError as error:
            raise WrongError(f"{name}: {error}") from None
        if not -MOST_NS <= time <= MOST_NS:
            if name == "time":
                raise WrongError(f"time: {moment[:64]!r} is before 1678 or after 2261")
            return 0  # year 1 is how some programs write that they do not know
        if rest[-1:] == "Z":
            self._remembered.second(second, time // NANOSECONDS * NANOSECONDS)
        return time


_WHOSE = {"cluster", "node", "pod", "container"}
_KNOWN = {"time", "process", *_WHOSE}
_KINDS: dict[str, Callable[..., None]] = {
    "exec": ColumnsBuilder.exec,
    "connect": ColumnsBuilder.connect,
    "exit": ColumnsBuilder.exit,
    "listen": ColumnsBuilder.listen,
    "accept": ColumnsBuilder.accept,
}
"""Kinds of event by their names, loss apart. A line that has several, which none should, is the first of them."""

_TIME, _PROCESS = b'{"time":"', b',"process":{'
_DEED = re.compile(rb'\},"(%b)":\{' % b"|".join(kind.encode() for kind in _KINDS))
"""Where the process ends and the deed begins."""
_VARIES = re.compile(rb'"count":([1-9][0-9]{0,8})(?:,"lastTime":"([^"\\]{20,35})")?(?=[,}])')
_FLAT = re.compile(rb'(?:"[A-Za-z]+":(?:"[ !#-\[\]-~]*"|0|[1-9][0-9]*),)*')
"""Fields of strings and numbers, complete and followed by another."""
_TWICE = re.compile(rb'\\|"count"|"lastTime"')


def _optional(holder: Object, name: str) -> int | None:
    return None if holder.get(name) is None else integer(holder, name)


def _capabilities(process: Object, name: str) -> int:
    digits = text(process, name)
    if not digits:
        return NOT_RECORDED
    if _HEXADECIMAL.fullmatch(digits) is None:
        raise WrongError(f"{name} must be up to 16 hexadecimal digits")
    return int(digits, 16)


_SCALE = tuple(int(10 ** (9 - digits)) for digits in range(10))
"""Nanoseconds in the last of so many digits of a second."""

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


def _address(kind: str, deed: Object) -> bytes:
    address = text(deed, "address")
    try:
        return _packed(address)
    except ValueError:
        raise WrongError(f"{kind}.address is no IP address: {address[:64]!r}") from None
