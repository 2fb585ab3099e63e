"""Whether a replica takes over what another did until now: leaders, primaries and holders of shards change. Pure.

A role is what few replicas do at a time. How many ever did it says nothing about who does it next, where somebody always does:
what counts then is that nobody else goes on with it, and that what the same replica began with it has fallen silent elsewhere,
where it was done again and again until then. Two at once are no move, whoever the second one is.
"""

import enum

from peerwatch.columns import NANOSECONDS

from collector.analysis.questions import Question
from collector.analysis.sightings import ARGUMENTS, Entry, SightingTable, Standing
from collector.detect.peers import HABIT

__all__ = ["Turn", "turn"]

TOGETHER = 120 * NANOSECONDS
"""Nanoseconds within which a replica begins what belongs to one role."""

HANDOVER = 300 * NANOSECONDS
"""How long a role may be nobody's: a lease that runs out, a pod that has to start, twice over."""

TENURE = 600 * NANOSECONDS
"""What was done for less long has no pace that its silence could be measured by."""

MISSED = 3.0
"""So often all that is silent together should have been done meanwhile: of deeds at random times the chance is e^-3."""


class Turn(enum.IntEnum):
    """What became of those who did something before."""

    GOING = 0
    """Another goes on with it, or did nothing that could be taken over."""
    OPEN = 1
    """All are silent, but not long enough to say so."""
    OVER = 2
    """All are silent: who does it now is their successor."""


def turn(question: Question, table: SightingTable) -> Turn:
    """Return whether the turn of those is over who did before what a replica does for the first time."""
    group, began, mine = question.group, int(table.first[question.row]), int(table.replica[question.row])
    if _last(group.entries[table.behaviour.item(question.row)], mine, table) >= began:
        return Turn.GOING
    missed = 0.0
    for row in group.replicas[mine].rows:
        if table.type.item(row) == ARGUMENTS or abs(table.first.item(row) - began) > TOGETHER:
            continue
        missed += _missed(group.entries[table.behaviour.item(row)], row, question.now, table)
    if missed >= MISSED:
        return Turn.OVER
    return Turn.OPEN if missed else Turn.GOING


def _last(entry: Entry, mine: int, table: SightingTable) -> int:
    """Return when anybody else did it last."""
    return max(entry.past_last, *(int(table.last[row]) for replica, row in entry.rows.items() if replica != mine), 0)


def _missed(entry: Entry, row: int, now: int, table: SightingTable) -> float:
    """Return how often who did it until now should have done it since; 0 if another goes on, or nobody had the habit."""
    others = [each for each in entry.rows.values() if each != row]
    if not others:
        return 0.0
    latest = max(others, key=table.last.item)
    first, last, count = int(table.first[latest]), int(table.last[latest]), int(table.count[latest])
    until_now = 0 < int(table.first[row]) - last <= HANDOVER
    if not until_now or table.standing.item(latest) != Standing.ACCEPTED or count < HABIT or last - first < TENURE:
        return 0.0
    return (now - last) * (count - 1) / (last - first)
