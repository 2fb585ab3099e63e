"""Which workload a pod belongs to, as far as the pod alone tells. Pure.

The agent sees pods, not their owners' owners: a Deployment is read from its ReplicaSet's name and a CronJob from its Job's. The
collector, which sees the cluster, can correct what is guessed here. What is never guessed is the namespace.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from peerwatch.columns import NANOSECONDS
from peerwatch.subjects import Workload

__all__ = ["OwnerRef", "revision_of", "workload_of"]

DEPLOYMENT_HASH = "pod-template-hash"
ROLLOUT_HASH = "rollouts-pod-template-hash"
REVISION_HASH = "controller-revision-hash"

_CRON_JOB = re.compile(r"(?P<name>.+)-(?P<minute>[0-9]{8,10})", re.DOTALL)

CRON_LATE_MINUTES = 7 * 24 * 60
"""How long after its scheduled minute a CronJob's pod may be made: retries, a controller that was down. A week."""

CRON_EARLY_MINUTES = 10
"""How far the node's or the control plane's clock may be off, minutes."""


@dataclass(frozen=True, slots=True)
class OwnerRef:
    """The controller of a pod: the entry of `ownerReferences` with `controller: true`."""

    kind: str
    name: str


def workload_of(pod_name: str, owner: OwnerRef | None, labels: Mapping[str, str], created_at: int) -> Workload:
    """Return the controller that a person would name. `created_at`: the pod's, nanoseconds since 1970, 0 if unknown."""
    # A node owns the mirror of a static pod: no controller made it.
    if owner is None or owner.kind == "Node" or not owner.kind or not owner.name:
        return Workload("Pod", pod_name)
    if owner.kind == "ReplicaSet":
        for label, kind in ((DEPLOYMENT_HASH, "Deployment"), (ROLLOUT_HASH, "Rollout")):
            name = _without_suffix(owner.name, labels.get(label, ""))
            if name:
                return Workload(kind, name)
    if owner.kind == "Job":
        name = _cron_job(owner.name, created_at)
        if name:
            return Workload("CronJob", name)
    return Workload(owner.kind, owner.name)


def revision_of(labels: Mapping[str, str]) -> str:
    """Return what tells versions of the pod template apart, empty if nothing does."""
    return next((labels[label] for label in (DEPLOYMENT_HASH, ROLLOUT_HASH, REVISION_HASH) if labels.get(label)), "")


def _without_suffix(name: str, template_hash: str) -> str:
    return name.removesuffix(f"-{template_hash}") if template_hash and name.endswith(f"-{template_hash}") else ""


def _cron_job(job: str, created_at: int) -> str:
    """Return the CronJob's name, empty if the Job does not look like one.

    Nothing in a pod says that a CronJob made its Job. The controller names Jobs `<cron job>-<scheduled time in minutes since
    1970>` (since Kubernetes 1.21). Eight digits alone may as well be a date that a person wrote (`backup-20261121`), so the
    number must also be a time shortly before the pod was made. A person who picks such a name on purpose is believed; a Job
    made by hand from a CronJob has a name of its own and stays a Job.
    """
    match = _CRON_JOB.fullmatch(job)
    if match is None or not created_at:
        return ""
    late = created_at // (60 * NANOSECONDS) - int(match["minute"])
    return match["name"] if -CRON_EARLY_MINUTES <= late <= CRON_LATE_MINUTES else ""
