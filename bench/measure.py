"""What is measured, and how: CPU time of processes, run time of BPF programs, memory of both. Linux only; needs root for BPF.

Nothing here changes the machine: statistics of BPF programs are on while `bpf_statistics()` holds a file descriptor, so that
they are off again however the benchmark ends, unlike with the sysctl kernel.bpf_stats_enabled.
"""

import contextlib
import ctypes
import functools
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "BpfObjects",
    "Memory",
    "Ran",
    "bpf_statistics",
    "children_cpu_ns",
    "cpu_ns",
    "memory",
    "process_tree",
    "tracing_programs",
]

_RUN_TIME = 0  # enum bpf_stats_type
_CPUCLOCK_SCHED = 2  # include/linux/posix-timers.h; with ~pid above it, what clock_getcpuclockid(3) makes
_MAPS_MAX = 64  # MAX_USED_MAPS in include/linux/bpf_verifier.h
_PROGRAM_ARRAY, _ARRAY_OF_MAPS = 3, 12  # enum bpf_map_type: their elements are ids
_TRACING = {2, 5, 7, 17, 24, 26}  # enum bpf_prog_type: KPROBE, TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT (also WRITABLE), TRACING
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")


@functools.cache
def _libbpf() -> ctypes.CDLL:
    return ctypes.CDLL("libbpf.so.1", use_errno=True)


