"""Pods of this node from the Kubernetes API server: a list, then a watch for as long as the agent lives."""

import threading

from peerwatch.kubernetes.connection import from_kubeconfig, from_pod
from peerwatch.kubernetes.errors import NoServerError
from peerwatch.kubernetes.pods import parse_pod
from peerwatch.kubernetes.reflector import Reflector, Resource

from agent.errors import ConfigError
from agent.identity.index import PodIndex

__all__ = ["KubernetesPods"]


class KubernetesPods:
    """Keeps an index equal to the API server's pods of one node, from a thread; see `Reflector`."""

    def __init__(self, index: PodIndex, node: str, *, kubeconfig: str | None = None) -> None:
        """`kubeconfig`: a file; None means the service account of the pod that the agent runs in.

        Raises:
            ConfigError: there is no usable configuration.
        """
        try:
            server = from_pod() if kubeconfig is None else from_kubeconfig(kubeconfig)
        except NoServerError as error:
            raise ConfigError(f"{error}; give --kubeconfig FILE or --pods FILE") from error
        # A node has fewer pods than fit one page, so the server's memory may answer.
        mine = Resource("/api/v1/pods", "pods", {"fieldSelector": f"spec.nodeName={node}"}, from_cache=True)
        self._reflector = Reflector(server, mine, index, parse_pod)

    @property
    def synced(self) -> threading.Event:
        """Set once the first list is in the index."""
        return self._reflector.synced

    @property
    def malformed(self) -> int:
        """How many pods could not be used."""
        return self._reflector.malformed

    def start(self) -> None:
        """Begin; returns at once, also when the server cannot be reached."""
        self._reflector.start()

    def stop(self) -> None:
        """End the watch; the index keeps what it has."""
        self._reflector.stop()

    def age_s(self) -> float:
        """Return how long ago the server last said anything about these pods, seconds: how stale the index may be."""
        return self._reflector.age_s()

    def requests(self) -> int:
        """Return how often the server was asked: lists and watches."""
        return self._reflector.requests
