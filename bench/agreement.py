"""Whether a view of a cluster is what the API server says: every object, by all that the view keeps of it."""

from typing import Any

from cluster.api import Api

__all__ = ["differences", "truth"]

Objects = dict[str, dict[str, Any]]


def truth(api: Api) -> Objects:
    """Return what the API server says there is, by kind and uid."""
    found: Objects = {
        "services": {
            each["metadata"]["uid"]: [
                each["metadata"]["namespace"],
                each["metadata"]["name"],
                sorted(each["spec"]["clusterIPs"]),
            ]
            for each in api.get("/api/v1/services")["items"]
        },
        "nodes": {
            each["metadata"]["uid"]: [
                each["metadata"]["name"],
                sorted(one["address"] for one in each["status"]["addresses"] if one["type"] == "InternalIP"),
            ]
            for each in api.get("/api/v1/nodes")["items"]
        },
        "pods": {},
    }
    for name, path in (("slices", "discovery.k8s.io/v1/endpointslices"), ("replicasets", "apps/v1/replicasets")):
        found[name] = {each["metadata"]["uid"]: True for each in api.get(f"/apis/{path}")["items"]}
    query = {"limit": "2000"}
    while True:
        page = api.get("/api/v1/pods", **query)
        found["pods"] |= {each["metadata"]["uid"]: each for each in page["items"]}
        if not page["metadata"].get("continue"):
            return found
        query["continue"] = page["metadata"]["continue"]


def differences(view: dict[str, Any], wanted: Objects) -> list[str]:
    """Return where a view, as `watcher.py` tells it, is not what the server says."""
    view = view | {name: dict.fromkeys(view[name], True) for name in ("slices", "replicasets")}
    found = [
        f"{kind} {key}: {view[kind].get(key)} instead of {each}"
        for kind, objects in wanted.items()
        if kind != "pods"
        for key, each in objects.items()
        if view[kind].get(key) != each
    ]
    found += [f"{kind} {key} is no more" for kind in wanted for key in view[kind].keys() - wanted[kind].keys()]
    for key, pod in wanted["pods"].items():
        said = view["pods"].get(key)
        if said is None or not _is(pod, *said):
            found.append(f"pod {key}: {said} instead of {pod['metadata']['name']}")
    return found


def _is(pod: dict[str, Any], node: str, names: list[list[str]], ids: list[str], containers: int) -> bool:
    """Say whether this is the pod, with its present containers and those before; its Deployment is its ReplicaSet's owner."""
    metadata, status = pod["metadata"], pod["status"]
    deployment = metadata["labels"]["app.kubernetes.io/name"]
    states = [each["containerID"] for each in status["containerStatuses"]]
    states += [each["lastState"]["terminated"]["containerID"] for each in status["containerStatuses"] if each.get("lastState")]
    return (
        node == pod["spec"]["nodeName"]
        and names == [[metadata["namespace"], metadata["name"], "Deployment", deployment, status["podIP"]]]
        and {each.removeprefix("containerd://") for each in states} <= set(ids)
        and len(ids) == containers
    )
