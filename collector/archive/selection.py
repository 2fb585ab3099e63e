"""Which events a person asked for: the filter of a replay, the same for archive, journal and files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from peerwatch.columns import EventColumns
from peerwatch.subjects import Subject

__all__ = ["Selection"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Empty fields do not filter. Times are nanoseconds since 1970: `since` is included, `until` is not."""

    since: int = 0
    until: int = 0
    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    """NAME or KIND/NAME."""
    pod: str = ""
    container: str = ""

    def wants(self, subject: Subject) -> bool:
        """Say whether events of this subject are asked for."""
        kind, _, name = self.workload.rpartition("/")
        workload = subject.pod.workload
        return (
            self.cluster in {"", subject.cluster}
            and self.namespace in {"", subject.pod.namespace}
            and name in {"", workload.name}
            and kind.lower() in {"", workload.kind.lower()}
            and self.pod in {"", subject.pod.name}
            and self.container in {"", subject.container.name}
        )

    def apply(self, table: EventColumns) -> EventColumns:
        """Return the events asked for, in the table's order."""
        wanted = np.array([self.wants(subject) for subject in table.subjects], bool)
        chosen = wanted[table.subject] if len(table) else np.zeros(0, bool)
        if self.since:
            chosen &= table.time >= self.since
        if self.until:
            chosen &= table.time < self.until
        return table if bool(chosen.all()) else table.take(np.flatnonzero(chosen))

    def filter(self, tables: Iterable[EventColumns]) -> Iterator[EventColumns]:
        """Yield what remains of each table, empty ones left out."""
        for table in tables:
            chosen = self.apply(table)
            if len(chosen):
                yield chosen
