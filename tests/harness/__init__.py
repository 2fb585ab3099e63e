"""Real containers for tests, benchmarks and the demo: runc, overlayfs and network namespaces, without an image registry.

What peerwatch watches must be the kernel's own view of real containers, so nothing here is simulated except Kubernetes itself:
a `World` starts deployments as runc containers with the cgroups, overlay mounts and addresses that a kubelet would give them,
and writes the pods as the API server would describe them. Needs root; `missing()` says what else.

    with World() as world:
        db = world.deploy("db", program=Program(argv=("python3", "/app/db.py"), files={"/app/db.py": SOURCE}))
        cart = world.deploy("cart", replicas=5, program=...)
        cart.replicas[0].exec("id")
        # world.pods_file is what an agent reads with --pods

Everything it makes carries its owner's process id and start time in its name: a context that ends removes its own, and
`sweep()` removes what a killed owner left behind.
"""

from harness.containers import Container
from harness.deployment import Deployment, Replica
from harness.network import Network
from harness.rootfs import Base, Program, compile_c
from harness.session import Session, missing, sweep
from harness.world import World

__all__ = [
    "Base",
    "Container",
    "Deployment",
    "Network",
    "Program",
    "Replica",
    "Session",
    "World",
    "compile_c",
    "missing",
    "sweep",
]
