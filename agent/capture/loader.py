"""Loads a generation of probes, pins it, and ends: a process of its own, because the compiler, bcc, brings 130 MB of LLVM.

What was compiled is kept (`compiled.py`), and bcc is imported only when nothing is there that fits. It compiles and no more:
maps and programs are made by libbpf in any case, so what is kept and what is new take one way. This is the only module that
imports bcc. It does without numpy: a tenth of a second.

Run as `python -m agent.capture.loader FOLDER [MACRO…]`: FOLDER is made, whole or not at all, and macros choose what is built
(`FOLDING`, `CAPTURE_HOST`). On failure the last line on stderr is the reason, the exit code 3.
"""

import contextlib
import hashlib
import os
import platform
import re
import struct
import sys
from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from agent.capture.btf import VMLINUX, Btf, BtfError, read_types
from agent.capture.compiled import Compiled, Program, Reference, keep, kept
from agent.capture.libbpf import create_map, load_program, map_of, pin, store
from agent.capture.offsets import offset_macros
from agent.capture.pins import ANCHOR_PROGRAMS, MAPS, PROGRAMS, SYSCALL_PROGRAMS, TABLES, TAILS, unpin_all
from agent.capture.sizes import SIZES
from agent.errors import UnsupportedError

__all__ = ["load", "prepare"]

_INCLUDE = re.compile(r'#include "([a-z]+\.h)"')

_FREE_FOLDS = "free_folds"
"""A queue of the folds' places that nothing has; at first that is all of them."""

_PINNED_MAPS = (*MAPS, *TABLES, *TAILS)

# What is loaded, by enum bpf_prog_type. A tail call of both types is loaded twice.
_TRACEPOINT = 5
_RAW_TRACEPOINT = 17
_AFTER_SYSCALLS = {"anchor_syscall", *SYSCALL_PROGRAMS}
_PROGRAMS = {
    _TRACEPOINT: {*_AFTER_SYSCALLS, *TAILS["syscall_tails"]},
    _RAW_TRACEPOINT: {*PROGRAMS, *ANCHOR_PROGRAMS, *TAILS["tails"]} - _AFTER_SYSCALLS,
}
_TABLE_KINDS = {"tails": _RAW_TRACEPOINT, "syscall_tails": _TRACEPOINT}

# Instructions that are not loaded as they were compiled (include/uapi/linux/bpf.h): 8 bytes each, of which the last four are
# what is changed. Which map one names, and the atomic operations that bpf/kernel.h writes as others.
_LOAD_MAP = 0x18  # BPF_LD | BPF_IMM | BPF_DW, with src_reg BPF_PSEUDO_MAP_FD: the immediate is a map
_PSEUDO_MAP = 1
_ATOMIC = 0xDB  # BPF_STX | BPF_ATOMIC | BPF_DW: the immediate says which
_ATOMICS = {0x50: 0x01, 0x40: 0xE1}  # and → fetch and add, or → exchange


def load(folder: Path, macros: Sequence[str]) -> None:
    """Load a generation and pin it into `folder`, which must not exist yet.

    Raises:
        UnsupportedError: this kernel, or what this process may do, does not allow it; the text says what is missing.
    """
    key = _key(macros, VMLINUX, platform.machine())
    found = kept(key)
    if found is not None:
        with contextlib.suppress(UnsupportedError):  # whatever it is: if compiling does not help, that says the same
            _load_and_pin(found, folder)
            return
    compiled = _compile(macros, VMLINUX, platform.machine())
    _load_and_pin(compiled, folder)
    keep(key, compiled)


def prepare(macros: Sequence[str], *, types: Path, machine: str) -> None:
    """Compile for another kernel and keep it: one with these types (BTF) on a `machine` as `platform.machine()` says it there.

    Raises:
        UnsupportedError: that kernel cannot be captured, or nothing can be compiled here.
    """
    key = _key(macros, types, machine)
    if kept(key) is None:
        keep(key, _compile(macros, types, machine))


