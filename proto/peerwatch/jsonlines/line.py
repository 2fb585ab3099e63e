"""One line after the other into a table under construction."""

import re
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import orjson

from peerwatch.columns import I64, PARTS, ColumnsBuilder, EventColumns, EventKind, Part, columns_of, rows_of
from peerwatch.jsonlines.fields import WrongError, mapping
from peerwatch.jsonlines.moments import Moments
from peerwatch.jsonlines.objects import (
    KINDS,
    KNOWN,
    WHOSE,
    ancestor_ids,
    deed_of,
    loss_of,
    process_of,
    subject_of,
)
from peerwatch.jsonlines.patterns import (
    DEED_ACCIDENTS,
    PROCESS_ACCIDENTS,
    Accident,
    deed_accidents,
    deed_pattern,
    pieces_between,
    process_accidents,
    process_pattern,
)
from peerwatch.times import parse_duration

if TYPE_CHECKING:
    from peerwatch.subjects import Subject

__all__ = ["MAX_LINE", "LineTable", "Remembered"]

MAX_LINE = 1 << 20
"""Longest line that is read, bytes: 4 KiB of arguments and a pod's labels stay far below."""

MOST_REMEMBERED = 1 << 24
"""Bytes of each sort of part that are remembered from table to table: the subjects of 20,000 containers."""

Object = dict[str, Any]
Pieces = tuple[bytes, ...]

_Key = TypeVar("_Key", bound=Hashable)  # Python 3.11 has no type parameter lists
_Value = TypeVar("_Value")


class _Memory(Generic[_Key, _Value]):
    """What parts said, within bounds."""

    def __init__(self) -> None:
        self.known: dict[_Key, _Value] = {}
        self._bytes = 0

    def add(self, key: _Key, size: int, value: _Value) -> _Value:
        """Remember and return a value."""
        self._bytes += size
        if self._bytes > MOST_REMEMBERED:
            self.known.clear()
            self._bytes = size
        self.known[key] = value
        return value


class Remembered:
    """What was worked out before for equal parts of lines and holds for all tables, within bounds."""

    def __init__(self) -> None:
        self.moments = Moments()
        self.subjects: _Memory[bytes, Subject] = _Memory()
        self.forms: _Memory[bytes, list[Accident]] = _Memory()
        self.processes: _Memory[Pieces, Object] = _Memory()
        self.deeds: _Memory[Pieces, tuple[EventKind, Object]] = _Memory()


