"""Offsets of kernel struct members, read from the running kernel's own BTF: no kernel headers, no guesses by version.

The format is `struct btf_header` and `struct btf_type` of `include/uapi/linux/btf.h`. A module's types continue the kernel's:
their numbers and the places of their strings go on where those end (951bb64621b8, 5.11).
"""

import contextlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["VMLINUX", "Btf", "BtfError", "read_types"]

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_MODULE = "overlay"
"""The module whose types are read, too, if they are beside the kernel's: most distributions build it as one."""

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MEMBER = struct.Struct("<III")
_ENUMERATOR = struct.Struct("<Ii")

_PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT = 2, 3, 4, 5, 6, 8, 9, 10, 11
_FUNCTION = 13
_TYPE_TAG = 18
_NAMED = {_STRUCT, _UNION, _ENUM, _TYPEDEF}
_TRANSPARENT = {_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG}

# Bytes that follow struct btf_type, by kind: fixed, or per entry of the type's vlen (DATASEC, ENUM64, …).
_FIXED = {1: 4, _ARRAY: 12, 14: 4, 17: 4}
_PER_ENTRY = {_STRUCT: 12, _UNION: 12, _ENUM: 8, 13: 8, 15: 12, 19: 12}


class BtfError(ValueError):
    """A struct or member is not in this kernel, or the file is no BTF."""


class _Type(NamedTuple):
    kind: int
    vlen: int
    bitfields: bool
    size_or_type: int
    at: int  # of what follows struct btf_type


def read_types(path: Path = VMLINUX) -> list[bytes]:
    """Return the types of a kernel, and those of the module that lie beside them, as they are.

    Raises:
        OSError: there is no BTF (kernel built without CONFIG_DEBUG_INFO_BTF) or it may not be read.
    """
    files = [path.read_bytes()]
    with contextlib.suppress(OSError):  # built in, not loaded, or a kernel before 5.11
        files.append(path.with_name(_MODULE).read_bytes())
    return files


class Btf:
    """The types of one kernel.

    Raises:
        OSError: as `read_types`.
        BtfError: a file is not BTF.
    """

    def __init__(self, path: Path = VMLINUX) -> None:
        self._data = self._strings = b""
        self._types: list[tuple[int, int]] = [(0, 0)]  # info word, position; type 0 is void
        self._names: dict[tuple[int, int], int] = {}  # (kind, name offset) → id
        for content in read_types(path):
            self._add(content, path)

    def _add(self, content: bytes, path: Path) -> None:
        try:
            magic, _, _, header, types, types_length, strings, strings_length = _HEADER.unpack_from(content)
        except struct.error:
            raise BtfError(f"{path} is too short to be BTF") from None
        if magic != _MAGIC:
            raise BtfError(f"{path} is no BTF of this machine's byte order")
        begin = len(self._data)
        self._data += content
        self._strings += content[header + strings : header + strings + strings_length]
        self._read(begin + header + types, begin + header + types + types_length)

    def _read(self, at: int, end: int) -> None:
        # 130,000 types in one pass: only what lookups need is kept.
        unpack, types, names = _TYPE.unpack_from, self._types, self._names
        data = self._data
        while at < end:
            name, info, _ = unpack(data, at)
            kind = info >> 24 & 0x1F
            if name and kind in _NAMED:
                names.setdefault((kind, name), len(types))
            types.append((info, at))
            at += 12 + _FIXED.get(kind, 0) + _PER_ENTRY.get(kind, 0) * (info & 0xFFFF)

    def _type(self, index: int) -> _Type:
        info, at = self._types[index]
        return _Type(info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31), _TYPE.unpack_from(self._data, at)[2], at + 12)

    def _string(self, offset: int) -> str:
        raw = self._strings[offset : offset + 256]
        return raw[: raw.index(0)].decode()

    def _find(self, name: str, kinds: Sequence[int]) -> _Type:
        encoded = b"\0" + name.encode() + b"\0"
        at = self._strings.find(encoded)
        while at >= 0:
            for kind in kinds:
                index = self._names.get((kind, at + 1))
                if index is not None:
                    return self._type(index)
            at = self._strings.find(encoded, at + 1)
        raise BtfError(f"this kernel has no type {name}")

    def _resolve(self, index: int) -> _Type:
        found = self._type(index)
        while found.kind in _TRANSPARENT:
            found = self._type(found.size_or_type)
        return found

    def _member(self, holder: _Type, name: str) -> tuple[int, _Type] | None:
        """Return byte offset and type of a member, also one of an anonymous struct or union inside."""
        for number in range(holder.vlen):
            text, index, place = _MEMBER.unpack_from(self._data, holder.at + 12 * number)
            bits = place & 0xFFFFFF if holder.bitfields else place
            if text:
                if self._string(text) == name:
                    return bits // 8, self._resolve(index)
                continue
            inner = self._resolve(index)
            found = self._member(inner, name) if inner.kind in {_STRUCT, _UNION} else None
            if found is not None:
                return bits // 8 + found[0], found[1]
        return None

    def offset(self, path: str) -> int:
        """Return the byte offset of `struct.member`, or of `struct.member.member…` through embedded structs.

        Raises:
            BtfError: this kernel has no such struct or member.
        """
        names = path.split(".")
        holder, total = self._find(names[0], (_STRUCT, _UNION)), 0
        for name in names[1:]:
            found = self._member(holder, name)
            if found is None:
                raise BtfError(f"this kernel has no {path}")
            total, holder = total + found[0], found[1]
        return total

    def size(self, name: str) -> int:
        """Return a struct's size in bytes."""
        return self._find(name, (_STRUCT, _UNION)).size_or_type

    def arguments(self, name: str) -> int:
        """Return how many arguments a function has, given the name of its type or of a pointer to it.

        Raises:
            BtfError: this kernel has no such type, or it is no function's.
        """
        found = self._resolve(self._find(name, (_TYPEDEF,)).size_or_type)
        while found.kind == _PTR:
            found = self._resolve(found.size_or_type)
        if found.kind != _FUNCTION:
            raise BtfError(f"{name} is no function")
        return found.vlen

    def enumerator(self, enum: str, name: str) -> int:
        """Return the value of one enumerator."""
        holder = self._find(enum, (_ENUM,))
        for number in range(holder.vlen):
            text, value = _ENUMERATOR.unpack_from(self._data, holder.at + 8 * number)
            if self._string(text) == name:
                return int(value)
        raise BtfError(f"this kernel has no {name} in enum {enum}")
