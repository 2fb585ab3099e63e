"""Parts of lines without their accidents: many processes run the same program, many events say the same but how often.

The pieces of a part between its accidents (process ids, times, counts, ports) are its pattern. Nothing is guessed about what
stands between them: the first time a pattern is met it is parsed with marks in the place of its accidents, and each mark must
come out where its accident belongs. As a number in the place of a number, and a text without escapes in that of a text, change
nothing else about JSON, the same pieces say the same ever after, whatever stands between them.
"""

import re
from collections.abc import Callable, Hashable
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from peerwatch.columns import EventKind
from peerwatch.jsonlines.moments import Moments
from peerwatch.jsonlines.objects import KINDS, deed_of, process_of

__all__ = [
    "DEED_ACCIDENTS",
    "PROCESS_ACCIDENTS",
    "Accident",
    "Form",
    "deed_form",
    "deed_pattern",
    "process_form",
    "process_pattern",
]

Object = dict[str, Any]

Accident = tuple[int, int, int]
"""Begin, end, and which one of its part it is, in the order of the marks below."""


class _Mark(NamedTuple):
    field: str
    """What the builder calls the accident."""
    text: bytes
    value: object
    """What the text says."""
    none: object = 0
    """What an accident says before it is known."""


_PROCESS_MARKS = (
    _Mark("pid", b"999999937", 999_999_937),
    _Mark("start_time", b"2001-01-01T00:00:00.000000001Z", 978_307_200_000_000_001),
    _Mark("parent_pid", b"999999929", 999_999_929),
    _Mark("parent_start_time", b"2001-01-01T00:00:00.000000002Z", 978_307_200_000_000_002),
    _Mark("ancestor_ids", b'{"pid":999999893}', ((999_999_893, 0),), ()),
)
_DEED_MARKS = (
    _Mark("count", b"999999937", 999_999_937),
    _Mark("last_time", b"2001-01-01T00:00:00.000000001Z", 978_307_200_000_000_001),
    _Mark("lifetime", b"978307.000000003s", 978_307_000_000_003),
    _Mark("port", b"64937", 64_937),
)

PROCESS_ACCIDENTS = [mark.field for mark in _PROCESS_MARKS]
DEED_ACCIDENTS = [mark.field for mark in _DEED_MARKS]
"""Their names in the order of their numbers."""

_WORDS = {
    b"NUMBER": rb"(0|[1-9][0-9]{0,8})(?=[,}])",
    b"PORT": rb"(0|[1-9][0-9]{0,4})(?=[,}])",
    b"TIME": rb'([0-9T:.Z-]{20,30})(?=")',
    b"SECONDS": rb'([0-9]{1,9}(?:\.[0-9]{1,9})?s)(?=")',
    b"TEXT": rb'[^"\\]*',
    b":": b": ?",
    b",": b", ?",  # as programs write it that put a space there
}


def _accidental(text: bytes) -> "re.Pattern[bytes]":
    """Return a pattern of bytes in which words stand for what varies."""
    return re.compile(re.sub(b"|".join(_WORDS), lambda word: _WORDS[word[0]], text))


_PROCESS = _accidental(b'\\{"pid":NUMBER(?:,"startTime":"TIME)?')
_PARENT = _accidental(b'"parent":\\{"pid":NUMBER(?:(?:,"exe":"TEXT")?,"startTime":"TIME)?')
_ANCESTORS = _accidental(b'"ancestorIds":\\[([^\\]]*)')
_DEED = tuple(
    (name, _accidental(name + word))
    for name, word in (
        (b'"count":', b"NUMBER"),
        (b'"lastTime":', b'"TIME'),
        (b'"lifetime":', b'"SECONDS'),
        (b'"port":', b"PORT"),
    )
)


class Form(NamedTuple):
    """Where a part has its accidents, which is where they are in all parts that differ from it in digits alone."""

    accidents: list[Accident]
    pieces: Callable[[bytes], Hashable]
    """Takes what is left of a part; what stood between two pieces is named by the end of the first."""
    values: Callable[[bytes], tuple[bytes, ...]]
    """Takes the accidents of a part in the order of their numbers; nothing for those that it does not have."""


