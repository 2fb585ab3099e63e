"""What the collector must remember across restarts, apart from the events themselves.

`State` is the door: replicas, sightings, incidents, sessions of agents, and which archive files exist. SQLite in the data
directory; the tables use nothing that PostgreSQL lacks.
"""

from collector.state.late import LateName, Waiting
from collector.state.sessions import NodeRecord, SessionRecord
from collector.state.store import ArchiveFile, Flush, State

__all__ = ["ArchiveFile", "Flush", "LateName", "NodeRecord", "SessionRecord", "State", "Waiting"]
