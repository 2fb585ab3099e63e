"""Compiles the probes, attaches and pins them, and ends: a process of its own, because bcc brings LLVM (130 MB) with it.

What is pinned lives in a folder of the BPF file system and goes on without any process: links (they keep the programs
attached), rings, and maps. This is the only module that imports bcc.

Run as `python -m agent.capture.loader FOLDER`; on failure the last line on stderr is the reason, the exit code 3.
"""

import ctypes
import os
import re
import sys
import time
from importlib import resources
from pathlib import Path

from agent.capture.btf import Btf, BtfError
from agent.capture.offsets import offset_macros
from agent.capture.pins import LINKS, MAPS, RING_PAGES, pin, unpin_all
from agent.capture.tracepoints import attach_tracepoint
from agent.errors import UnsupportedError

__all__ = ["load"]

_INCLUDE = re.compile(r'#include "([a-z]+\.h)"')

RAW_TRACEPOINTS = ("sched_process_exec", "inet_sock_set_state")
TRACEPOINTS = {"enter_connect": "syscalls/sys_enter_connect", "exit_connect": "syscalls/sys_exit_connect"}


def load(folder: Path) -> None:
    """Attach all probes and pin them and their maps into `folder`, which must not exist yet.

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
        flags = [f"-D{macro}={value}" for macro, value in _macros().items()]
        try:
            module = BPF(text=amalgamate(sources / "probes.c"), cflags=[*flags, "-Wno-macro-redefined"])
        except Exception as error:  # noqa: BLE001 — bcc raises nothing more exact
            raise UnsupportedError(
                f"the probes cannot be loaded: {error}; `peerwatch-agent check` says what is missing"
            ) from None
    folder.mkdir(mode=0o700, parents=True)
    try:
        _pin_module(module, folder)
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
        return offset_macros(Btf()) | RING_PAGES
    except OSError as error:
        raise UnsupportedError(f"this kernel has no readable BTF ({error}): peerwatch needs CONFIG_DEBUG_INFO_BTF=y") from None
    except BtfError as error:
        raise UnsupportedError(f"this kernel cannot be captured: {error}") from None


def _pin_module(module: object, folder: Path) -> None:
    from bcc import BPF  # noqa: PLC0415 — loaded before

    assert isinstance(module, BPF)  # noqa: S101 — tells the type checker what load() made
    for name in MAPS:
        pin(module[name.encode()].map_fd, folder / name)
    offset = ctypes.c_uint64(time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    module[b"state"][ctypes.c_int(0)] = offset
    links = {name: module.raw_tracepoint_fds[name.encode()] for name in RAW_TRACEPOINTS}
    for function, tracepoint in TRACEPOINTS.items():
        program = module.load_func(function.encode(), BPF.TRACEPOINT)
        links[function] = attach_tracepoint(program.fd, tracepoint)
    for name in LINKS:
        pin(links[name], folder / name)


def main() -> int:
    """Load into the folder given as the only argument."""
    try:
        load(Path(sys.argv[1]))
    except UnsupportedError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
