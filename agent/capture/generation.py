"""One generation of probes, as it is pinned: its rings, counters, folds, and the questions that it answers.

A generation describes itself (map `layout`): the agent that replaced it reads what it left, also when records have changed
since.
"""

import contextlib
import functools
import json
import os
import secrets
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture.folds import Folds
from agent.capture.libbpf import lookup, open_pin, opened, run, store
from agent.capture.pins import MAPS
from agent.capture.records import ATTEMPT, CGROUP, FOLD, LONG_EVENT, LOSSES, SMALL_EVENT, Counter, Operation, State
from agent.capture.ring import Ring
from agent.capture.sizes import SIZES
from agent.capture.tables import map_table

__all__ = ["MOST_RECORDS", "Generation", "Records", "describe"]

MOST_RECORDS = 8192
"""Records taken from a ring at once: 5 MiB of small ones, so that a full ring is worked off in pieces."""

LAYOUT_BYTES = 4096
"""Size of the map `layout`; as in `bpf/scratch.h`."""


def describe(pins: Path) -> None:
    """Write into the maps of a generation that was just loaded what this and later agents want to know of it."""
    layout = {
        "sizes": [SIZES.small_ring, SIZES.long_ring],
        "small": np.lib.format.dtype_to_descr(SMALL_EVENT),
        "long": np.lib.format.dtype_to_descr(LONG_EVENT),
        "cgroup": np.lib.format.dtype_to_descr(CGROUP),
        "fold": np.lib.format.dtype_to_descr(FOLD),
        "attempt": np.lib.format.dtype_to_descr(ATTEMPT),
        "counters": [counter.name for counter in Counter],
        "folds": SIZES.folds,
        "attempts": SIZES.attempts,
    }
    state = {
        State.BOOT_OFFSET: time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        State.INSTANCE: secrets.randbits(63) | 1,
    }
    with opened(pins / "layout") as descriptor:
        store(descriptor, bytes(4), json.dumps(layout, separators=(",", ":")).encode().ljust(LAYOUT_BYTES, b"\0"))
    with opened(pins / "state") as descriptor:
        for place, value in state.items():
            store(descriptor, struct.pack("<I", place), struct.pack("<Q", value))


@dataclass(frozen=True, slots=True)
class Records:
    """What was read at once, until it is released. Long events come after small ones, not by time."""

    small: npt.NDArray[Any]
    long: npt.NDArray[Any]
    cursor: dict[str, int]
    """Up to where the rings were read, for `Generation.release`, and for the next agent if this one is killed before."""

    def __len__(self) -> int:
        """Return how many records these are."""
        return len(self.small) + len(self.long)


