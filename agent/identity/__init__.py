"""Who caused an event: from a cgroup's path to the container, the pod and the workload."""
