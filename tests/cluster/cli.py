"""`python -m cluster`: a Kubernetes node by hand.

build                  build Kubernetes, minutes the first time; nothing if that is done, or cannot be done here, which it says
up                     start it, and say so when it is ready; the first time, Kubernetes is built
down                   end it, and remove all that it made
kubectl ARGUMENTS…     as cluster administrator
load FILE              import an image (docker-archive or OCI archive); pods that use it say imagePullPolicy: Never
kill COMPONENT         SIGKILL: etcd apiserver containerd controller-manager scheduler kubelet proxy
start COMPONENT        start it again
enter COMMAND…         run a command in the node's network
"""

import os
import sys
import time
from pathlib import Path

from cluster import binary
from cluster.node import FOLDER, Node

__all__ = ["main"]


def main() -> int:
    """Do what the command line says and return the exit code: 2 for a wrong call, 3 where no node can run."""
    match sys.argv[1:]:
        case [("build" | "up") as what]:
            return _build() if what == "build" else _up()
        case ["down"]:
            Node().down()
            return 0
        case ["kubectl", *words]:
            command = _running().kubectl_command(*words)
            os.execvp(command[0], command)  # noqa: S606 — kubectl itself, with what it was told
        case ["enter", *words] if words:
            command = _running().enter(*words)
            os.execvp(command[0], command)  # noqa: S606 — the user's own command
        case ["load", file]:
            _running().load(Path(file))
            return 0
        case ["kill", component]:
            _running().kill(component)
            return 0
        case ["start", component]:
            _running().start(component)
            return 0
    sys.stderr.write(__doc__)
    return 2


def _build() -> int:
    reason = binary.missing()
    if not reason:
        if not binary.program().exists():
            sys.stderr.write(f"cluster: building Kubernetes {binary.version()}, which takes 5 to 10 minutes, once\n")
        try:
            binary.build()
        except binary.BuildError as error:
            reason = str(error)
    if reason:
        sys.stderr.write(f"cluster: {reason}; tests that need a Kubernetes node are skipped\n")
    return 0


def _up() -> int:
    reason = binary.missing()
    if reason:
        sys.stderr.write(f"cluster: {reason}\n")
        return 3
    begin = time.monotonic()
    node = Node()
    try:
        node.up()
    except RuntimeError as error:
        sys.stderr.write(f"cluster: {error}\n")
        return 3
    sys.stderr.write(
        f"cluster: Kubernetes {binary.version()} is ready after {time.monotonic() - begin:.0f} s; "
        f"state and logs are in {FOLDER / node.name}, `make cluster-down` removes it\n"
    )
    return 0


def _running() -> Node:
    node = Node()
    if not node.folder.exists():
        sys.stderr.write("cluster: no node runs; start one with: make cluster\n")
        raise SystemExit(3)
    return node
