"""Where the API server is and how to ask it: from the service account of the pod, or from a kubeconfig. Says nothing of pods.

A pod needs no client library for this: an address in two environment variables, and two files. The library is for kubeconfigs
alone, with all the ways to log in that they know; it takes 17 MB, so an agent in a pod never imports it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import ConfigError

if TYPE_CHECKING:
    from urllib3 import PoolManager

__all__ = ["SERVICE_ACCOUNT", "ApiServer", "from_kubeconfig", "from_pod"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts token and certificate authority into every pod that asks for them."""

_FIX = "give --kubeconfig FILE or --pods FILE"


@dataclass(frozen=True, slots=True)
class ApiServer:
    """An API server: `url` without a path, the pool that trusts it, and what to send along with each request."""

    url: str
    pool: "PoolManager"
    credentials: Callable[[], dict[str, str]]
    """Headers; asked for each time, since tokens are renewed. Raises whatever reading them raises."""


def from_pod(environment: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> ApiServer:
    """Return the server that the service account of this pod names.

    Raises:
        ConfigError: this is no pod, or one without a service account's token.
    """
    token, authority = folder / "token", folder / "ca.crt"

    def credentials() -> dict[str, str]:
        # The kubelet renews it on disk, usually each hour.
        return {"authorization": f"Bearer {token.read_text().strip()}"}

    try:
        from urllib3 import PoolManager  # noqa: PLC0415 — 4 MB, only where pods come from the API server

        host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
        credentials()
        authority.read_bytes()
    except ImportError as error:
        raise ConfigError(_missing(error)) from error
    except KeyError as error:
        raise ConfigError(f"no service account here: {error.args[0]} is not set; {_FIX}") from None
    except OSError as error:
        raise ConfigError(f"no service account here: {error.filename}: {error.strerror}; {_FIX}") from None
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    # No proxy, whatever the environment says: the address is the cluster's own.
    return ApiServer(url, PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=str(authority)), credentials)


def from_kubeconfig(path: str) -> ApiServer:
    """Return the server that a kubeconfig's current context names.

    Raises:
        ConfigError: it cannot be read or used.
    """
    try:
        from kubernetes.client import Configuration  # noqa: PLC0415 — 17 MB, only for who gives a kubeconfig
        from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415 — as above
        from kubernetes.config import load_kube_config  # noqa: PLC0415 — as above
    except ImportError as error:
        raise ConfigError(_missing(error)) from error
    configuration: Any = Configuration()
    try:
        load_kube_config(config_file=path, client_configuration=configuration)  # type: ignore[no-untyped-call]  # theirs
        pool = RESTClientObject(configuration).pool_manager
    except Exception as error:  # lets through whatever its YAML, TLS and plugin code raises
        raise ConfigError(f"--kubeconfig {path}: {' '.join(str(error).split())[:200]}; {_FIX}") from error

    def credentials() -> dict[str, str]:
        settings = configuration.auth_settings().values()
        return {each["key"]: each["value"] for each in settings if each["in"] == "header" and each["value"]}

    return ApiServer(configuration.host, pool, credentials)


def _missing(error: ImportError) -> str:
    return f"pods from the API server need peerwatch[agent] ({error}); install it or use --pods FILE"
