"""From events to observations: which behaviour each event of a table shows.

Work is per distinct combination of what a key is made of, and what was worked out for one table is remembered for the next; per
event there are only array operations. Text forms are in `behaviour_keys`. Success and failure of a connect are the same
behaviour: an attempt says as much about the program.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS, EventColumns, EventKind, ProcessFlag
from peerwatch.subjects import Subject

from collector.analysis import behaviour_keys
from collector.detect import arguments, context
from collector.detect.tools import base_name
from collector.records import BehaviourType

__all__ = ["Behaviour", "Observations", "Vocabulary", "context_of", "observe", "restored", "with_arguments"]

I64 = npt.NDArray[np.int64]

FIRST_PROCESS = 60 * NANOSECONDS
"""An exec without ancestors this long after its container's start is not the container's first process (which may replace
itself while it starts): its recorder gives no ancestors, so the parent's file is taken at its word."""

SHORTEST_NAME = 4
"""Characters of a pod's or node's name that is looked for in arguments: shorter ones are also words and numbers."""

MOST_TEXT = 1 << 25
"""Characters that a vocabulary remembers, an argument list at most its own length: some 50,000 behaviours, 64 MiB."""

ENTRY = 512
"""What a remembered behaviour counts as at least, in characters."""

MOST_SUBJECTS = 65_536
"""Subjects that a vocabulary numbers: more containers than run at one time in the largest clusters."""

_MIX = tuple(map(np.uint64, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xBF58476D1CE4E5B9)))
"""Odd numbers with irregular bits, as multiplicative hashes use (2^64 / golden ratio, and constants of xxHash and SplitMix)."""

_KEY_FLAGS = np.uint32(
    1 << ProcessFlag.UPPER_LAYER
    | 1 << ProcessFlag.MEMFD
    | 1 << ProcessFlag.STDIO_SOCKET
    | 1 << ProcessFlag.TTY
    | 1 << ProcessFlag.INJECTED
    | 1 << ProcessFlag.HOST_NAMESPACE
)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one kind of event shows, with what is needed to judge and to explain it."""

    type: BehaviourType
    key: str
    exe: str
    """The program's name as in the key (`/bin/busybox[wget]`)."""
    parent: str
    """The parent's file, empty when it is outside of the container."""
    target: str
    """A connect's destination as in the key, else empty."""
    flags: int
    example: tuple[str, ...]
    base: str = ""
    """Key of the exec whose arguments these are; empty for what is no argument template."""
    words: tuple[str, ...] = ()
    """The template of the arguments."""

    @property
    def injected(self) -> bool:
        """It came from outside of the container: a person, a probe or a hook."""
        return self.flags >> ProcessFlag.INJECTED & 1 == 1

    @property
    def terminal(self) -> bool:
        """It had a terminal: where it came from outside, it is a person's."""
        return self.flags >> ProcessFlag.TTY & 1 == 1

    def of(self, example: tuple[str, ...]) -> "Behaviour":
        """Return the same with the arguments of one event."""
        return dataclasses.replace(self, example=behaviour_keys.as_called(self.exe, example))


class Vocabulary:
    """Behaviours and subjects by number, so that what repeats from table to table is worked out once.

    It is bounded, and what it forgets gets another number when it comes again; no number is used twice. Whoever notes something
    under a number need not be told.
    """

    def __init__(self) -> None:
        self.behaviours: dict[int, Behaviour] = {}
        """Without examples: those are what one workload's events say, and none of another's business."""
        self._known: dict[tuple[object, ...], int] = {}
        self._subjects: dict[Subject, int] = {}
        self._next_behaviour = self._next_subject = self._text = 0

    def make_room(self) -> None:
        """Forget everything when it is too much: between two tables, whose numbers must stay good."""
        if self._text > MOST_TEXT:
            self.behaviours, self._known, self._text = {}, {}, 0
        if len(self._subjects) > MOST_SUBJECTS:
            self._subjects = {}

    def subject(self, subject: Subject) -> int:
        """Return the number of a subject."""
        number = self._subjects.get(subject)
        if number is None:
            number = self._subjects[subject] = self._next_subject
            self._next_subject += 1
        return number

    def find(self, said: tuple[object, ...]) -> int | None:
        """Return the number of the behaviour that was once made of this."""
        return self._known.get(said)

    def add(self, said: tuple[object, ...], behaviour: Behaviour, length: int = 0) -> int:
        """Remember what was made of something of so many characters, and return its number."""
        number = self._known[said] = self._next_behaviour
        self._next_behaviour += 1
        self.behaviours[number] = behaviour
        self._text += ENTRY + length
        return number


