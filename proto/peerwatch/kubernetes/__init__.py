"""How both sides ask a Kubernetes API server: connection, list and watch, and what is kept of a pod. Knows no events."""
