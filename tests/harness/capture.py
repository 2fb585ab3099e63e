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
from agent.outcomes import Outcomes
from harness.world import World

__all__ = ["Capture", "Seen"]


class Capture:
    """Probes of one test, with everything read so far as one table."""

    def __init__(self, probes: Probes, world: World) -> None:
        self.probes = probes
        self.others: set[str] = set()
        """Ids of containers that are not the world's and count as a test's own."""
        self._world = world
        self._outcomes = Outcomes()
        self._builder = ColumnsBuilder()

    def subject_of(self, key: int) -> Subject:
        ref = container_of(self.probes.cgroup_path(key))
        return Subject(pod=Pod(uid=ref.pod_uid), container=Container(id=ref.id)) if ref else Subject()

    def read(self) -> EventColumns:
        """Take what there is and return everything since the beginning, in order of time."""
        more = True
        while more:
            records = self.probes.read()
            more = len(records) > 0
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            parts = [self._outcomes.join(records.small, records.outcomes, now), records.long]
            if any(map(len, parts)):
                table = assemble(parts, self.subject_of, wall=boot_to_wall(), start_wall=self.probes.boot_offset)
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

    def until(self, condition: Callable[["Seen"], bool], timeout: float = 10) -> "Seen":
        """Read until the condition holds, then once more: what comes too often would show."""
        deadline = time.monotonic() + timeout
        while not condition(seen := Seen(self.read())):
            assert time.monotonic() < deadline, f"not seen within {timeout} s; seen: {seen.lines()[-20:]}"
            time.sleep(0.01)
        return Seen(self.read())


class Seen:
    """What was captured, in the words of a test."""

    def __init__(self, table: EventColumns) -> None:
        self.table = table

    def execs(self, exe: str = "", container: str = "") -> list[int]:
        """Return rows of `table.processes` for each exec of a file, in a container."""
        rows = self.table.rows_of(EventKind.EXEC)
        return [
            int(self.table.process[row])
            for row in rows
            if exe in {"", self.exe(int(self.table.process[row]))} and container in {"", self.container(int(row))}
        ]

    def connects(self, port: int, container: str = "") -> list[tuple[str, str, str]]:
        """Return (protocol, address, result) of each connect to a port."""
        found = []
        columns = self.table.connects
        for ordinal, row in enumerate(self.table.rows_of(EventKind.CONNECT)):
            if columns.port[ordinal] == port and container in {"", self.container(int(row))}:
                address = ipaddress.IPv6Address(columns.address[ordinal].tobytes())
                found.append(
                    (
                        Protocol(columns.protocol[ordinal]).name,
                        str(address.ipv4_mapped or address),
                        ConnectResult(columns.result[ordinal]).name,
                    )
                )
        return found

    def exe(self, process: int) -> str:
        return self.table.strings[self.table.processes.exe[process]]

    def args(self, process: int) -> list[str]:
        return self.table.string_list(int(self.table.processes.args[process]))

    def flags(self, process: int) -> set[str]:
        flags = int(self.table.processes.flags[process])
        return {flag.name for flag in ProcessFlag if flags >> flag & 1}

    def container(self, row: int) -> str:
        return self.table.subjects[self.table.subject[row]].container.id

    def lines(self) -> list[str]:
        return [line.decode()[:400] for line in jsonlines.write(self.table)]
