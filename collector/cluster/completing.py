"""Completes the names of events on their way into the archive and out of it: by the view, else by what was found before."""

from dataclasses import dataclass, replace

from peerwatch.columns import EventColumns

from collector.cluster.late import key_of, subject_from_bytes
from collector.cluster.naming import unnamed
from collector.cluster.watching import ClusterWatch
from collector.state import State

__all__ = ["Completion"]


@dataclass(frozen=True, slots=True)
class Completion:
    """Safe from any thread. Without a watch, what became known in earlier runs is still known."""

    state: State
    watch: ClusterWatch | None

    def __call__(self, table: EventColumns) -> EventColumns:
        """Return the same events with the names that were missing, as far as they are known by now.

        Raises:
            StorageError: the state cannot be read.
        """
        if self.watch is not None:
            table = self.watch.name_later(table)
        missing = {key_of(each) for each in table.subjects if unnamed(each)}
        if not missing:
            return table
        found = {key: subject_from_bytes(data) for key, data in self.state.late_names(sorted(missing)).items()}
        if not found:
            return table
        subjects = [found.get(key_of(each), each) if unnamed(each) else each for each in table.subjects]
        return replace(table, subjects=subjects)