@dataclass(frozen=True, slots=True)
class Observations:
    """One entry per event and behaviour that it shows, in the table's order: an exec shows itself and then its arguments."""

    behaviours: Mapping[int, Behaviour]
    row: I64
    """Row of the table."""
    behaviour: I64
    """Number in `behaviours`."""
    count: I64
    """How often it happened: a folded event stands for several."""
    plain: npt.NDArray[np.bool_]
    """It is an event itself and not its arguments."""


def observe(events: EventColumns, vocabulary: Vocabulary | None = None) -> Observations:
    """Return what each exec and connect of a table shows. Other kinds are not judged, nor is what the agent does for a test.

    With a vocabulary, what earlier tables showed is known already, and its numbers are those of earlier tables.
    """
    vocabulary = vocabulary or Vocabulary()
    vocabulary.make_room()
    judged = (events.kind == EventKind.EXEC) | (events.kind == EventKind.CONNECT)
    judged[judged] = events.processes.flags[events.process[judged]] >> np.uint32(ProcessFlag.CANARY) & 1 == 0
    programs = _Programs(events, np.flatnonzero(judged))
    execs = np.flatnonzero(events.kind[programs.rows] == EventKind.EXEC)
    connects = np.flatnonzero(events.kind[programs.rows] == EventKind.CONNECT)
    exec_number = _execs(programs, execs, vocabulary)
    told, argument_number = _arguments(programs, execs, exec_number, vocabulary)
    connect_number = _connects(programs, connects, vocabulary)
    row = programs.rows[np.concatenate([execs, told, connects])]
    order = np.argsort(row, kind="stable")
    behaviour = np.concatenate([exec_number, argument_number, connect_number])
    plain = np.ones(len(row), bool)
    plain[len(execs) : len(execs) + len(told)] = False
    return Observations(vocabulary.behaviours, row[order], behaviour[order], events.counts()[row[order]], plain[order])


def _distinct(*columns: npt.NDArray[Any]) -> tuple[I64, I64]:
    """Return the first row of each distinct combination and, per row, which combination it is; by order of first row.

    Combinations are told apart by 64 mixed bits, as lists are: see `_same_lists`.
    """
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        # Multiplied before the next is added, or columns would stand in for each other.
        mixed = (mixed ^ column.astype(np.uint64) + np.uint64(1)) * _MIX[0]
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX[2]
        mixed ^= mixed >> np.uint64(32)
    _, first, code = np.unique(mixed, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64), rank[code].astype(np.int64)


def _word(events: EventColumns, lists: npt.NDArray[Any], place: int) -> npt.NDArray[Any]:
    """Return the string index of each list's value at a place, 0 (the empty string) for lists that are shorter."""
    at, end = events.lists.offsets[lists].astype(np.int64) + place, events.lists.offsets[lists.astype(np.int64) + 1]
    if not len(events.lists.values):
        return np.zeros(len(lists), np.int64)
    return np.where(end > at, events.lists.values[np.minimum(at, len(events.lists.values) - 1)], 0)


def _same_lists(events: EventColumns, lists: I64) -> I64:
    """Return per string list a number that equal lists share; 0 for those with fewer than two strings.

    A table may hold the same list many times. Words and their positions are mixed into 64 bits, so that no list is looked at
    in Python twice; two different lists of one table meet with a probability of 2^-64 per pair.
    """
    used, place = np.unique(lists, return_inverse=True)
    begin, end = events.lists.offsets[used].astype(np.int64), events.lists.offsets[used + 1].astype(np.int64)
    length = end - begin
    owner = np.repeat(np.arange(len(used)), length)
    at = np.arange(len(owner)) - np.repeat(np.cumsum(length) - length, length)
    values = events.lists.values[begin[owner] + at].astype(np.uint64)
    mixed = (values + np.uint64(1)) * _MIX[0] ^ (at.astype(np.uint64) + np.uint64(1)) * _MIX[1]
    mixed = (mixed ^ mixed >> np.uint64(29)) * _MIX[2]
    mixed ^= mixed >> np.uint64(32)
    code = np.zeros(len(used), np.uint64)
    np.add.at(code, owner, mixed)
    code[length < 2] = 0
    same: I64 = code.view(np.int64)[place]
    return same


