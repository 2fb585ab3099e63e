"""Execs in a few words: for what the tables say of one, and as somebody types a command."""

from collections.abc import Sequence

from detection.cluster import Cluster, Replica
from peerwatch.columns import ProcessFlag

from collector.detect.context import of_exec
from collector.detect.tools import Context

INJECTED = (ProcessFlag.INJECTED,)
"""Of a process that came from outside, as by `kubectl exec`."""


def exec_of(
    program: str, *arguments: str, parent: str = "/usr/bin/server", injected: bool = False, socket: bool = False
) -> Context:
    """Return what an exec means by itself."""
    return of_exec(
        program=program,
        parent=parent,
        arguments=arguments,
        upper_layer=False,
        memory_file=False,
        stdio_socket=socket,
        injected=injected,
    )


def entered(cluster: Cluster, at: float, pod: Replica, script: str, flags: Sequence[ProcessFlag] = INJECTED) -> None:
    """Run a command in a shell from outside of the container."""
    shell = cluster.exec(at, pod, "/usr/bin/dash", parent="", args=("sh", "-c", script), flags=flags, parent_pid=0)
    words = script.split()
    tool = f"/usr/bin/{words[0]}"
    cluster.exec(at + 0.01, pod, tool, parent="/usr/bin/dash", args=words, flags=flags, parent_pid=shell)
