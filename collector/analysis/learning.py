"""What is on a workload's allow list, and what is thought of a program that is given new arguments."""

from collector.analysis.questions import running_replicas
from collector.analysis.sightings import Entry, Group, SightingTable, Standing
from collector.detect import support
from collector.records import BehaviourType

__all__ = ["is_accepted", "is_learned", "standing_of"]

_ACCEPTED = int(Standing.ACCEPTED)


def is_accepted(entry: Entry, table: SightingTable) -> bool:
    """Return whether any replica, past ones included, did it without being suspected."""
    return bool(entry.past_replicas) or any(table.standing.item(row) == _ACCEPTED for row in entry.rows.values())


def standing_of(group: Group, replica: int, base: str, time: int, table: SightingTable, *, told_for: int) -> Standing:
    """Return what is thought of an exec on one replica when it is given new arguments at a time (nanoseconds).

    What was told of it covers its arguments for so long; what it is told to do later is another deed. A person's note covers
    what it was about: who looked may go on to what is more than looking.
    """
    entry = group.find(BehaviourType.EXEC, base)
    row = None if entry is None else entry.rows.get(replica)
    if row is None:
        return Standing.ACCEPTED
    standing, later = Standing(table.standing.item(row)), time - table.first.item(row)
    covered = standing is Standing.PENDING or later <= (0 if standing is Standing.PERSON else told_for)
    return standing if covered else Standing.ACCEPTED


def is_learned(entry: Entry, group: Group, now: int) -> bool:
    """Return whether a behaviour is on a group's allow list."""
    if entry.accepted:
        return True
    table, supporters, good = group.table, entry.past_replicas, []
    for row in entry.rows.values():
        if table.standing.item(row) == _ACCEPTED:
            supporters += 1
            good.append(row)
            if supporters >= support.MOST_NEEDED:
                return True
    if not supporters:
        return False
    if supporters >= support.MOST_NEEDED:
        return True
    # They are fewer than have to be needed: one by one they cost less than as arrays.
    first = min([*map(table.first.item, good), *([entry.past_first] if entry.past_count else [])])
    last = max([*map(table.last.item, good), entry.past_last])
    return support.learned(
        supporters=supporters,
        replicas=running_replicas(group, now),
        revisions=len(entry.revisions),
        count=sum(map(table.count.item, good)) + entry.past_count,
        span=last - first,
    )