class _Programs:
    """What is asked of the programs of those rows of a table that are judged."""

    def __init__(self, events: EventColumns, rows: npt.NDArray[np.intp]) -> None:
        self.events = events
        self.rows = rows
        process = events.process[rows].astype(np.int64)
        columns = events.processes
        self.exe = columns.exe[process].astype(np.int64)
        self.args = columns.args[process].astype(np.int64)
        self.flags = (columns.flags[process] & _KEY_FLAGS).astype(np.int64)
        self.subject = events.subject[rows].astype(np.int64)
        ancestor = _word(events, columns.ancestors[process], 0).astype(np.int64)
        started = np.array([subject.container.started_at for subject in events.subjects] or [0], np.int64)
        started = started[self.subject]
        entered = (self.flags >> ProcessFlag.INJECTED & 1) == 1
        lists, offsets = columns.ancestors[process].astype(np.int64), events.lists.offsets
        alone = offsets[lists] == offsets[lists + 1]
        first = alone & (entered | ((started > 0) & (events.time[rows] - started < FIRST_PROCESS)))
        # The nearest ancestor inside the container is the parent. A process that came from outside has none: what its parent
        # is called on the node (a runtime's shim, whose process id may meanwhile be another's) says nothing about it.
        self.parent = np.where(first, 0, np.where(ancestor > 0, ancestor, columns.parent_exe[process]))
        multi_call, used = np.zeros((2, len(events.strings) or 1), bool)
        used[self.exe] = True
        for exe in np.flatnonzero(used).tolist():
            name = events.strings[exe].rpartition("/")[2]
            multi_call[exe] = name in behaviour_keys.MULTI_CALL or name == "exe"
        self.called = np.zeros(len(rows), np.int64)
        many = np.flatnonzero(multi_call[self.exe])
        self.called[many] = self._called(self.args[many])

    def _called(self, lists: I64) -> npt.NDArray[Any]:
        """Return the string index of what multi-call binaries are called: argv[0], or argv[1] where that is the file."""
        strings, first, second = self.events.strings, _word(self.events, lists, 0), _word(self.events, lists, 1)
        by_file, by_option = np.zeros((2, len(strings) or 1), bool)
        for index in set(first.tolist()):
            by_file[index] = strings[index].rpartition("/")[2] in behaviour_keys.MULTI_CALL
        for index in set(second[by_file[first]].tolist()):
            by_option[index] = behaviour_keys.names_applet(strings[index])
        return np.where(by_file[first] & by_option[second], second, first)

    def said(self, place: int) -> tuple[str, str, str, int]:
        """Return what a program's name is made of: file, what it is called where it matters, parent, flags."""
        strings = self.events.strings
        return strings[self.exe[place]], strings[self.called[place]], strings[self.parent[place]], int(self.flags[place])


def _names(exe: str, called: str, parent: str, flags: int) -> tuple[str, str]:
    """Return program and parent as text."""
    return behaviour_keys.program(exe, called, parent, flags), behaviour_keys.path(parent)


def _execs(programs: _Programs, places: I64, vocabulary: Vocabulary) -> I64:
    columns = programs.exe, programs.called, programs.parent, programs.flags
    first, code = _distinct(*(column[places] for column in columns))
    numbers = np.zeros(len(first), np.int64)
    for at, place in enumerate(places[first].tolist()):
        said = programs.said(place)
        number = vocabulary.find(said)
        numbers[at] = vocabulary.add(said, _exec(*said)) if number is None else number
    return numbers[code]


def _exec(file: str, called: str, parent: str, flags: int) -> Behaviour:
    exe, by = _names(file, called, parent, flags)
    key = f"{exe} <- {by}" if by else exe
    if not by and flags >> ProcessFlag.INJECTED & 1:
        key += " (injected)"
    return Behaviour(BehaviourType.EXEC, key, exe, by, "", flags, ())


def _arguments(programs: _Programs, places: I64, execs: I64, vocabulary: Vocabulary) -> tuple[I64, I64]:
    """Return which of these execs have arguments, and per such exec the number of their template."""
    events, lists = programs.events, programs.args[places]
    same = _same_lists(events, lists)
    told = np.flatnonzero(same)
    places, lists, execs = places[told], lists[told], execs[told]
    first, code = _distinct(execs, same[told], programs.subject[places])
    own: dict[int, list[tuple[str, str]]] = {}
    numbers = np.zeros(len(first), np.int64)
    for at, (subject, doer, arguments_of) in enumerate(
        zip(programs.subject[places[first]].tolist(), execs[first].tolist(), lists[first].tolist(), strict=True)
    ):
        example = behaviour_keys.as_called(vocabulary.behaviours[doer].exe, tuple(events.string_list(arguments_of)))
        together = "\0".join(example)
        if subject not in own:
            own[subject] = _own_names(events.subjects[subject])
        names = tuple([each for each in own[subject] if each[0] in together])
        said = (doer, example, names)
        number = vocabulary.find(said)
        if number is None:
            number = vocabulary.add(said, _with_arguments(vocabulary.behaviours[doer], example, names), len(together))
        numbers[at] = number
    return places, numbers[code]


