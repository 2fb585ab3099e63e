"""A real Kubernetes node for tests: API server, controllers, scheduler, kubelet, kube-proxy, etcd, containerd, on this host.

`make cluster` starts one that stays until `make cluster-down`; tests use that one, or start one of their own and end it.
Several run beside each other, since each has a network namespace, a mount namespace and cgroups of its own; whoever asks for
a node removes first what killed owners left. `python -m cluster` says what else can be done with one.

    with Node.started("main") as node:
        node.load(work_image())
        node.api.make_namespace("shop")
        node.kubectl("rollout", "status", "deployment/cart", "--namespace=shop")

Nothing in here knows peerwatch.
"""
