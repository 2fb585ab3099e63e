"""`peerwatch workloads`: what is watched, and which of it a person means."""

from peerwatch.v1 import query_pb2, query_pb2_grpc

from collector.commands.client import DEFAULT_SERVER, TIMEOUT_S, Server, asking
from collector.commands.options import CaOption, ListOutput, NamespaceOption, OutputOption, ServerOption, TokenOption
from collector.commands.show import clock, workload_name
from collector.commands.terminal import Cell, print_line, print_message, print_table
from collector.errors import InputError
from collector.messages import summary_from_proto
from collector.records import WorkloadKey

__all__ = ["find_workload", "workloads"]


def workloads(
    server: ServerOption = DEFAULT_SERVER,
    ca: CaOption = "",
    token: TokenOption = "",
    output: OutputOption = ListOutput.TABLE,
    namespace: NamespaceOption = "",
) -> None:
    """List the workloads that were seen: replicas, revisions, how much was learned, alerts.

    \b
    Examples:
      peerwatch workloads
      peerwatch workloads --namespace shop --output json
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking(Server(server, ca, token)) as stub:
        answer = stub.ListWorkloads(query_pb2.ListWorkloadsRequest(namespace=namespace), timeout=TIMEOUT_S)
    if output is ListOutput.JSON:
        for message in answer.workloads:
            print_message(message)
        return
    if not answer.workloads:
        print_line(["no workload was seen yet"])
        return
    print_table(
        ["CLUSTER", "WORKLOAD", "REPLICAS", "CONTAINERS", "REVISIONS", "LEARNED", "CANDIDATES", "ALERTS", "PHASE", "LAST SEEN"],
        [
            [
                each.key.cluster,
                workload_name(each.key),
                str(each.replicas),
                ",".join(each.containers),
                ",".join(each.revisions),
                str(each.learned),
                str(each.candidates),
                Cell(str(each.alerts), "bold red" if each.alerts else ""),
                each.phase,
                clock(each.last_seen),
            ]
            for each in map(summary_from_proto, answer.workloads)
        ],
        right=["REPLICAS", "LEARNED", "CANDIDATES", "ALERTS"],
    )


def find_workload(stub: query_pb2_grpc.QueryServiceStub, text: str, cluster: str = "") -> WorkloadKey:
    """Return the one workload that a person means by NAMESPACE/NAME, NAMESPACE/KIND/NAME or either after CLUSTER:.

    Raises:
        InputError: there is none, or there are several.
    """
    before, _, rest = text.rpartition(":")  # names of Kubernetes have no colon, those of clusters may
    cluster = before or cluster
    parts = rest.split("/")
    if len(parts) not in {2, 3} or not all(parts):
        raise InputError(f"{text!r} is no workload: write NAMESPACE/NAME or NAMESPACE/KIND/NAME, as in `peerwatch workloads`")
    namespace, kind, name = parts[0], "/".join(parts[1:-1]), parts[-1]
    answer = stub.ListWorkloads(query_pb2.ListWorkloadsRequest(namespace=namespace), timeout=TIMEOUT_S)
    keys = [
        each.key
        for each in map(summary_from_proto, answer.workloads)
        if each.key.name == name and kind.lower() in {"", each.key.kind.lower()} and cluster in {"", each.key.cluster}
    ]
    if not keys:
        raise InputError(f"no workload {text!r} was seen; `peerwatch workloads` lists those that were")
    if len(keys) > 1:
        found = ", ".join(f"{workload_name(key)} in cluster {key.cluster!r}" for key in keys[:5])
        raise InputError(f"{text!r} is several workloads: {found}; name the kind, or the cluster with --cluster")
    return keys[0]