class LineTable:
    """The table under construction, with what was worked out before for equal parts of lines.

    An event is a row of seven numbers: time, subject, process, deed, and what its deed adds to count, last time and lifetime.
    """

    def __init__(self, remembered: Remembered | None = None) -> None:
        self._builder = ColumnsBuilder()
        self._remembered = remembered or Remembered()
        self._moments = self._remembered.moments
        self._rows: list[int] = []
        self._said: dict[EventKind, list[tuple[Any, ...]]] = {kind: [] for kind in EventKind}
        """Per kind the rows of its part that differ."""
        self._deeds: list[tuple[int, int]] = []
        """Kind, and which one of it."""
        self._subject_of: dict[bytes, int] = {}
        self._process_of: dict[bytes, int] = {}
        self._process_like: dict[Pieces, int] = {}
        self._ids_of: dict[bytes, tuple[tuple[int, int], ...]] = {}
        self._deed_of: dict[bytes, tuple[int, ...]] = {}
        self._deed_like: dict[Pieces, int] = {}

    def __len__(self) -> int:
        """Return how many events there are."""
        return len(self._rows) // _WIDTH

    def add(self, line: bytes) -> bool:
        """Add the event of one line; return false when its kind is unknown."""
        if len(line) > MAX_LINE:
            raise WrongError(f"longer than {MAX_LINE} bytes")
        return self._add_plain(line) or self._add_any(line)

    def build(self) -> EventColumns:
        """Return the table of all events added so far."""
        time, subject, process, deed, *added = np.array(self._rows, np.int64).reshape(-1, _WIDTH).T
        kind_of, place_of = np.array(self._deeds, np.int64).reshape(-1, 2).T
        kind = kind_of[deed]
        parts: dict[str, Any] = {}
        for number, (name, of) in PARTS.items():
            rows = np.flatnonzero(kind == number)
            part = rows_of(of, self._said[number]).take(place_of[deed[rows]])
            if len(rows) and number in KINDS.values():
                part = _with_accidents(part, time[rows], [each[rows] for each in added])
            parts[name] = part
        return self._builder.table(time=time, kind=kind, subject=subject, process=process, parts=parts)

    def _add_plain(self, line: bytes) -> bool:
        """Add the event of a line that looks like one of ours; return false when it does not, whatever else it may be.

        Such a line is cut into time, subject, process and deed without being parsed, and parts seen before are known by their
        bytes. Nothing is guessed by that: each part must be JSON by itself with the names that belong there, and then the line
        says what its parts say.
        """
        begin = len(_TIME) if line.startswith(_TIME) else len(_SPACED) if line.startswith(_SPACED) else 0
        time_end = line.find(b'"', begin)
        process = line.find(_PROCESS, time_end)
        found = _DEED.search(line, process)
        if found is None or not 0 < begin < time_end < process:
            return False
        whose, image = line[time_end + 1 : process], line[process + len(_PROCESS) : found.start() + 1]
        try:
            time = self._moments.plain(line[begin:time_end], "time")
            subject = self._subject_of.get(whose)
            if subject is None:
                subject = self._plain_subject(whose)
            actor = self._process_of.get(image)
            if actor is None:
                actor = self._process_of[image] = self._plain_process(image)
            said = line[found.end() :]
            deed = self._deed_of.get(said) or self._plain_deed(said)
        except (orjson.JSONDecodeError, UnicodeDecodeError, LookupError):
            return False
        self._rows += (time, subject, actor, *deed)
        return True

    def _plain_subject(self, part: bytes) -> int:
        subject = self._remembered.subjects.known.get(part)
        if subject is None:
            holder = orjson.loads(b'{"":0%b"":0}' % part)
            if not holder.keys() - {""} <= WHOSE:
                raise LookupError
            subject = self._remembered.subjects.add(part, len(part), subject_of(holder, self._moments))
        known = self._subject_of[part] = self._builder.subject(subject)
        return known

    def _plain_process(self, part: bytes) -> int:
        accidents = self._accidents(part, process_accidents)
        own: Object = {}
        for begin, end, which in accidents:
            name, said = PROCESS_ACCIDENTS[which], part[begin:end]
            if which == _IDS:
                own[name] = self._plain_ids(said)
            else:
                own[name] = _number(said) if which in _PIDS else self._moments.plain(said, "startTime")
        pieces = pieces_between(part, accidents)
        alike = self._process_like.get(pieces)
        if alike is not None:
            return self._builder.like(alike, **own)
        image = self._remembered.processes.known.get(pieces)
        if image is None:
            image = self._remembered.processes.add(pieces, len(part), process_pattern(part, accidents, self._moments))
        known = self._process_like[pieces] = self._builder.process(**(image | own))
        return known

    def _plain_ids(self, part: bytes) -> tuple[tuple[int, int], ...]:
        known = self._ids_of.get(part)
        if known is None:
            known = self._ids_of[part] = ancestor_ids(orjson.loads(b"[%b]" % part), self._moments)
        return known

    def _plain_deed(self, part: bytes) -> tuple[int, ...]:
        """Return which deed it is, and count, last time and lifetime where they are no part of that."""
        accidents = self._accidents(part, deed_accidents)
        own = [0] * len(DEED_ACCIDENTS)
        for begin, end, which in accidents:
            said = part[begin:end]
            if which == _COUNT:
                own[which] = _number(said) or 1
            else:
                own[which] = self._moments.plain(said, "lastTime") if which == _LAST else parse_duration(said.decode())
        pieces = pieces_between(part, accidents)
        known = self._deed_like.get(pieces)
        if known is None:
            deed = self._remembered.deeds.known.get(pieces)
            if deed is None:
                deed = self._remembered.deeds.add(pieces, len(part), deed_pattern(part, accidents, self._moments))
            known = self._deed_like[pieces] = self._new_deed(*deed)
        if not accidents:
            self._deed_of[part] = known, *own
        return known, *own

    def _accidents(self, part: bytes, find: Callable[[bytes], list[Accident]]) -> list[Accident]:
        """Return where a part has its accidents, which is where they are in all that differ in digits alone."""
        form = part.translate(_ONE_DIGIT)
        known = self._remembered.forms.known.get(form)
        return known if known is not None else self._remembered.forms.add(form, len(form), find(part))

    def _add_any(self, line: bytes) -> bool:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise WrongError(f"not JSON: {error}") from None
        if not isinstance(event, dict):
            raise WrongError("an event must be a JSON object")
        if event.get("time") is None:
            raise WrongError("an event needs a time")
        time = self._moments.field(event, "time")
        # In proto3 JSON null says that a field is not set.
        name = next((name for name in (*KINDS, "loss") if event.get(name) is not None), None)
        if name == "loss":
            deed = self._new_deed(EventKind.LOSS, loss_of(mapping(event, name), self._moments))
            self._rows += (time, self._subject(event), 0, deed, 0, 0, 0)
        elif name is not None:
            values = deed_of(KINDS[name], mapping(event, name), self._moments)
            whose, process = self._subject(event), self._process(event)
            self._rows += (time, whose, process, self._new_deed(KINDS[name], values), 0, 0, 0)
        elif any(name not in KNOWN and isinstance(value, dict) for name, value in event.items()):
            return False
        else:
            raise WrongError(f"an event needs a kind: {', '.join(KINDS)} or loss")
        return True

    def _subject(self, event: Object) -> int:
        holder = {name: event[name] for name in WHOSE if event.get(name) is not None}
        key = orjson.dumps(holder, option=orjson.OPT_SORT_KEYS)
        known = self._subject_of.get(key)
        if known is None:
            known = self._subject_of[key] = self._builder.subject(subject_of(holder, self._moments))
        return known

    def _process(self, event: Object) -> int:
        process = mapping(event, "process")
        key = orjson.dumps(process)
        known = self._process_of.get(key)
        if known is None:
            known = self._process_of[key] = self._builder.process(**process_of(process, self._moments))
        return known

    def _new_deed(self, kind: EventKind, values: Object) -> int:
        if "peer" in values:
            values = values | {"peer": self._builder.peer(values["peer"])}
        elif "reason" in values:
            values = values | {"reason": self._builder.string(values["reason"])}
        self._deeds.append((kind, len(self._said[kind])))
        self._said[kind].append(tuple([values[column.name] for column in columns_of(PARTS[kind].of)]))
        return len(self._deeds) - 1