def _key(macros: Sequence[str], types: Path, machine: str) -> str:
    """Name what is compiled by all that it is made from: our own sources, the kernel's types, the machine, the mode.

    The sources are those of this module and its neighbours, too: they choose the offsets, the sizes and what is changed.
    """
    try:
        contents = read_types(types)
    except OSError as error:
        raise UnsupportedError(f"this kernel has no readable BTF ({error}): peerwatch needs CONFIG_DEBUG_INFO_BTF=y") from None
    sources = [(name, _digest(content)) for name, content in _sources(resources.files("agent.capture"))]
    return _digest(repr((sources, [_digest(each) for each in contents], machine, sorted(macros))).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sources(folder: Traversable) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.name.endswith((".c", ".h", ".py")):
            yield entry.name, entry.read_bytes()


def _compile(macros: Sequence[str], types: Path, machine: str) -> Compiled:
    with resources.as_file(resources.files("agent.capture") / "bpf") as sources:
        # bcc looks for the kernel's headers in this folder. Ours are a shim: structs are read by offset, not by header.
        os.environ["BCC_KERNEL_SOURCE"] = str(sources)
        try:
            from bcc import BPF  # noqa: PLC0415 — 0.2 s and 130 MB, only when there is something to compile
        except ImportError as error:
            raise UnsupportedError(
                f"bcc is missing ({error}): install python3-bpfcc and run `make setup`, see docs/install.md"
            ) from None
        if not hasattr(BPF, "RAW_TRACEPOINT"):
            raise UnsupportedError(
                "the module bcc is not the BPF Compiler Collection: remove PyPI's bcc, install python3-bpfcc"
            )
        flags = [f"-D{macro}={value}" for macro, value in _macros(types, machine).items()] + [f"-D{macro}" for macro in macros]
        try:
            module = BPF(text=amalgamate(sources / "probes.c"), cflags=[*flags, "-Wno-macro-redefined"])
            compiled = _take(module)
            module.cleanup()  # bcc's own maps, which are as large as those that we make
        except Exception as error:  # noqa: BLE001 — bcc raises nothing more exact
            raise _refused(error) from None
    return compiled


def amalgamate(source: Path, seen: set[Path] | None = None) -> str:
    """Return a source file with the files that it includes by name put in their places, each once.

    bcc translates map accesses in the main file only.
    """
    seen = set() if seen is None else seen
    seen.add(source)
    text = []
    for line in source.read_text().splitlines():
        included = _INCLUDE.fullmatch(line)
        if included is None:
            text.append(line)
        elif (path := source.parent / included[1]) not in seen:
            text.append(amalgamate(path, seen))
    return "\n".join(text) + "\n"


def _macros(types: Path, machine: str) -> dict[str, int]:
    try:
        return offset_macros(Btf(types), machine) | SIZES.macros()
    except BtfError as error:
        raise UnsupportedError(f"this kernel cannot be captured: {error}") from None


def _take(module: Any) -> Compiled:  # noqa: ANN401 — bcc has no types
    """Return what bcc compiled, with numbers of maps in place of its descriptors of them."""
    names = {module[name.encode()].map_fd: name for name in (*_PINNED_MAPS, _FREE_FOLDS)}
    places = {descriptor: place for place, descriptor in enumerate(names)}
    # A table holds programs of one type: those that run after system calls call each other in their own.
    others = {_RAW_TRACEPOINT: {}, _TRACEPOINT: {module[b"tails"].map_fd: module[b"syscall_tails"].map_fd}}
    programs = []
    for kind, wanted in _PROGRAMS.items():
        for name in sorted(wanted):
            code, found = _patch(module.dump_func(name.encode()))
            references = []
            for at, descriptor in found:
                meant = others[kind].get(descriptor, descriptor)
                references.append(Reference(at, places.setdefault(meant, len(places))))
            programs.append(Program(name, kind, code, tuple(references)))
    maps = [map_of(descriptor) for descriptor in places]
    maps[: len(names)] = [each._replace(name=name) for each, name in zip(maps, names.values(), strict=False)]
    return Compiled(tuple(maps), tuple(programs))


def _patch(compiled: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """Return a program's instructions with the atomic operations that are meant, and each map's descriptor with its place."""
    code, descriptors = bytearray(compiled), []
    for at in range(0, len(code), 8):
        (value,) = struct.unpack_from("<i", code, at + 4)
        if code[at] == _LOAD_MAP and code[at + 1] >> 4 == _PSEUDO_MAP:
            descriptors.append((at + 4, value))
        elif code[at] == _ATOMIC and value in _ATOMICS:
            struct.pack_into("<i", code, at + 4, _ATOMICS[value])
    return bytes(code), descriptors


def _load_and_pin(compiled: Compiled, folder: Path) -> None:
    with contextlib.ExitStack() as held:
        try:
            made = _load(compiled, held)
        except OSError as error:
            raise _refused(error.strerror) from None
        folder.mkdir(mode=0o700, parents=True)
        try:
            for name, descriptor in made.items():
                pin(descriptor, folder / name)
        except BaseException:
            unpin_all(folder)
            raise


def _load(compiled: Compiled, held: contextlib.ExitStack) -> dict[str, int]:
    """Make the maps and programs, with tables and queue filled, and return the descriptors of what is pinned."""
    maps = []
    for each in compiled.maps:
        maps.append(create_map(each))
        held.callback(os.close, maps[-1])
    programs = {}
    for program in compiled.programs:
        code = bytearray(program.code)
        for reference in program.references:
            struct.pack_into("<i", code, reference.at, maps[reference.map])
        descriptor = programs[program.kind, program.name] = load_program(program.name, program.kind, bytes(code))
        held.callback(os.close, descriptor)
    by_name = {each.name: descriptor for each, descriptor in zip(compiled.maps, maps, strict=True)}
    for table, tails in TAILS.items():
        for name, place in tails.items():
            store(by_name[table], struct.pack("<I", place), struct.pack("<I", programs[_TABLE_KINDS[table], name]))
    for place in range(SIZES.folds):
        store(by_name[_FREE_FOLDS], None, struct.pack("<I", place))
    pinned = {name: by_name[name] for name in _PINNED_MAPS}
    for name in (*PROGRAMS, *ANCHOR_PROGRAMS):
        pinned[name] = programs[_TRACEPOINT if name in _AFTER_SYSCALLS else _RAW_TRACEPOINT, name]
    return pinned


def _refused(reason: object) -> UnsupportedError:
    return UnsupportedError(f"the probes cannot be loaded: {reason}; `peerwatch-agent check` says what is missing")


def main() -> int:
    """Load into the folder given as the first argument."""
    try:
        load(Path(sys.argv[1]), sys.argv[2:])
    except UnsupportedError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
