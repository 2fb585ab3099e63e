"""What can be set about detection, with the reason of each default."""

from dataclasses import dataclass

from peerwatch.columns import NANOSECONDS

from collector.detect.decision import DEFAULT_LIMITS, Limits

__all__ = ["USUAL_BUDGET", "Settings"]


USUAL_BUDGET = 0.1
"""What the limits as they are come to, per replica and day at the pace of real clusters, in generated ones with all kinds of
normal life (0.04 to 0.29). Quieter clusters stay below it; what exceeds it for long is held by `spending`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations are seconds of event time."""

    hold: float = 30
    """How long something new is held that is not odd enough to be said at once. Long enough for a job, a reload or a rollout's
    next replica to follow, short enough to stay below a minute to detect."""
    hold_own: float = 8
    """The first hold of a program that the service itself started, if `hold` is no less. What a schedule, a reload or a message
    says to all replicas they do in the same seconds; connections, which back off, and what persons say to one pod after the
    other take longer."""
    rollout_holds: int = 3
    """How many holds something new waits in a revision that has fewer than two other replicas: rollouts start one pod at a time
    and a pod is ready after seconds to a minute. As long waits what another did until now who has fallen silent: that a role
    moves shows by then."""
    odd_holds: int = 10
    """How many holds something odd waits that nobody else does while too little is known of the workload to tell it: what an
    intruder did from the first minute on is told in the fifth."""
    startup: float = 20
    """How long a replica counts as starting: entrypoints, migrations and first connections are compared when the peers have
    started, too."""
    cool_down: float = 900
    """What was told with severity HIGH or above is told again after this long at the earliest, when it goes on: 15 minutes, as
    in the published evaluations. What is less is told once."""
    gather: float = 0.1
    """How long an incident gathers what belongs to it before it is first said: a command's whole chain in one message. A tenth
    of the second within which an alert should be out."""
    budget: float = USUAL_BUDGET
    """Alerts that may come, per replica and day: the one thing that most people change. It moves all limits together, and a
    container whose replicas have not earned an alert has none (`spending`);
    0 leaves what is bad on any system, volume and what people decided."""
    limits: Limits = DEFAULT_LIMITS
    """Where the lines of the verdict are drawn with the usual budget."""
    most_workloads: int = 20_000
    """Containers of workloads kept (the longest unseen are forgotten): several times the largest clusters."""
    most_replicas: int = 256
    """Replicas kept one by one per container; those unseen longest become history numbers. No verdict has more peers."""
    most_behaviours: int = 2_000
    """Behaviours kept per container: ten times what a busy real workload shows. Above, an eighth with the least
    support goes."""
    most_sightings: int = 5_000_000
    """Behaviours of single replicas kept, of all containers together: half a kilobyte each, 2.5 GB in all, and more than twice
    what 10,000 replicas with 200 behaviours show. Above, containers go, those unseen longest first, until an eighth is free."""
    most_open_incidents: int = 10_000
    """Incidents that may still grow; the oldest are closed."""
    evidence: int = 8
    """Events kept per behaviour and replica of an incident."""

    def limits_in_budget(self) -> Limits:
        """Return the limits that are drawn for the budget."""
        return self.limits.scaled(self.budget / USUAL_BUDGET)

    def nanoseconds(self, seconds: float) -> int:
        """Return one of the durations in the unit of events."""
        return int(seconds * NANOSECONDS)
