"""What is built as a module, as most distributions build overlayfs, has its types in a file of its own."""

import struct
from pathlib import Path

import pytest

from agent.capture.btf import Btf, BtfError

INT, STRUCT = 1, 4


def _btf(strings: bytes, *types: bytes) -> bytes:
    """Return a file with these strings and types."""
    body = b"".join(types)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings)) + body + strings


def _int(name: int) -> bytes:
    return struct.pack("<IIII", name, INT << 24, 8, 64)


def _struct(name: int, size: int, *members: tuple[int, int, int]) -> bytes:
    """Return a struct; a member is its name, its type, and where it is, in bits."""
    return struct.pack("<III", name, STRUCT << 24 | len(members), size) + b"".join(
        struct.pack("<III", *each) for each in members
    )


KERNEL_STRINGS = b"\0long\0inode\0number\0"
KERNEL = _btf(KERNEL_STRINGS, _int(1), _struct(6, 16, (12, 1, 64)))
"""Types 1, long, and 2, struct inode { 8 bytes; long number; }."""


@pytest.fixture
def types(tmp_path: Path) -> Path:
    (tmp_path / "vmlinux").write_bytes(KERNEL)
    return tmp_path / "vmlinux"


def test_members_of_a_module_s_struct_are_found(types: Path) -> None:
    first = len(KERNEL_STRINGS)  # where the module's own strings begin
    module = _btf(b"layer\0inner\0upper\0", _struct(first, 32, (first + 6, 2, 64), (first + 12, 1, 192)))
    types.with_name("overlay").write_bytes(module)

    btf = Btf(types)

    assert (btf.offset("layer.upper"), btf.offset("layer.inner.number")) == (24, 16)
    assert btf.offset("inode.number") == 8


def test_without_the_module_only_its_own_are_missing(types: Path) -> None:
    btf = Btf(types)

    assert btf.offset("inode.number") == 8
    with pytest.raises(BtfError, match="no type layer"):
        btf.offset("layer.upper")


def test_a_damaged_file_of_a_module_is_told(types: Path) -> None:
    types.with_name("overlay").write_bytes(b"\0" * 8)

    with pytest.raises(BtfError, match="too short"):
        Btf(types)