def _with_accidents(part: Part, time: I64, added: list[I64]) -> Part:
    """Return what is special to events of these times with what their lines say beside their deeds."""
    columns: dict[str, Any] = {
        name: (getattr(part, name) + more).astype(getattr(part, name).dtype)
        for name, more in zip(DEED_ACCIDENTS, added, strict=True)
        if hasattr(part, name)
    }
    if "last_time" in columns:
        columns["last_time"] = np.where(columns["last_time"] == 0, time, columns["last_time"])
    return replace(part, **columns)


def _number(said: bytes) -> int:
    """Return a number that stands where another one stood in a line of the same form."""
    if said[0] == _ZERO and len(said) > 1:
        raise LookupError  # no JSON
    return int(said)


_ZERO = ord("0")
_ONE_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)

_PIDS = PROCESS_ACCIDENTS.index("pid"), PROCESS_ACCIDENTS.index("parent_pid")
_IDS = PROCESS_ACCIDENTS.index("ancestor_ids")
_COUNT, _LAST = DEED_ACCIDENTS.index("count"), DEED_ACCIDENTS.index("last_time")

_WIDTH = 4 + len(DEED_ACCIDENTS)
"""Numbers in a row of `LineTable`."""

_TIME, _SPACED, _PROCESS = b'{"time":"', b'{"time": "', b'"process":'
_DEED = re.compile(rb'\}, ?(?="(?:%b)": ?\{)' % b"|".join(name.encode() for name in KINDS))
"""Where the process ends and the deed begins."""