class Generation:
    """The probes pinned in `pins`.

    Raises:
        OSError: pins are missing or may not be opened.
    """

    def __init__(self, pins: Path) -> None:
        self.pins = pins
        self._descriptors = {name: open_pin(pins / name) for name in (*MAPS, "control", "tell")}
        layout = json.loads((lookup(self._descriptors["layout"], bytes(4), LAYOUT_BYTES) or b"").rstrip(b"\0"))
        self._cgroup = _dtype(layout["cgroup"])
        names: list[str] = layout["counters"]
        self._counters = len(names)
        self._places = {counter: names.index(counter.name) if counter.name in names else None for counter in Counter}
        self._rings = {
            name: Ring(self._descriptors.pop(name), size, _dtype(layout[record]))
            for name, record, size in zip(("small_events", "long_events"), ("small", "long"), layout["sizes"], strict=True)
        }
        fold, attempt = _dtype(layout["fold"]), _dtype(layout["attempt"])
        self.folds = Folds(self._descriptors["folds"], fold, layout["folds"], self._descriptors["control"])
        self._attempts = map_table(self._descriptors["attempts"], attempt, layout["attempts"])
        self.boot_offset = self._state(State.BOOT_OFFSET)
        """Wall clock minus boot clock, ns, when the first probes were attached: turns start times into stable identities."""
        self._instance = f"{self._state(State.INSTANCE):x}"

    def close(self) -> None:
        """Close, and leave the probes running."""
        self.folds.close()
        del self._attempts
        for ring in self._rings.values():
            ring.close()
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    @property
    def descriptors(self) -> list[int]:
        """File descriptors that become readable when there is something to read."""
        return [ring.descriptor for ring in self._rings.values()]

    @property
    def unread(self) -> bool:
        """Whether the rings hold something that was not read."""
        return any(ring.unread for ring in self._rings.values())

    @property
    def torn(self) -> int:
        """Records that no probe of ours can have written."""
        return sum(ring.torn for ring in self._rings.values())

    def ring_bytes(self) -> dict[str, tuple[int, int]]:
        """Return for each ring how many bytes it holds and can hold."""
        return {name: (ring.held, ring.size) for name, ring in self._rings.items()}

    def read(self) -> Records:
        """Read what the rings hold, up to `MOST_RECORDS` each; it stays there until it is released."""
        small, long = (ring.read(MOST_RECORDS) for ring in self._rings.values())
        return Records(
            _convert(small, SMALL_EVENT),
            _convert(long, LONG_EVENT),
            {f"{self._instance}/{name}": ring.position for name, ring in self._rings.items()},
        )

    def release(self, cursor: dict[str, int]) -> None:
        """Give back to the rings what was read up to `cursor`; of other generations it says nothing here."""
        for name, ring in self._rings.items():
            ring.release(cursor.get(f"{self._instance}/{name}", 0))

    def losses(self, cursor: dict[str, int]) -> tuple[dict[Counter, int], dict[str, int]]:
        """Return what was lost and not reported yet, and the cursor that says that it was.

        `cursor` is what an agent before this one left: it may know of reports that it could not note here any more.
        """
        counters = self.counters()
        names = {counter: f"{self._instance}/{counter.name}" for counter in LOSSES}
        lost = {
            counter: counters[counter] - max(self._state(place), cursor.get(names[counter], 0))
            for counter, place in LOSSES.items()
        }
        news = {counter: count for counter, count in lost.items() if count > 0}
        return news, {names[counter]: counters[counter] for counter in news}

    def note_reported(self, cursor: dict[str, int]) -> None:
        """Keep what `losses` said, once it is safe, for agents that know nothing of this one."""
        for counter, place in LOSSES.items():
            total = cursor.get(f"{self._instance}/{counter.name}")
            if total is not None:
                with contextlib.suppress(OSError):  # these probes are of a version that has no such place, and end now
                    store(self._descriptors["state"], struct.pack("<I", place), struct.pack("<Q", total))

    def counters(self) -> dict[Counter, int]:
        """Return what the kernel side counted since these probes were loaded, over all CPUs."""
        value = lookup(self._descriptors["counters"], bytes(4), 8 * self._counters * possible_cpus()) or b""
        totals = np.frombuffer(value, np.uint64).reshape(-1, self._counters).sum(axis=0)
        known = totals.tolist()
        return {counter: 0 if place is None else known[place] for counter, place in self._places.items()}

    def overdue(self, before: int) -> list[tuple[int, int, int]]:
        """Return place, socket and time of the TCP connects that began before a time (boot clock, ns) and have no end yet."""
        table = self._attempts
        places = np.flatnonzero((table["socket"] != 0) & (table["time"] < np.uint64(max(before, 0))))
        return list(zip(places.tolist(), table["socket"][places].tolist(), table["time"][places].tolist(), strict=True))

    def tell(self, attempts: list[tuple[int, int, int]]) -> None:
        """Have these connects handed over as under way; those that have ended meanwhile are left alone."""
        for attempt in attempts:
            run(self._descriptors["tell"], [0, *attempt])

    def declare_agent(self) -> None:
        """Tell the probes that this process is the agent: what it does is marked CANARY."""
        run(self._descriptors["control"], [Operation.CANARY])

    def cgroup_path(self, key: int) -> str:
        """Return a cgroup's path, empty if the probes no longer know it.

        It begins with `/` only if they followed it to the root: what is above is missing otherwise.
        """
        value = lookup(self._descriptors["cgroups"], struct.pack("<Q", key), self._cgroup.itemsize)
        if value is None:
            return ""
        entry = np.frombuffer(value, self._cgroup)[0]
        names = bytes(entry["path"])[: int(entry["length"])].decode("utf-8", "backslashreplace").rstrip("/").split("/")
        return ("/" if entry["is_complete"] else "") + "/".join(reversed(names))

    def _state(self, place: int) -> int:
        return int.from_bytes(lookup(self._descriptors["state"], struct.pack("<I", place), 8) or b"", "little")


def _dtype(description: list[Any]) -> np.dtype[Any]:
    """Return the type of a description that has been JSON: lists where tuples must be."""
    return np.dtype(
        [
            (name, kind if isinstance(kind, str) else _dtype(kind), *(tuple(each) for each in shape))
            for name, kind, *shape in description
        ]
    )


def _convert(records: npt.NDArray[Any], wanted: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return records of another version in the present form: fields by name, those it did not have are 0."""
    if records.dtype == wanted:
        return records
    if records.dtype["text"].itemsize > wanted["text"].itemsize:
        wanted = np.dtype([*wanted.descr[:-1], ("text", "u1", (records.dtype["text"].itemsize,))])
    converted = np.zeros(len(records), wanted)
    for name in set(wanted.names or ()) & set(records.dtype.names or ()):
        if name == "text":
            converted["text"][:, : records["text"].shape[1]] = records["text"]
        else:
            with contextlib.suppress(ValueError):  # another shape: another meaning
                converted[name] = records[name]
    return converted


@functools.cache
def possible_cpus() -> int:
    """Return how many values a per-CPU map holds for one key: `0-3` means four."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(ranges.rpartition(",")[2].rpartition("-")[2]) + 1
