"""What the probes see, in the words of a test: read until something is there, then count it."""

import ipaddress
import time
from collections.abc import Callable

import numpy as np
from peerwatch import jsonlines
from peerwatch.columns import ColumnsBuilder, ConnectResult, EventColumns, EventKind, ProcessFlag, Protocol
from peerwatch.subjects import Container, Pod, Subject

from agent.assembly import assemble
from agent.capture.probes import Probes, boot_to_wall
from agent.identity.cgroups import container_of
from agent.node import HOLD_NS
from harness.world import World

__all__ = ["Capture", "Seen"]


class Capture:
    """Probes of one test, with everything read so far as one table."""

    def __init__(self, probes: Probes, world: World) -> None:
        self.probes = probes
        self.others: set[str] = set()
        """Ids of containers that are not the world's and count as a test's own."""
        self._world = world
        self._builder = ColumnsBuilder()

    def subject_of(self, key: int) -> Subject:
        ref = container_of(self.probes.cgroup_path(key))
        return Subject(pod=Pod(uid=ref.pod_uid), container=Container(id=ref.id)) if ref else Subject()

    def read(self, *, ask: bool = True) -> EventColumns:
        """Take what there is and return everything since the beginning, in order of time.

        `ask`: for counted repeats, too, and for connects that are under way.
        """
        current = self.probes.current
        if ask:
            current.folds.report()
            current.tell(current.overdue(time.clock_gettime_ns(time.CLOCK_BOOTTIME) - HOLD_NS))
        while len(records := current.read()):
            table = assemble(
                [records.small, records.long], self.subject_of, wall=boot_to_wall(), start_wall=self.probes.boot_offset
            )
            current.release(records.cursor)
            self._builder.extend(self._own(table))
        return self._builder.build().sorted_by_time()

    def _own(self, table: EventColumns) -> EventColumns:
        """Leave out containers of others on this host."""
        ids = {
            container.id
            for deployment in self._world.deployments
            for replica in deployment.replicas
            for container in replica.containers.values()
        } | self.others
        own = np.array([subject.container.id in ids for subject in table.subjects], bool)
        return table.take(np.flatnonzero(own[table.subject]))

    def until(self, condition: Callable[["Seen"], bool], timeout: float = 10, *, ask: bool = True) -> "Seen":
        """Read until the condition holds, then once more: what comes too often would show."""
        deadline = time.monotonic() + timeout
        while not condition(seen := Seen(self.read(ask=ask))):
            assert time.monotonic() < deadline, f"not seen within {timeout} s; seen: {seen.lines()[-7:]}"
            time.sleep(0.01)
        return Seen(self.read(ask=ask))

    def forget(self) -> None:
        """Make whatever comes next the first of its kind, and take away what nobody has read yet."""
        current = self.probes.current
        later = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 3600 * 10**9
        for _ in range(3):  # taken out, then free again; the first time rings may have no room for what was counted
            self.discard()
            current.tell(current.overdue(later))
            current.folds.report()
            current.folds.recycle(later)
        self.discard()

    def discard(self) -> None:
        """Take away what nobody has read yet."""
        while len(records := self.probes.current.read()):
            self.probes.current.release(records.cursor)


class Seen:
    """What was captured, in the words of a test."""

    def __init__(self, table: EventColumns) -> None:
        self.table = table

    def execs(self, exe: str = "", container: str = "") -> list[int]:
        """Return rows of `table.processes` for each exec of a file, in a container; a repeat has that of the first."""
        rows = self.table.rows_of(EventKind.EXEC)
        return [
            int(self.table.process[row])
            for row, count in zip(rows, self.table.execs.count.tolist(), strict=True)
            for _ in range(count)
            if exe in {"", self.exe(int(self.table.process[row]))} and container in {"", self.container(int(row))}
        ]

    def rows(self, kind: EventKind, *, exe: str = "", port: int | None = None, container: str = "") -> list[int]:
        """Return the table's rows of a kind: of a file's processes, to or on a port, in a container."""
        ports = self.table.part(kind).port.tolist() if port is not None else ()
        return [
            row
            for place, row in enumerate(self.table.rows_of(kind).tolist())
            if exe in {"", self.exe(int(self.table.process[row]))}
            and (port is None or ports[place] == port)
            and container in {"", self.container(row)}
        ]

    def counts(self, kind: EventKind, *, exe: str = "", port: int | None = None, container: str = "") -> list[int]:
        """Return for each such row how many events it stands for."""
        counts: list[int] = self.table.counts()[self.rows(kind, exe=exe, port=port, container=container)].tolist()
        return counts

    def exits(self, exe: str, container: str = "") -> list[tuple[int, int]]:
        """Return (code, signal) of each exit of a file's processes."""
        columns, places = self.table.exits, self.table.places()
        return [
            (int(columns.code[place]), int(columns.signal[place]))
            for place in places[self.rows(EventKind.EXIT, exe=exe, container=container)]
            for _ in range(int(columns.count[place]))
        ]

    def connects(self, port: int, container: str = "") -> list[tuple[str, str, str]]:
        """Return (protocol, address, result) of each connect to a port."""
        found = []
        columns = self.table.connects
        for ordinal, row in enumerate(self.table.rows_of(EventKind.CONNECT)):
            if columns.port[ordinal] == port and container in {"", self.container(int(row))}:
                address = ipaddress.IPv6Address(columns.address[ordinal].tobytes())
                connect = (
                    Protocol(columns.protocol[ordinal]).name,
                    str(address.ipv4_mapped or address),
                    ConnectResult(columns.result[ordinal]).name,
                )
                found += [connect] * int(columns.count[ordinal])
        return found

    def exe(self, process: int) -> str:
        return self.table.strings[self.table.processes.exe[process]]

    def args(self, process: int) -> list[str]:
        return self.table.string_list(int(self.table.processes.args[process]))

    def flags(self, process: int) -> set[str]:
        flags = int(self.table.processes.flags[process])
        return {flag.name for flag in ProcessFlag if flags >> flag & 1}

    def lineage(self, process: int) -> list[str]:
        return self.table.string_list(int(self.table.processes.ancestors[process]))

    def container(self, row: int) -> str:
        return self.table.subjects[self.table.subject[row]].container.id

    def lines(self) -> list[str]:
        return [line.decode() for line in jsonlines.write(self.table)]
