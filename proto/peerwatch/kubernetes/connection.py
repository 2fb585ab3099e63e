"""Where the API server is and how to ask it: from the service account of the pod, or from a kubeconfig. Says nothing of pods.

Plain HTTP: the client library's typed API costs 95 MB of memory for the models, of which not one is needed here. A pod needs no
library at all for this: an address in two environment variables, and two files. The library is for kubeconfigs alone, with all
the ways to log in that they know; it takes 17 MB, so who runs in a pod never imports it.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from peerwatch.kubernetes.errors import NoServerError, ServerError, failure

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = ["SERVICE_ACCOUNT", "ApiServer", "from_kubeconfig", "from_pod"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts token and certificate authority into every pod that asks for them."""

JSON = "application/json"

CONNECT_TIMEOUT_S = 5.0

TOKEN_FILE_S = 60.0
"""How long a token from a kubeconfig's `tokenFile` is used before the file is read again, as kubectl's own library does."""

MAX_ANSWER = 8 << 20
"""Largest answer that is read, bytes: an object in etcd has 1.5 MiB by default; JSON may double that."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """An API server: `url` without a path, the pool that trusts it, and what to send along with each request. Thread safe."""

    url: str
    pool: "PoolManager"
    credentials: Callable[[], dict[str, str]]
    """Headers; asked for each time, since tokens are renewed. Raises whatever reading them raises."""

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float = 10.0,
    ) -> dict[str, Any]:
        """Return the object that the server answers with.

        Raises:
            ServerError: there is no such answer.
        """
        with self.open(method, path, query=query or {}, body=body, read_timeout_s=timeout_s) as response:
            answer = read_object(response, MAX_ANSWER)
            response.release_conn()
        return answer

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        accept: str = JSON,
        read_timeout_s: float,
    ) -> "Iterator[BaseHTTPResponse]":
        """Ask, and let the caller read the answer; what goes wrong until then, its reading included, is a `ServerError`.

        Raises:
            ServerError: there is no answer, or one that is no success. `read_timeout_s` is between two reads.
        """
        from urllib3 import Timeout  # noqa: PLC0415 — 4 MB, only for who asks an API server; `from_…` below have checked it
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 — as above

        headers = {"Accept": accept, "User-Agent": "peerwatch"} | self._headers()
        if body is not None:
            headers["Content-Type"] = JSON
        response = None
        try:
            response = self.pool.request(
                method,
                f"{self.url}{path}?{urlencode(query)}" if query else f"{self.url}{path}",
                body=None if body is None else orjson.dumps(body),
                headers=headers,
                timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=read_timeout_s),
                preload_content=False,
                redirect=False,  # the token is for this server only
                retries=False,  # pauses are the caller's
            )
            if not 200 <= response.status < 300:
                raise failure(response.status, response.read(1 << 16), response.headers.get("Retry-After", ""))
            yield response
        except (HTTPError, OSError) as error:
            raise ServerError(str(error)) from error
        finally:
            if response is not None:
                response.close()  # a watch is never read to its end, so its connection cannot be used again

    def _headers(self) -> dict[str, str]:
        try:
            return self.credentials()
        except Exception as error:  # a token file that is gone, a plugin that fails: it may be back with the next try
            raise ServerError(f"no credentials: {error}") from error


def read_body(response: "BaseHTTPResponse", most: int) -> bytes:
    """Return an answer of at most so many bytes.

    Raises:
        ServerError: it is larger.
    """
    body: bytes = response.read(most + 1)
    if len(body) > most:
        raise ServerError(f"an answer is larger than {most >> 20} MiB", status=response.status)
    return body


def read_object(response: "BaseHTTPResponse", most: int) -> dict[str, Any]:
    """Return the JSON object of an answer of at most so many bytes.

    Raises:
        ServerError: it is larger, or is none.
    """
    try:
        answer = orjson.loads(read_body(response, most))
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ServerError("its answer is no JSON object", status=response.status)
    return answer


def from_pod(environment: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> ApiServer:
    """Return the server that the service account of this pod names.

    Raises:
        NoServerError: this is no pod, or one without a service account's token.
    """
    token, authority = folder / "token", folder / "ca.crt"

    def credentials() -> dict[str, str]:
        # The kubelet renews it on disk, usually each hour.
        return {"authorization": f"Bearer {token.read_text().strip()}"}

    try:
        from urllib3 import PoolManager  # noqa: PLC0415 — 4 MB, only where an API server is asked

        host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
        credentials()
        authority.read_bytes()
    except ImportError as error:
        raise NoServerError(
            f"asking an API server needs peerwatch[agent] or peerwatch[collector] ({error}): install one"
        ) from error
    except KeyError as error:
        raise NoServerError(f"no service account here: {error.args[0]} is not set") from None
    except OSError as error:
        raise NoServerError(f"no service account here: {error.filename}: {error.strerror}") from None
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    # No proxy, whatever the environment says: the address is the cluster's own.
    return ApiServer(url, PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=str(authority)), credentials)


def from_kubeconfig(path: str) -> ApiServer:
    """Return the server that a kubeconfig's current context names.

    Raises:
        NoServerError: it cannot be read or used.
    """
    try:
        from kubernetes.client import Configuration  # noqa: PLC0415 — 17 MB, only for who gives a kubeconfig
        from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415 — as above
        from kubernetes.config import load_kube_config  # noqa: PLC0415 — as above
    except ImportError as error:
        raise NoServerError(f"--kubeconfig {path}: only peerwatch[agent] brings what reads it ({error}): install it") from error
    configuration: Any = Configuration()

    def load() -> float:
        load_kube_config(config_file=path, client_configuration=configuration)  # type: ignore[no-untyped-call]  # theirs
        return time.monotonic()

    try:
        loaded_at = load()
        # A plugin's token is renewed when it expires; one from a file has no date, and the library reads it only once.
        reads_file = b"tokenFile" in Path(path).expanduser().read_bytes()
        pool = RESTClientObject(configuration).pool_manager
    except Exception as error:  # lets through whatever its YAML, TLS and plugin code raises
        raise NoServerError(f"--kubeconfig {path}: {' '.join(str(error).split())[:200]}") from error

    def credentials() -> dict[str, str]:
        nonlocal loaded_at
        if reads_file and time.monotonic() - loaded_at > TOKEN_FILE_S:
            loaded_at = load()
        settings = configuration.auth_settings().values()
        # Files end with a line end, which is no part of a token.
        return {each["key"]: each["value"].strip() for each in settings if each["in"] == "header" and each["value"]}

    return ApiServer(configuration.host, pool, credentials)
