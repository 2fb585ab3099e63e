"""What would make normal what an incident tells: a command that is ready to paste once its reason is written."""

import shlex

from collector.records import Incident, Severity

__all__ = ["approval"]


def approval(incident: Incident) -> str:
    """Return the command, empty for what is no alert: nobody was woken by it.

    The reason is left to the person, and so is `--known-bad`: what is bad on any system is not approved by pasting.
    """
    if incident.severity <= Severity.INFO:
        return ""
    key = incident.workload
    cluster = ["--cluster", key.cluster] if key.cluster else []
    keys = dict.fromkeys(each.key for each in incident.behaviours)
    workload = f"{key.namespace}/{key.kind}/{key.name}"
    return shlex.join(["peerwatch", "baseline", "approve", workload, *keys, *cluster, "--reason", "…"])
