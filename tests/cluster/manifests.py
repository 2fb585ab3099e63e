"""What is deployed in tests: objects of the Kubernetes API, whose containers say in their arguments whose they are."""

from typing import Any

from cluster.images import WORK

__all__ = [
    "CRON_JOB",
    "DAEMON_SET",
    "DEPLOYMENT",
    "JOB",
    "STATEFUL_SET",
    "Object",
    "container",
    "controller",
    "pod",
    "work_arguments",
]

Object = dict[str, Any]
"""Of the Kubernetes API, as JSON."""

DEPLOYMENT, STATEFUL_SET, DAEMON_SET = "Deployment", "StatefulSet", "DaemonSet"
CRON_JOB, JOB = "CronJob", "Job"


def work_arguments(uid: str, pod: str, container: str, *, execs: int, connects: int = 0, seconds: int = 0) -> list[str]:
    """Return a command that does so much, and whose processes say who they are; `pod` is `<namespace>/<name>`."""
    return [WORK, uid, pod, container, str(execs), str(connects), str(seconds)]


def container(name: str, *, execs: int, connects: int, seconds: int = -1, tag: str = "1", **more: object) -> Object:
    """Return a container that does so much and then waits so many seconds, for ever if negative."""
    fields = (("POD_UID", "metadata.uid"), ("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace"))
    return {
        "name": name,
        "image": f"localhost/work:{tag}",
        "imagePullPolicy": "Never",
        "env": [
            *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields),
            {"name": "POD", "value": "$(POD_NAMESPACE)/$(POD_NAME)"},
        ],
        "command": work_arguments("$(POD_UID)", "$(POD)", name, execs=execs, connects=connects, seconds=seconds),
        **more,
    }


def pod(name: str, *containers: Object, labels: dict[str, str] | None = None, **spec: object) -> Object:
    """Return a pod, which is also a template of pods."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name, **(labels or {})}},
        "spec": {
            "containers": list(containers),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            **spec,
        },
    }


def controller(kind: str, template: Object, *, replicas: int = 1) -> Object:
    """Return what makes pods from a template, named like it."""
    name = template["metadata"]["name"]
    pods = {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]}
    selector = {"matchLabels": {"app": name}}
    match kind:
        case "Job":
            spec: Object = {"template": pods, "backoffLimit": 0}
        case "CronJob":
            spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": pods}}}
        case "DaemonSet":
            spec = {"selector": selector, "template": pods}
        case "StatefulSet":
            spec = {"selector": selector, "template": pods, "replicas": replicas, "serviceName": name}
            spec["podManagementPolicy"] = "Parallel"
        case _:
            spec = {"selector": selector, "template": pods, "replicas": replicas}
    group = "batch/v1" if kind in {JOB, CRON_JOB} else "apps/v1"
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec}
