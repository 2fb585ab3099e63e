"""`peerwatch workloads` and `peerwatch baseline`: what each deployment runs and talks to."""

from typing import Annotated

import typer
from peerwatch.v1 import query_pb2, query_pb2_grpc

from collector.commands.client import DEFAULT_SERVER, TIMEOUT_S, asking
from collector.commands.options import ListOutput, NamespaceOption, OutputOption, ServerOption
from collector.commands.show import clock, command, workload_name
from collector.commands.terminal import Cell, print_line, print_message, print_table
from collector.errors import InputError
from collector.messages import baseline_from_proto, ref_to_proto, summary_from_proto
from collector.records import BehaviourState, WorkloadKey

__all__ = ["baseline_app", "workloads"]

baseline_app = typer.Typer(
    name="baseline",
    help="What a workload does: its behaviours with their evidence.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def workloads(
    server: ServerOption = DEFAULT_SERVER, output: OutputOption = ListOutput.TABLE, namespace: NamespaceOption = ""
) -> None:
    """List the workloads that were seen: replicas, revisions, how much was learned, alerts.

    \b
    Examples:
      peerwatch workloads
      peerwatch workloads --namespace shop --output json
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking(server) as stub:
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


@baseline_app.callback()
def baseline() -> None:
    """Look at what a workload does."""


@baseline_app.command("show")
def show(
    workload: Annotated[str, typer.Argument(metavar="NAMESPACE/[KIND/]NAME", help="As `peerwatch workloads` lists it.")],
    container: Annotated[str, typer.Option("--container", "-c", metavar="NAME", help="Only this container.")] = "",
    cluster: Annotated[str, typer.Option("--cluster", metavar="NAME", help="When several clusters have the workload.")] = "",
    server: ServerOption = DEFAULT_SERVER,
    output: OutputOption = ListOutput.TABLE,
) -> None:
    """Show a workload's behaviours: what is learned, and what is only a candidate because too few replicas did it.

    \b
    Examples:
      peerwatch baseline show shop/cart
      peerwatch baseline show shop/Deployment/cart --container app --output json
    """  # noqa: D301 — \b is Typer's mark for lines to keep
    with asking(server) as stub:
        key = _find(stub, workload, cluster)
        request = query_pb2.GetBaselineRequest(ref=ref_to_proto(key), container=container)
        answer = stub.GetBaseline(request, timeout=TIMEOUT_S)
    if output is ListOutput.JSON:
        for message in answer.entries:
            print_message(message)
        return
    if not answer.entries:
        print_line([f"nothing was seen of {workload_name(key)}{f', container {container}' if container else ''}"])
        return
    print_table(
        ["CONTAINER", "TYPE", "BEHAVIOUR", "STATE", "REPLICAS", "NODES", "COUNT", "LAST SEEN", "EXAMPLE"],
        [
            [
                each.container,
                each.type.name,
                each.key,
                Cell(each.state.name, "green" if each.state is BehaviourState.LEARNED else "yellow"),
                f"{each.replicas} of {each.of}",
                str(each.nodes),
                str(each.count),
                clock(each.last_seen),
                command(each.example, 80),
            ]
            for each in (baseline_from_proto(key, message) for message in answer.entries)
        ],
        right=["REPLICAS", "NODES", "COUNT"],
    )


def _find(stub: query_pb2_grpc.QueryServiceStub, text: str, cluster: str) -> WorkloadKey:
    """Return the one workload that a person means.

    Raises:
        InputError: there is none, or there are several.
    """
    parts = text.split("/")
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