def process_form(part: bytes) -> Form:
    """Return where processes of this form have their accidents."""
    return _form(_process_accidents(part), len(_PROCESS_MARKS))


def deed_form(part: bytes) -> Form:
    """Return where deeds of this form have their accidents."""
    return _form(_deed_accidents(part), len(_DEED_MARKS))


def _form(accidents: list[Accident], marks: int) -> Form:
    values = [slice(0, 0)] * marks
    for begin, end, number in accidents:
        values[number] = slice(begin, end)
    return Form(accidents, itemgetter(*_between(accidents)), itemgetter(*values))


def _process_accidents(part: bytes) -> list[Accident]:
    """Return where a process has its id, its start, both of its parent, and its ancestors' ids; none where it looks unusual."""
    head = _PROCESS.match(part)
    if head is None:
        return []
    found = [(*head.span(1), 0)]
    if head[2]:
        found.append((*head.span(2), 1))
    end = head.end()
    at = part.find(b'"parent":', end)
    parent = _PARENT.match(part, at) if at >= 0 else None
    if parent is not None:
        found.append((*parent.span(1), 2))
        if parent[2]:
            found.append((*parent.span(2), 3))
        end = parent.end()
    at = part.find(b'"ancestorIds":', end)
    ancestors = _ANCESTORS.match(part, at) if at >= 0 else None
    if ancestors is not None:
        found.append((*ancestors.span(1), 4))
    return found


def _deed_accidents(part: bytes) -> list[Accident]:
    """Return where a deed says how often it was done, until when, how long it took, and at which port."""
    found = []
    for number, (name, pattern) in enumerate(_DEED):
        at = part.find(name)
        match = pattern.match(part, at) if at >= 0 else None
        if match is not None:
            found.append((*match.span(1), number))
    found.sort()
    return found


def _between(accidents: list[Accident]) -> list[slice]:
    """Return where the pieces between accidents are."""
    begins = [0, *(end for _, end, _ in accidents)]
    return [*map(slice, begins, [begin for begin, _, _ in accidents]), slice(begins[-1], None)]


def process_pattern(part: bytes, accidents: list[Accident], moments: Moments) -> Object:
    """Return a process as the builder takes it, without its accidents.

    Raises:
        LookupError: what looks like an accident is something else.
        JSONDecodeError: it is no JSON.
        WrongError: a field is not what it must be.
    """
    process = orjson.loads(_marked(part, accidents, _PROCESS_MARKS))
    return _checked(process_of(process, moments), accidents, _PROCESS_MARKS)


def deed_pattern(part: bytes, accidents: list[Accident], moments: Moments) -> tuple[EventKind, Object]:
    """Return the kind of an event and what is special to it, without its accidents.

    The errors are those of `process_pattern`.
    """
    holder = orjson.loads(b"{" + _marked(part, accidents, _DEED_MARKS))
    if len(holder) != 1:
        raise LookupError
    ((name, deed),) = holder.items()
    kind = KINDS[name]
    if not isinstance(deed, dict):
        raise LookupError  # noqa: TRY004 — nobody called this with a wrong type: the line is none of ours
    return kind, _checked(deed_of(kind, deed, moments), accidents, _DEED_MARKS)


def _marked(part: bytes, accidents: list[Accident], marks: tuple[_Mark, ...]) -> bytes:
    """Return a part with marks in the place of its accidents."""
    pieces = [part[each] for each in _between(accidents)]
    text = [pieces[0]]
    for (_, _, number), piece in zip(accidents, pieces[1:], strict=True):
        text += (marks[number].text, piece)
    if any(marks[number].text in piece for _, _, number in accidents for piece in pieces):
        raise LookupError  # a mark that comes out would prove nothing
    return b"".join(text)


def _checked(values: Object, accidents: list[Accident], marks: tuple[_Mark, ...]) -> Object:
    """Return values without their accidents, of which each must have said what its mark says."""
    own = [marks[number] for _, _, number in accidents]
    if any(values.get(mark.field) != mark.value for mark in own):
        raise LookupError
    return values | {mark.field: mark.none for mark in own}
