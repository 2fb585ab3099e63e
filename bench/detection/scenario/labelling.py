"""Labels of what was played: which rows of the recording an incident made, and whether anything of it is new there at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from labels import Label
from peerwatch.columns import EventColumns, EventKind

from scenario.attacks import Plan
from scenario.timeline import nanoseconds

__all__ = ["labels_of"]

I64 = npt.NDArray[np.int64]


def labels_of(plans: Sequence[Plan], events: EventColumns, incident: I64, happened: set[int]) -> list[Label]:
    """Return a label for each incident that happened; `incident` says per row whose it is, -1 for nobody's.

    One that is lost as a whole is an incident as well.
    What the catalogue calls visible is called partly visible where the workload runs the same programs under the same parents
    and reaches the same networks anyway.
    """
    keys = _Keys(events)
    benign = keys.of(np.flatnonzero(incident < 0))
    found = []
    for number, plan in enumerate(plans):
        if number not in happened:
            continue
        rows = np.flatnonzero(incident == number)
        times = events.time[rows].tolist() or [nanoseconds(plan.start)]
        visibility = "P" if "e" in plan.also else plan.row.visibility
        if visibility == "Y" and len(rows) and not keys.of(rows) - benign:
            visibility = "P"
        pids = events.processes.pid[events.process[rows]].tolist()
        pods = [events.subjects[each].pod.name for each in events.subject[rows].tolist()]
        found.append(
            Label(
                id=f"i{number:03d}",
                technique=plan.row.technique,
                row=plan.row.number,
                visibility=visibility,
                namespace=plan.site.namespace,
                workload=plan.site.name,
                pods=tuple(sorted({life.pod for life in plan.lives})),
                start=min(times),
                end=max(times),
                template=f"{plan.row.number}.{plan.variant}",
                variant=plan.entry,
                also=plan.also,
                phase=plan.phase,
                replicas=plan.replicas,
                lines=tuple(rows.tolist()),
                events=frozenset(zip(events.time[rows].tolist(), pods, pids, strict=True)),
            )
        )
    return found


@dataclass(slots=True)
class _Keys:
    """What an event is, coarsely: workload with program and parent, or with program and network."""

    events: EventColumns

    def of(self, rows: npt.NDArray[np.intp]) -> set[tuple[int, ...]]:
        events = self.events
        workload: dict[object, int] = {}
        workloads = [workload.setdefault((each.pod.namespace, each.pod.workload), len(workload)) for each in events.subjects]
        owner = np.array(workloads, np.int64)[events.subject[rows]]
        columns, process = events.processes, events.process[rows]
        begin = events.lists.offsets[columns.args[process]]
        argv0 = events.lists.values[np.minimum(begin, len(events.lists.values) - 1)]
        busybox = np.array([text.endswith("busybox") for text in events.strings], bool)
        argv0 = np.where(busybox[columns.exe[process]], argv0, 0)
        flags = columns.flags[process] & 0b11111110  # all but what is not named
        execs = events.kind[rows] == EventKind.EXEC
        found = _tuples(owner, columns.exe[process], argv0, columns.parent_exe[process], flags, where=execs)
        connects = events.kind[rows] == EventKind.CONNECT
        place = events.places()[rows]
        address = np.zeros(len(rows), np.int64)
        port = np.zeros(len(rows), np.int64)
        network = events.connects.address[:, 12:15].astype(np.int64) @ np.array([65_536, 256, 1])
        address[connects], port[connects] = network[place[connects]], events.connects.port[place[connects]]
        return found | _tuples(owner, columns.exe[process], argv0, address, port - 100_000, where=connects)


def _tuples(*columns: npt.NDArray[np.generic], where: npt.NDArray[np.bool_]) -> set[tuple[int, ...]]:
    table = np.stack([column.astype(np.int64)[where] for column in columns], axis=1)
    return set(map(tuple, np.unique(table, axis=0).tolist()))