def _with_arguments(doer: Behaviour, example: tuple[str, ...], names: Sequence[tuple[str, str]] = ()) -> Behaviour:
    words = arguments.template(base_name(doer.exe), example[1:], names)
    key = f"{doer.key}{behaviour_keys.ARGUMENTS}{arguments.text_of(words)}"
    return dataclasses.replace(doer, key=key, base=doer.key, words=words)


def with_arguments(doer: Behaviour) -> Behaviour:
    """Return the arguments of an exec's example as a behaviour."""
    return _with_arguments(doer, doer.example)


def _own_names(subject: Subject) -> list[tuple[str, str]]:
    """Return what a replica itself is called: in its arguments that says the same on every replica."""
    names = ((subject.pod.name, "pod"), (subject.pod.uid, "pod"), (subject.pod.ip, "pod-ip"), (subject.node, "node"))
    return [each for each in names if len(each[0]) >= SHORTEST_NAME]


def words_of(behaviour: Behaviour) -> tuple[str, ...]:
    """Return the template of an exec's arguments, whether they are what is judged or stand as an example beside a program."""
    return behaviour.words or arguments.template(base_name(behaviour.exe), behaviour.example[1:])


def context_of(behaviour: Behaviour) -> context.Context:
    """Return what a behaviour means anywhere."""
    flags = behaviour.flags
    if behaviour.type is BehaviourType.CONNECT:
        return context.of_connect(program=behaviour.exe, target=behaviour.target, injected=behaviour.injected)
    return context.of_exec(
        program=behaviour.exe,
        parent=behaviour.parent,
        arguments=behaviour.example,
        upper_layer=bool(flags >> ProcessFlag.UPPER_LAYER & 1),
        memory_file=bool(flags >> ProcessFlag.MEMFD & 1),
        stdio_socket=bool(flags >> ProcessFlag.STDIO_SOCKET & 1),
        injected=behaviour.injected,
    )


def restored(kind: BehaviourType, key: str, example: tuple[str, ...], parent: str) -> Behaviour:
    """Return a behaviour as its text tells it: good for judging what it means, though no event is at hand."""
    base, separator, text = key.partition(behaviour_keys.ARGUMENTS) if kind is BehaviourType.EXEC else (key, "", "")
    program, _, target = base.partition(" -> ") if kind is BehaviourType.CONNECT else (base, "", "")
    exe = program.partition(" <- ")[0].removesuffix(" (injected)")
    flags = 1 << ProcessFlag.INJECTED if base.endswith(" (injected)") else 0
    marks = exe.partition(" (")[2]
    flags |= sum(1 << flag for flag, mark in behaviour_keys.MARKS if mark in marks)
    if not separator:
        return Behaviour(kind, key, exe, parent, target, flags, example)
    return Behaviour(kind, key, exe, parent, target, flags, example, base, arguments.words_of(text))


def _connects(programs: _Programs, places: I64, vocabulary: Vocabulary) -> I64:
    events = programs.events
    columns = events.connects.take(events.places()[programs.rows[places]])
    # What the text of a destination does not tell apart is one thing from here on: a name server answers at thousands of ports.
    ports = behaviour_keys.told_ports(columns.port)
    addresses = np.where(behaviour_keys.told_by_peer(events.peers)[columns.peer, np.newaxis], 0, columns.address)
    upper, lower = np.ascontiguousarray(addresses, np.uint8).view(np.uint64).reshape(-1, 2).T
    who = (column[places] for column in (programs.exe, programs.called, programs.parent, programs.flags))
    first, code = _distinct(*who, ports, columns.protocol, columns.peer, upper, lower)
    numbers = np.zeros(len(first), np.int64)
    for at, row in enumerate(first.tolist()):
        peer = events.peers[columns.peer[row] - 1] if columns.peer[row] else None
        program, where = programs.said(int(places[row])), (int(ports[row]), int(columns.protocol[row]), peer)
        address = addresses[row].tobytes()
        said = (*program, address, *where)
        number = vocabulary.find(said)
        if number is None:
            exe, parent = _names(*program)
            target = behaviour_keys.destination(address, *where)
            behaviour = Behaviour(BehaviourType.CONNECT, f"{exe} -> {target}", exe, parent, target, program[-1], ())
            number = vocabulary.add(said, behaviour)
        numbers[at] = number
    return numbers[code]
