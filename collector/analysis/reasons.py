"""The one sentence of an incident: who did what, who did not, and why it matters. A person acts on it."""

from peerwatch.columns import ProcessFlag
from peerwatch.subjects import ContainerKind

from collector.analysis.behaviour_keys import printable
from collector.analysis.findings import Finding
from collector.records import BehaviourType, ReplicaRef, Severity

__all__ = ["sentence"]


def sentence(finding: Finding, replicas: list[ReplicaRef], behaviours: int) -> str:
    """Return the reason, told by the strongest finding of an incident.

    Args:
        finding: the strongest.
        replicas: all replicas of the incident.
        behaviours: how many distinct behaviours it has.
    """
    who = printable(finding.replica.pod or finding.replica.uid, 128)
    if len(replicas) > 1:
        others = len(replicas) - 1
        who += f" and {others} more replica{'s' if others > 1 else ''}"
    text = f"{who} {_deed(finding)}"
    if behaviours > 1:
        text += f" and did {behaviours - 1} more unusual thing{'s' if behaviours > 2 else ''}"
    text += f"; {_comparison(finding)}"
    if finding.context.why and finding.severity > Severity.INFO:
        text += f" ({finding.context.why})"
    return text


def _deed(finding: Finding) -> str:
    behaviour = finding.behaviour
    if behaviour.type is BehaviourType.CONNECT:
        return f"connected from {behaviour.exe} to {behaviour.target}"
    text = f"ran {behaviour.exe}"
    if finding.group.kind is ContainerKind.EPHEMERAL:
        return f"{text} in the debug container {printable(finding.group.container, 64)}"
    if behaviour.flags >> ProcessFlag.INJECTED & 1:
        return f"{text}, entered from outside the container (kubectl exec or alike)"
    return f"{text} from {behaviour.parent}" if behaviour.parent else text


def _comparison(finding: Finding) -> str:
    compared, sharing, earlier = finding.compared, finding.sharing, finding.earlier
    if finding.followed:
        change = f"revision {finding.replica.revision}" if finding.replica.revision else "the workload"
        return f"{sharing} of its {compared} peers do so as well: {change} changed"
    if not compared:
        past = f"none of {earlier} earlier replicas ever did" if earlier > 0 else "it never did before"
        return f"it has no peers to compare with, and {past}"
    peers = "its only peer" if compared == 1 else f"its {compared} peers"
    if sharing:
        return f"only {sharing} of {peers} did"
    text = "its only peer never did" if compared == 1 else f"none of {peers} ever did"
    if earlier > 0 and not finding.supporters:
        text += f", nor any of {earlier} earlier replica{'s' if earlier > 1 else ''}"
    return text
