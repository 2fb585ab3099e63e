"""One line after the other into a table under construction."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import orjson

from peerwatch.columns import I64, PARTS, ColumnsBuilder, EventColumns, EventKind, Part, Processes, columns_of, rows_of
from peerwatch.jsonlines.fields import MOST_PORT, WrongError, mapping
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
    Form,
    deed_form,
    deed_pattern,
    process_form,
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
Pieces = Hashable

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
        self.forms: _Memory[bytes, Form] = _Memory()
        self.processes: _Memory[Pieces, Object] = _Memory()
        self.deeds: _Memory[Pieces, tuple[EventKind, Object]] = _Memory()


class LineTable:
    """The table under construction, with what was worked out before for equal parts of lines.

    An event is a row of four numbers: its time, who did it, which deed it was, and until when it was done. Of what lines say of
    a deed, that alone does not come again.
    """

    def __init__(self, remembered: Remembered | None = None) -> None:
        self._builder = ColumnsBuilder()
        self._remembered = remembered or Remembered()
        self._moments = self._remembered.moments
        self._forms = self._remembered.forms.known
        self.lines = 0
        """How many were read."""
        self._rows: list[int] = []
        self._said: dict[EventKind, list[tuple[Any, ...]]] = {kind: [] for kind in EventKind}
        """Per kind the rows of its part that differ."""
        self._deeds: list[int] = []
        """Of each deed its kind, which one of it, and its accidents."""
        self._actors: list[int] = []
        """Of each actor the subject, and the process."""
        self._actor_of: dict[bytes, tuple[bytes, bytes, int]] = {}
        """By the beginning of its process: the last actor that was met with it, after what its lines say of it."""
        self._subject_of: dict[bytes, tuple[bytes, int]] = {}
        """With what it was known by, which is kept once however many actors refer to it."""
        self._process_of: dict[bytes, int] = {}
        self._processes: list[int] = []
        """Of each process which image of the builder's it is of, and its accidents."""
        self._process_like: dict[Pieces, tuple[int, tuple[int, ...]]] = {}
        self._ids_of: dict[bytes, int] = {}
        self._deed_of: dict[bytes, int] = {}
        self._deed_like: dict[Pieces, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Return how many events there are."""
        return len(self._rows) // _WIDTH

    def add(self, lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """Add the events of lines that look like ours; yield each other line and which one it is, in its place among them.

        A line that looks like ours is cut into time, subject, process and deed without being parsed, and parts seen before are
        known by their bytes. Nothing is guessed by that: each part must be JSON by itself with the names that belong there, and
        then the line says what its parts say.
        """
        number = 0
        moment, actor_of, deed, rows = self._moments.plain, self._actor_of, self._plain_deed, self._rows
        for number, line in enumerate(lines, 1):
            begin = len(_TIME) if line.startswith(_TIME) else len(_SPACED) if line.startswith(_SPACED) else 0
            time_end = line.find(b'"', begin)
            process = line.find(_PROCESS, time_end)
            if not 0 < begin < time_end < process or len(line) > MAX_LINE:
                yield number, line
                continue
            try:
                time = moment(line[begin:time_end], "time")
                whose, image, actor = actor_of.get(line[process : process + _TELLING], _NOBODY_YET)
                # To compare is far cheaper than to find where the process ends, and to look up all that it says.
                same = process - time_end == len(whose) + 1 and line.startswith(image, process)
                if not (same and line.startswith(whose, time_end + 1)):
                    whose, image, actor = self._plain_actor(line, time_end, process)
                rows += (time, actor, *deed(line[process + len(image) :]))
            except (ValueError, LookupError):  # what is wrong with it is said of the line as a whole
                yield number, line
        self.lines += number

    def add_any(self, line: bytes) -> bool:
        """Add the event of one line, whatever it looks like; return false when its kind is unknown.

        Raises:
            WrongError: it is no event.
        """
        if len(line) > MAX_LINE:
            raise WrongError(f"longer than {MAX_LINE} bytes")
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
            deed = self._new_deed(self._new_part(EventKind.LOSS, loss_of(mapping(event, name), self._moments)))
            self._rows += (time, self._new_actor(self._subject(event), 0), deed, 0)
        elif name is not None:
            values = deed_of(KINDS[name], mapping(event, name), self._moments)
            actor = self._new_actor(self._subject(event), self._process(event))
            self._rows += (time, actor, self._new_deed(self._new_part(KINDS[name], values)), 0)
        elif any(name not in KNOWN and isinstance(value, dict) for name, value in event.items()):
            return False
        else:
            raise WrongError(f"an event needs a kind: {', '.join(KINDS)} or loss")
        return True

    def build(self) -> EventColumns:
        """Return the table of all events added so far."""
        time, actor, deed, until = _columns(self._rows, _WIDTH)
        subject, process = _columns(self._actors, 2)[:, actor]
        kind, place, *added = _columns(self._deeds, 2 + len(DEED_ACCIDENTS))[:, deed]
        added[_UNTIL] += until
        parts: dict[str, Any] = {}
        for number, (name, of) in PARTS.items():
            rows = np.flatnonzero(kind == number)
            part = rows_of(of, self._said[number]).take(place[rows])
            if len(rows) and number in KINDS.values():
                part = _with_accidents(part, time[rows], [each[rows] for each in added])
            parts[name] = part
        return self._builder.table(
            time=time, kind=kind, subject=subject, process=process, processes=self._all_processes(), parts=parts
        )

    def _all_processes(self) -> Processes:
        which, *own = _columns(self._processes, 1 + len(PROCESS_ACCIDENTS))
        processes = self._builder.images().take(which)
        accidents: dict[str, Any] = {
            name: column.astype(getattr(processes, name).dtype) for name, column in zip(PROCESS_ACCIDENTS, own, strict=True)
        }
        return replace(processes, **accidents)

    def _plain_actor(self, line: bytes, time_end: int, process: int) -> tuple[bytes, bytes, int]:
        """Return what a line says before and of its process, up to the deed, and who that is."""
        end = _AND_SPACED if line.startswith(_SPACED) else _AND
        image_end = line.rfind(end)
        # The last object to end is the process, save where a deed goes on after its peer.
        while image_end > process and line[image_end + len(end) : image_end + len(end) + 4] not in _KINDS:
            image_end = line.rfind(end, process, image_end)
        if image_end < process:
            raise LookupError
        whose, image = line[time_end + 1 : process], line[process : image_end + len(end) - 1]
        whose, subject = self._subject_of.get(whose) or self._plain_subject(whose)
        known = self._process_of.get(image)
        if known is None:
            known = self._process_of[image] = self._plain_process(line[process + len(_PROCESS) : image_end + 1])
        met = self._actor_of[line[process : process + _TELLING]] = whose, image, self._new_actor(subject, known)
        return met

    def _plain_subject(self, part: bytes) -> tuple[bytes, int]:
        subject = self._remembered.subjects.known.get(part)
        if subject is None:
            holder = orjson.loads(b'{"":0%b"":0}' % part)
            if not holder.keys() - {""} <= WHOSE:
                raise LookupError
            subject = self._remembered.subjects.add(part, len(part), subject_of(holder, self._moments))
        known = self._subject_of[part] = part, self._builder.subject(subject)
        return known

    def _plain_process(self, part: bytes) -> int:
        form = self._forms.get(part.translate(_ONE_DIGIT)) or self._new_form(part, process_form)
        pieces = form.pieces(part)
        alike = self._process_like.get(pieces)
        if alike is None:
            image = self._remembered.processes.known.get(pieces)
            if image is None:
                image = process_pattern(part, form.accidents, self._moments)
                self._remembered.processes.add(pieces, len(part), image)
            alike = self._process_like[pieces] = self._new_image(image)
        which, own = alike
        pid, start_time, parent_pid, parent_start_time, ids = form.values(part)
        return self._new_process(
            which,
            _number(pid) if pid else own[0],
            self._moments.plain(start_time, "startTime") if start_time else own[1],
            _number(parent_pid) if parent_pid else own[2],
            self._moments.plain(parent_start_time, "startTime") if parent_start_time else own[3],
            self._plain_ids(ids) if ids else own[4],
        )

    def _plain_ids(self, part: bytes) -> int:
        known = self._ids_of.get(part)
        if known is None:
            ids = ancestor_ids(orjson.loads(b"[%b]" % part), self._moments)
            known = self._ids_of[part] = self._builder.ancestor_ids(ids)
        return known

    def _new_image(self, image: Object) -> tuple[int, tuple[int, ...]]:
        """Add what processes have in common; return which it is, and what it says itself in the place of accidents."""
        which = self._builder.process(**image)
        return which, _own(self._builder.image(which))

    def _new_process(self, *row: int) -> int:
        self._processes += row
        return len(self._processes) // len(row) - 1

    def _plain_deed(self, part: bytes) -> tuple[int, int]:
        """Return which deed a line tells of, and until when it was done if that is kept apart from it."""
        named = part.find(_LAST_TIME)
        if named < 0:
            deed = self._deed_of.get(part)
            return self._new_plain_deed(part, part) if deed is None else deed, 0
        begin = named + len(_LAST_TIME)
        end = part.index(b'"', begin)
        like = part[:begin] + part[end:]
        deed = self._deed_of.get(like)
        if deed is None:
            deed = self._new_plain_deed(part, like, (begin, end, _UNTIL))
        return deed, self._moments.plain(part[begin:end], "lastTime")

    def _new_plain_deed(self, part: bytes, like: bytes, apart: Accident | None = None) -> int:
        """Return the number of a deed, and remember what parts look like that say the same save the accident kept apart."""
        form = self._forms.get(part.translate(_ONE_DIGIT)) or self._new_form(part, deed_form)
        pieces = form.pieces(part)
        known = self._deed_like.get(pieces)
        if known is None:
            deed = self._remembered.deeds.known.get(pieces)
            if deed is None:
                deed = self._remembered.deeds.add(pieces, len(part), deed_pattern(part, form.accidents, self._moments))
            known = self._deed_like[pieces] = self._new_part(*deed)
        count, last_time, lifetime, port = form.values(part)
        if apart is not None:
            if apart not in form.accidents:
                raise LookupError  # what looks like it is something else
            last_time = b""
        number = self._new_deed(
            known,
            (_number(count) or 1) if count else 0,
            self._moments.plain(last_time, "lastTime") if last_time else 0,
            parse_duration(lifetime.decode()) if lifetime else 0,
            _number(port, MOST_PORT) if port else 0,
        )
        if not last_time and not lifetime:  # nanoseconds do not come again
            self._deed_of[like] = number
        return number

    def _new_form(self, part: bytes, find: Callable[[bytes], Form]) -> Form:
        return self._remembered.forms.add(part.translate(_ONE_DIGIT), len(part), find(part))

    def _subject(self, event: Object) -> int:
        holder = {name: event[name] for name in WHOSE if event.get(name) is not None}
        key = orjson.dumps(holder, option=orjson.OPT_SORT_KEYS)
        known = self._subject_of.get(key)
        if known is None:
            known = self._subject_of[key] = key, self._builder.subject(subject_of(holder, self._moments))
        return known[1]

    def _process(self, event: Object) -> int:
        process = mapping(event, "process")
        key = orjson.dumps(process)
        known = self._process_of.get(key)
        if known is None:
            which, own = self._new_image(process_of(process, self._moments))
            known = self._process_of[key] = self._new_process(which, *own)
        return known

    def _new_actor(self, subject: int, process: int) -> int:
        self._actors += (subject, process)
        return len(self._actors) // 2 - 1

    def _new_part(self, kind: EventKind, values: Object) -> tuple[int, int]:
        """Add what deeds have in common; return its kind, and which one of it."""
        if "peer" in values:
            values = values | {"peer": self._builder.peer(values["peer"])}
        elif "reason" in values:
            values = values | {"reason": self._builder.string(values["reason"])}
        said = self._said[kind]
        said.append(tuple([values[column.name] for column in columns_of(PARTS[kind].of)]))
        return kind, len(said) - 1

    def _new_deed(self, part: tuple[int, int], *accidents: int) -> int:
        """Add a deed; return which it is. What its accidents say is added to what it has in common with others."""
        self._deeds += part + (accidents or _NO_ACCIDENTS)
        return len(self._deeds) // (2 + len(DEED_ACCIDENTS)) - 1


def _columns(rows: list[int], width: int) -> I64:
    """Return the columns of rows that stand one after the other."""
    return np.array(rows, np.int64).reshape(-1, width).T


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


def _number(said: bytes, most: int = 2**32 - 1) -> int:
    """Return a number that stands where another one stood in a line of the same form."""
    number = int(said)
    if number > most or (said[0] == _ZERO and len(said) > 1):
        raise LookupError  # not what it must be, or no JSON
    return number


_own = itemgetter(*([column.name for column in columns_of(Processes)].index(name) for name in PROCESS_ACCIDENTS))
"""Takes from a row what would be its accidents."""

_KINDS = {name[:4].encode() for name in KINDS}
"""How the deeds begin, enough of it to tell them from what else may follow an object."""

_ZERO = ord("0")
_ONE_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)

_WIDTH = 4
"""Numbers in a row of `LineTable`."""

_TIME, _SPACED, _PROCESS = b'{"time":"', b'{"time": "', b'"process":'
_LAST_TIME = b'"lastTime":"'
_UNTIL = DEED_ACCIDENTS.index("last_time")
_AND, _AND_SPACED = b'},"', b'}, "'
"""Between a process and a deed."""

_NO_ACCIDENTS = (0,) * len(DEED_ACCIDENTS)

_TELLING = 72
"""Bytes from the beginning of a process that tell most from each other: its id and its start."""

_NOBODY_YET = b"", b"\n", -1
"""No process begins so."""
