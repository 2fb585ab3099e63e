"""The parts of an event table: process images, and for each kind of event what is special to it.

A field's type says all there is to know of its column: the numbers in it, how many make a row, and what they refer to.
`columns_of` reads that from the classes, so that joining tables, the wire form and the builder treat every part alike, and a
new field is one line here.
"""

import enum
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self, TypeAlias, TypeVar, cast, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from peerwatch.columns.kinds import I64, U8, U16, U32, U64, ConnectResult, EventKind, Protocol

__all__ = [
    "PARTS",
    "Accepts",
    "AncestorIds",
    "Column",
    "Connects",
    "Execs",
    "Exits",
    "Listens",
    "Losses",
    "Part",
    "Processes",
    "Refers",
    "Rows",
    "StringLists",
    "columns_of",
    "empty",
]

ADDRESS_BYTES = 16


class Refers(enum.Enum):
    """What the numbers of a column point to; the value is the name of the table's field."""

    STRING = "strings"
    STRING_LIST = "lists"
    ANCESTOR_IDS = "ancestor_ids"
    PEER = "peers"
    """Here 0 is nobody, and n is peer n - 1."""


String = Annotated[U32, Refers.STRING]
StringList = Annotated[U32, Refers.STRING_LIST]
AncestorIdList = Annotated[U32, Refers.ANCESTOR_IDS]
PeerOrNone = Annotated[U32, Refers.PEER]
Address = Annotated[U8, ADDRESS_BYTES]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a part, as its field's type says."""

    name: str
    dtype: np.dtype[Any]
    width: int = 1
    """Numbers in a row."""
    refers: Refers | None = None
    values: type[enum.IntEnum] | None = None
    """The enum whose numbers these are."""

    def array(self, rows: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return an array of this column's type and shape; numbers that do not fit are an error."""
        if self.width > 1 and isinstance(rows, list | tuple):
            rows = np.frombuffer(b"".join(rows), self.dtype)
        return np.asarray(rows, self.dtype).reshape((-1, self.width) if self.width > 1 else -1)


def columns_of(part: type) -> tuple[Column, ...]:
    """Return the columns of a part's class in the order of its fields."""
    return _COLUMNS[part]


_Rows = TypeVar("_Rows", bound="Rows")  # Python 3.11 has no type parameter lists


def empty(part: type[_Rows]) -> _Rows:
    """Return a part without rows; all have the same one, since nothing of it can be changed."""
    return cast("_Rows", _EMPTY[part])


def _column(name: str, hint: Any) -> Column:  # noqa: ANN401 — the annotation of a field, which has no type of its own
    array, *notes = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    dtype = np.dtype(get_args(get_args(array)[1])[0])
    width, refers, values = 1, None, None
    for note in notes:
        if isinstance(note, Refers):
            refers = note
        elif isinstance(note, int):
            width = note
        else:
            values = note
    return Column(name, dtype, width, refers, values)


@dataclass(frozen=True, slots=True)
class Rows:
    """What all parts have in common."""

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(getattr(self, columns_of(type(self))[0].name))

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Self:
        """Return these rows in this order."""
        return type(self)(**{column.name: getattr(self, column.name)[rows] for column in columns_of(type(self))})


@dataclass(frozen=True, slots=True)
class Processes(Rows):
    """Process images, one per row."""

    pid: U32
    start_time: I64
    exe: String
    args: StringList
    cwd: String
    uid: U32
    gid: U32
    effective_uid: U32
    effective_gid: U32
    capabilities: U64
    """The effective set, bit n is capability n; `NOT_RECORDED` where nobody knows."""
    gained_capabilities: U64
    """Those of the effective set that the exec added; 0 for none."""
    script: String
    parent_pid: U32
    parent_start_time: I64
    parent_exe: String
    ancestors: StringList
    ancestor_ids: AncestorIdList
    """The i-th of the list is who the i-th of `ancestors` was; the list may be shorter."""
    flags: U32


@dataclass(frozen=True, slots=True)
class Execs(Rows):
    """What is special to execs; row i belongs to the i-th EXEC, as in all parts below."""

    count: U32
    last_time: I64


@dataclass(frozen=True, slots=True)
class Connects(Rows):
    """What is special to connects. `address` is (n, 16), IPv4 as IPv4-mapped, here and below."""

    protocol: Annotated[U8, Protocol]
    address: Address
    port: U16
    result: Annotated[U8, ConnectResult]
    count: U32
    last_time: I64
    peer: PeerOrNone


@dataclass(frozen=True, slots=True)
class Losses(Rows):
    """What is special to losses."""

    reason: String
    count: U32
    begin: I64
    end: I64


@dataclass(frozen=True, slots=True)
class Exits(Rows):
    """What is special to exits; `lifetime` in nanoseconds, the mean of `count`, 0 where unknown."""

    code: U32
    signal: U32
    lifetime: I64
    count: U32
    last_time: I64


@dataclass(frozen=True, slots=True)
class Listens(Rows):
    """What is special to listens."""

    protocol: Annotated[U8, Protocol]
    address: Address
    port: U16


@dataclass(frozen=True, slots=True)
class Accepts(Rows):
    """What is special to accepts: the address of the other side, the port of this one."""

    protocol: Annotated[U8, Protocol]
    address: Address
    port: U16
    count: U32
    last_time: I64
    peer: PeerOrNone


Part: TypeAlias = Execs | Connects | Losses | Exits | Listens | Accepts


class KindPart(NamedTuple):
    """Where the table keeps what is special to one kind of event."""

    name: str
    of: type[Part]


PARTS: dict[EventKind, KindPart] = {
    EventKind.EXEC: KindPart("execs", Execs),
    EventKind.CONNECT: KindPart("connects", Connects),
    EventKind.LOSS: KindPart("losses", Losses),
    EventKind.EXIT: KindPart("exits", Exits),
    EventKind.LISTEN: KindPart("listens", Listens),
    EventKind.ACCEPT: KindPart("accepts", Accepts),
}


@dataclass(frozen=True, slots=True)
class StringLists:
    """Lists of strings: list i is `values[offsets[i]:offsets[i + 1]]`, each an index into the table's strings."""

    offsets: U32
    values: String

    def __len__(self) -> int:
        """Return how many lists there are."""
        return len(self.offsets) - 1

    def take(self, index: npt.NDArray[np.integer[Any]]) -> Self:
        """Return the lists at `index`, in that order."""
        offsets, places = _places(self.offsets, index)
        return type(self)(offsets, self.values[places])


@dataclass(frozen=True, slots=True)
class AncestorIds:
    """Lists of processes by pid and start time, laid out as `StringLists`."""

    offsets: U32
    pid: U32
    start_time: I64

    def __len__(self) -> int:
        """Return how many lists there are."""
        return len(self.offsets) - 1

    def take(self, index: npt.NDArray[np.integer[Any]]) -> Self:
        """Return the lists at `index`, in that order."""
        offsets, places = _places(self.offsets, index)
        return type(self)(offsets, self.pid[places], self.start_time[places])


_COLUMNS: dict[type, tuple[Column, ...]] = {
    each: tuple(_column(name, hint) for name, hint in get_type_hints(each, include_extras=True).items())
    for each in (Processes, AncestorIds, *(part.of for part in PARTS.values()))
}


_EMPTY: dict[type, Rows] = {
    part: part(**{column.name: column.array(()) for column in _COLUMNS[part]})
    for part in (Processes, *(each.of for each in PARTS.values()))
}


def _places(offsets: U32, index: npt.NDArray[np.integer[Any]]) -> tuple[U32, I64]:
    """Return the offsets of the lists at `index` when they stand one after the other, and where their values are now."""
    taken = np.zeros(len(index) + 1, np.uint32)
    np.cumsum(np.diff(offsets)[index], out=taken[1:])
    # Position of each value: start of its source list plus its place in the list.
    shift = offsets[index].astype(np.int64) - taken[:-1]
    return taken, np.arange(taken[-1], dtype=np.int64) + np.repeat(shift, np.diff(taken))