def _descriptor(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


@contextlib.contextmanager
def bpf_statistics() -> Iterator[None]:
    """Have the kernel measure how long BPF programs run. It costs each run two reads of a clock: all systems alike."""
    handle = _descriptor(_libbpf().bpf_enable_stats(_RUN_TIME), "cannot switch statistics of BPF programs on")
    try:
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Ran:
    """How long BPF programs ran, how often, and how often they did not because they were running already."""

    time_ns: int = 0
    runs: int = 0
    missed: int = 0

    def __sub__(self, before: "Ran") -> "Ran":
        """Return what was added since."""
        return Ran(self.time_ns - before.time_ns, self.runs - before.runs, self.missed - before.missed)


class BpfObjects:
    """The BPF programs of a system and their maps, however it holds them: by file descriptors of its processes or by pins."""

    def __init__(self, pids: list[int], pins: Path | None = None) -> None:
        """Find the programs that these processes have open and those that are pinned or linked below `pins`.

        Then all that can be reached from there: the maps that programs use, the programs that such maps call.
        """
        self._programs: dict[int, int] = {}  # held open: a program's time could not be read once it is gone
        self._maps: set[int] = set()
        for facts in [*_held(pids), *_pinned(pins)]:
            if "prog_id" in facts:
                self._take_program(int(facts["prog_id"]))
            elif "map_id" in facts:
                self._take_map(int(facts["map_id"]))

    def _take_program(self, number: int) -> None:
        if number not in self._programs:
            self._programs[number] = _descriptor(_libbpf().bpf_prog_get_fd_by_id(number), f"BPF program {number}")
            for each in _map_ids(self._programs[number]):
                self._take_map(each)

    def _take_map(self, number: int) -> None:
        if number in self._maps:
            return
        self._maps.add(number)
        with _map(number) as (handle, facts):
            take = {_PROGRAM_ARRAY: self._take_program, _ARRAY_OF_MAPS: self._take_map}.get(int(facts["map_type"]))
            for key in range(int(facts["max_entries"]) if take else 0):
                value = ctypes.c_uint32(0)
                if take and _libbpf().bpf_map_lookup_elem(handle, ctypes.byref(ctypes.c_uint32(key)), ctypes.byref(value)) >= 0:
                    take(value.value)

    def __len__(self) -> int:
        """Return how many programs there are."""
        return len(self._programs)

    def ran(self) -> Ran:
        """Return what all programs did since they were loaded, over all CPUs, while statistics were on."""
        facts = [_facts(Path(f"/proc/self/fdinfo/{each}")) for each in self._programs.values()]
        return Ran(*(sum(int(each.get(key, 0)) for each in facts) for key in ("run_time_ns", "run_cnt", "recursion_misses")))

    def map_bytes(self) -> int:
        """Return what the kernel charges for the maps; a map that is gone counts nothing."""
        total = 0
        for each in self._maps:
            with contextlib.suppress(OSError), _map(each) as (_, facts):
                total += int(facts.get("memlock", 0))
        return total

    def close(self) -> None:
        """Let go of the programs."""
        for each in self._programs.values():
            os.close(each)
        self._programs.clear()


def tracing_programs() -> list[str]:
    """Return the names of all BPF programs on the machine that trace: what else is attached has its price, too."""
    names = []
    number = ctypes.c_uint32(0)
    while _libbpf().bpf_prog_get_next_id(number, ctypes.byref(number)) >= 0:
        with contextlib.suppress(OSError):  # gone meanwhile
            program = _descriptor(_libbpf().bpf_prog_get_fd_by_id(number), f"BPF program {number.value}")
            facts = _facts(Path(f"/proc/self/fdinfo/{program}"))
            if int(facts.get("prog_type", 0)) in _TRACING:
                names.append(_program_info(program, (ctypes.c_uint32 * 1)())[64:80].rstrip(b"\0").decode("utf-8", "replace"))
            os.close(program)
    return names


def _facts(fdinfo: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in fdinfo.read_text().splitlines())
    return {key: value.strip() for key, _, value in pairs}


@contextlib.contextmanager
def _map(number: int) -> Iterator[tuple[int, dict[str, str]]]:
    handle = _descriptor(_libbpf().bpf_map_get_fd_by_id(number), f"BPF map {number}")
    try:
        yield handle, _facts(Path(f"/proc/self/fdinfo/{handle}"))
    finally:
        os.close(handle)


def _held(pids: list[int]) -> Iterator[dict[str, str]]:
    for pid in pids:
        for each in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                yield _facts(each)


def _pinned(pins: Path | None) -> Iterator[dict[str, str]]:
    for each in sorted(pins.rglob("*")) if pins else []:
        if each.is_file():
            handle = _descriptor(_libbpf().bpf_obj_get(os.fsencode(each)), f"cannot open {each}")
            yield _facts(Path(f"/proc/self/fdinfo/{handle}"))
            os.close(handle)


def _map_ids(program: int) -> list[int]:
    """Return the maps that a program uses: most are neither pinned nor open anywhere."""
    ids = (ctypes.c_uint32 * _MAPS_MAX)()
    (count,) = struct.unpack_from("<I", _program_info(program, ids), 52)
    return list(ids[: min(count, len(ids))])


def _program_info(program: int, map_ids: ctypes.Array[ctypes.c_uint32]) -> bytes:
    """Return struct bpf_prog_info (include/uapi/linux/bpf.h): nr_map_ids is at 52, the pointer map_ids at 56, name at 64."""
    info = ctypes.create_string_buffer(256)
    struct.pack_into("<IQ", info, 52, len(map_ids), ctypes.addressof(map_ids))
    length = ctypes.c_uint32(len(info))
    _descriptor(_libbpf().bpf_obj_get_info_by_fd(program, info, ctypes.byref(length)), "cannot ask about a BPF program")
    return info.raw


def process_tree(pid: int) -> list[int]:
    """Return a process and all its descendants that live."""
    found = [pid]
    for each in found:  # grows while it is read
        with contextlib.suppress(OSError):  # gone meanwhile
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process and its descendants that live, threads that have ended included.

    By each process' CPU clock: the scheduler's own sum in nanoseconds, as in schedstat, which forgets threads that ended.
    """
    total = 0
    for each in process_tree(pid):
        with contextlib.suppress(OSError):  # gone meanwhile
            total += time.clock_gettime_ns(~each << 3 | _CPUCLOCK_SCHED)
    return total


def children_cpu_ns(pid: int) -> int:
    """Return the CPU time of the children that a process has waited for, to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * _TICK_NS  # cutime, cstime: proc(5), fields 16 and 17


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process, bytes: now, of it without a file behind it, and the most it ever was."""

    resident: int
    anonymous: int
    peak: int


def memory(pid: int) -> Memory:
    """Return what a process holds now.

    Raises:
        OSError: there is no such process.
    """
    facts = _facts(Path(f"/proc/{pid}/status"))
    kilobytes: Callable[[str], int] = lambda key: int(facts.get(key, "0").split()[0]) << 10  # noqa: E731 — used three times, here only
    return Memory(kilobytes("VmRSS"), kilobytes("RssAnon"), kilobytes("VmHWM"))
