"""Tells the cluster which authority to trust: its certificate in a ConfigMap, which agents mount."""

import logging
from collections.abc import Callable

from peerwatch.kubernetes.connection import ApiServer
from peerwatch.kubernetes.errors import ServerError

__all__ = ["Publisher"]

LOG = logging.getLogger(__name__)

KEY = "ca.crt"
TIMEOUT_S = 10.0


class Publisher:
    """One ConfigMap, which must exist: whoever installs makes it empty, so that no right to create any is needed.

    Args:
        api: where.
        place: NAMESPACE/NAME.
        certificate: returns what is to be in it, PEM.
    """

    def __init__(self, api: ApiServer, place: str, certificate: Callable[[], str]) -> None:
        self._api = api
        self._place = place
        namespace, _, name = place.partition("/")
        self._path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
        self._certificate = certificate
        self._told = ""

    def publish(self) -> bool:
        """Write the certificate unless it is there already; say whether it is there now. May block; failures are logged."""
        try:
            certificate = self._certificate()
            found = self._api.request("GET", self._path, timeout_s=TIMEOUT_S)
            data = found.get("data") or {}
            if data.get(KEY) != certificate:
                # With the version that was read: who changed it meanwhile is not overwritten, but looked at again.
                body = found | {"data": data | {KEY: certificate}}
                self._api.request("PUT", self._path, body=body, timeout_s=TIMEOUT_S)
                LOG.info("the authority's certificate is in ConfigMap %s", self._place)
        except (ServerError, OSError) as error:
            if str(error) != self._told:
                self._told = str(error)
                LOG.warning("cannot publish the authority in ConfigMap %s: %s; trying again", self._place, error)
            return False
        self._told = ""
        return True
