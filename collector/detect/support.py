"""When is a behaviour learned? When enough independent replicas support it, never because one of many says so.

A replica whose sighting is under suspicion supports nothing: this is what makes learning hard to poison. Replicas of one
deployment are no independent samples (one image, one controller), which is why a few already mean that all may do it, and why
one never does.
"""

__all__ = ["FEW", "GONE_DAYS", "GONE_STARTS", "gone", "learned", "needed"]

FEW = 3
"""Below this many replicas there is no majority: history stands in for peers."""

MOST_NEEDED = 3
"""Replicas that suffice however large the workload: an attacker who holds three of them has passed several alerts."""

FEW_SPAN = 3_600 * 1_000_000_000
"""Nanoseconds over which one of few replicas must have repeated a behaviour: an hour, as others' learning periods."""

FEW_COUNT = 3
"""And how often: twice may be one occasion."""


GONE_DAYS = 45
"""Days on which a workload was there and did not do what it used to: a month, so that what is done monthly stays, and half of
one for a run that was left out. Days without the workload, or without an agent that saw it, do not count."""

GONE_STARTS = 3
"""Replicas that began since, where something only belongs to a start or to an end: as many as suffice to learn suffice to
unlearn. Who began took the place of who ended."""


def needed(replicas: int) -> int:
    """Return how many replicas must support a behaviour in a workload of so many."""
    return min(MOST_NEEDED, max(2, -(-3 * replicas // 10)))


def learned(*, supporters: int, replicas: int, revisions: int, count: int, span: int) -> bool:
    """Return whether a behaviour is learned.

    Args:
        supporters: replicas, past ones included, that showed it without being suspected for it.
        replicas: how many run now.
        revisions: versions of the workload it was seen in.
        count: how often it was seen.
        span: nanoseconds from its first to its last sighting.
    """
    if supporters >= needed(replicas):
        return True
    return supporters > 0 and replicas < FEW and (revisions > 1 or (count >= FEW_COUNT and span >= FEW_SPAN))


def gone(*, days: int, starts: int, steady: bool) -> bool:
    """Return whether what was learned is not done any more, so that it would be new if it came back.

    Args:
        days: on which the workload was there since it was done last.
        starts: replicas that began since.
        steady: whether it was ever done by a replica between its start and its end.
    """
    return days >= GONE_DAYS and (steady or starts >= GONE_STARTS)
