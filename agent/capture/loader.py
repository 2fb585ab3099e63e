"""Compiles and loads a generation of probes, pins it, and ends: a process of its own, because bcc brings LLVM (130 MB) with it.

This is the only module that imports bcc. It does without numpy: a tenth of a second.

Run as `python -m agent.capture.loader FOLDER [MACRO…]`: FOLDER is made, whole or not at all, and macros choose what is built
(`FOLDING`, `CAPTURE_HOST`). On failure the last line on stderr is the reason, the exit code 3.
"""

import ctypes
import os
import platform
import re
import struct
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from agent.capture.btf import Btf, BtfError
from agent.capture.libbpf import pin
from agent.capture.offsets import offset_macros
from agent.capture.pins import ANCHOR_PROGRAMS, MAPS, PROGRAMS, SYSCALL_PROGRAMS, TABLES, TAILS, unpin_all
from agent.capture.sizes import SIZES
from agent.errors import UnsupportedError

__all__ = ["load"]

_INCLUDE = re.compile(r'#include "([a-z]+\.h)"')

_AFTER_SYSCALLS = {"anchor_syscall", *SYSCALL_PROGRAMS, *TAILS["syscall_tails"]} - set(TAILS["tails"])
"""Programs of the type that runs after system calls; all others are raw tracepoints."""

# Instructions that are changed before programs are loaded (include/uapi/linux/bpf.h): which map one names, and the atomic
# operations that bpf/kernel.h writes as others.
_LOAD_MAP = 0x18  # BPF_LD | BPF_IMM | BPF_DW, with src_reg BPF_PSEUDO_MAP_FD: the immediate is a map
_PSEUDO_MAP = 1
_ATOMIC = 0xDB  # BPF_STX | BPF_ATOMIC | BPF_DW: the immediate says which
_ATOMICS = {0x50: 0x01, 0x40: 0xE1}  # and → fetch and add, or → exchange


def load(folder: Path, macros: Sequence[str]) -> None:
    """Load a generation and pin it into `folder`, which must not exist yet.

    Raises:
        UnsupportedError: this kernel, or what this process may do, does not allow it; the text says what is missing.
    """
    with resources.as_file(resources.files("agent.capture") / "bpf") as sources:
        # bcc looks for the kernel's headers in this folder. Ours are a shim: structs are read by offset, not by header.
        os.environ["BCC_KERNEL_SOURCE"] = str(sources)
        try:
            from bcc import BPF  # noqa: PLC0415 — 0.2 s and 130 MB, only in this process
        except ImportError as error:
            raise UnsupportedError(
                f"bcc is missing ({error}): install python3-bpfcc and run `make setup`, see docs/install.md"
            ) from None
        if not hasattr(BPF, "RAW_TRACEPOINT"):
            raise UnsupportedError(
                "the module bcc is not the BPF Compiler Collection: remove PyPI's bcc, install python3-bpfcc"
            )
        flags = [f"-D{macro}={value}" for macro, value in _macros().items()] + [f"-D{macro}" for macro in macros]
        try:
            module = BPF(text=amalgamate(sources / "probes.c"), cflags=[*flags, "-Wno-macro-redefined"])
            programs = _load_programs(module)
        except Exception as error:  # noqa: BLE001 — bcc raises nothing more exact
            raise UnsupportedError(
                f"the probes cannot be loaded: {error}; `peerwatch-agent check` says what is missing"
            ) from None
    free = module[b"free_folds"]
    for place in range(SIZES.folds):
        free.push(ctypes.c_uint32(place))
    folder.mkdir(mode=0o700, parents=True)
    try:
        for name in (*MAPS, *TABLES, *TAILS):
            pin(module[name.encode()].map_fd, folder / name)
        for name in (*PROGRAMS, *ANCHOR_PROGRAMS):
            pin(programs[name], folder / name)
    except BaseException:
        unpin_all(folder)
        raise


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


def _macros() -> dict[str, int]:
    try:
        return offset_macros(Btf(), platform.machine()) | SIZES.macros()
    except OSError as error:
        raise UnsupportedError(f"this kernel has no readable BTF ({error}): peerwatch needs CONFIG_DEBUG_INFO_BTF=y") from None
    except BtfError as error:
        raise UnsupportedError(f"this kernel cannot be captured: {error}") from None


def _load_programs(module: Any) -> dict[str, int]:  # noqa: ANN401 — bcc has no types
    """Return the programs' descriptors, those of tail calls put into their tables."""
    from bcc import BPF  # noqa: PLC0415 — loaded before

    tables = {name: module[name.encode()] for name in TAILS}
    names = {*PROGRAMS, *ANCHOR_PROGRAMS, *TAILS["tails"], *TAILS["syscall_tails"]}
    programs = {
        name: _load_program(module, name, BPF.TRACEPOINT if name in _AFTER_SYSCALLS else BPF.RAW_TRACEPOINT, {})
        for name in sorted(names)
    }
    other_table = {tables["tails"].map_fd: tables["syscall_tails"].map_fd}
    for table, tails in TAILS.items():
        for name, place in tails.items():
            program = programs[name]
            if table == "syscall_tails" and name not in _AFTER_SYSCALLS:
                program = _load_program(module, name, BPF.TRACEPOINT, other_table)
            tables[table][ctypes.c_int(place)] = ctypes.c_int(program)
    return programs


def _load_program(module: Any, name: str, kind: int, maps: dict[int, int]) -> int:  # noqa: ANN401 — bcc has no types
    """Load a program as one of a type, with other maps in place of some."""
    from bcc.libbcc import lib  # noqa: PLC0415 — loaded before

    code = bytearray(module.dump_func(name.encode()))
    for at in range(0, len(code), 8):
        (value,) = struct.unpack_from("<i", code, at + 4)
        if code[at] == _LOAD_MAP and code[at + 1] >> 4 == _PSEUDO_MAP and value in maps:
            struct.pack_into("<i", code, at + 4, maps[value])
        elif code[at] == _ATOMIC and value in _ATOMICS:
            struct.pack_into("<i", code, at + 4, _ATOMICS[value])
    log = ctypes.create_string_buffer(65536)
    descriptor: int = lib.bcc_func_load(
        module.module, kind, name.encode(), bytes(code), len(code), b"Dual BSD/GPL", 0, 0, log, len(log), None, 0, -1
    )
    if descriptor < 0:
        last = log.value.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise UnsupportedError(f"{name} cannot be loaded: {os.strerror(ctypes.get_errno())} {' '.join(last)}")
    return descriptor


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
