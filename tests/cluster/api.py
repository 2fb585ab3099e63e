"""The API server, asked directly: a `kubectl` for each request would be most of a test's time."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from cluster.configuration import ADDRESS, API_PORT
from cluster.confinement import inside_network

__all__ = ["Api", "ApiError"]


Object = dict[str, Any]


class ApiError(RuntimeError):
    """The API server refused. `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:500]}")
        self.status = status


class _Connection(http.client.HTTPSConnection):
    """A connection from inside the node's network."""

    def __init__(self, network: Path, context: ssl.SSLContext, timeout_s: float) -> None:
        super().__init__(ADDRESS, API_PORT, context=context, timeout=timeout_s)
        self._network, self._trust, self._timeout_s = network, context, timeout_s

    def connect(self) -> None:
        with inside_network(self._network):
            plain = socket.create_connection((ADDRESS, API_PORT), self._timeout_s)
        try:
            self.sock = self._trust.wrap_socket(plain, server_hostname=ADDRESS)
        except BaseException:
            plain.close()
            raise


class Api:
    """Requests as cluster administrator, or with a token; each over a connection of its own, so from any thread."""

    def __init__(self, network: Callable[[], Path], pki: Path, *, token: str | None = None) -> None:
        self._network, self._pki, self._token = network, pki, token
        self._trust = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if token is None:
            self._trust.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def connect(self, timeout_s: float = 30) -> http.client.HTTPSConnection:
        """Return a connection that the caller speaks on; it is made with the first request."""
        return _Connection(self._network(), self._trust, timeout_s)

    def with_token(self, token: str) -> Self:
        """Return one that is whom the token names, nobody if it is empty."""
        return type(self)(self._network, self._pki, token=token)

    def get(self, path: str, **query: str) -> Object:
        """Return an object or a list."""
        return self.request("GET", path, **query)

    def post(self, path: str, body: object, **query: str) -> Object:
        """Create an object."""
        return self.request("POST", path, body, **query)

    def patch(self, path: str, body: object, **query: str) -> Object:
        """Change an object by a strategic merge."""
        return self.request("PATCH", path, body, **query)

    def delete(self, path: str, **query: str) -> Object:
        """Delete an object, or all of a collection."""
        return self.request("DELETE", path, **query)

    def make_namespace(self, name: str, labels: Mapping[str, str] | None = None, timeout_s: float = 60) -> None:
        """Make a namespace; pods can be made when this returns: not before a controller made its first service account."""
        self.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": dict(labels or {})}})
        deadline = time.monotonic() + timeout_s
        while not self.get(f"/api/v1/namespaces/{name}/serviceaccounts", fieldSelector="metadata.name=default")["items"]:
            assert time.monotonic() < deadline, f"namespace {name} has no service account"
            time.sleep(0.02)

    def request(self, method: str, path: str, body: object = None, **query: str) -> Object:
        """Ask once.

        Raises:
            ApiError: the answer is no.
            OSError: there is none.
        """
        with self.open(method, path, body, **query) as response:
            answer: Object = json.loads(response.read())
            return answer

    def watch(self, path: str, **query: str) -> Iterator[Object]:
        """Yield what happens to a collection, until its end or for ever."""
        with self.open("GET", path, watch="true", **query) as response:
            for line in response:
                yield json.loads(line)

    def open(
        self, method: str, path: str, body: object = None, *, timeout_s: float = 30, **query: str
    ) -> http.client.HTTPResponse:
        """Return the answer to be read; closing it closes its connection.

        Raises:
            ApiError: the answer is no.
            OSError: there is none.
        """
        connection = self.connect(timeout_s)
        kind = "strategic-merge-patch+json" if method == "PATCH" else "json"
        headers = {"Content-Type": f"application/{kind}", "Connection": "close"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None if body is None else json.dumps(body)
        try:
            connection.request(method, f"{path}?{urlencode(query)}", content, headers)
            response = connection.getresponse()
        except http.client.HTTPException as error:  # it died while it spoke
            connection.close()
            raise ConnectionError(f"no answer: {error!r}") from error
        except BaseException:
            connection.close()
            raise
        if response.status >= 300:
            with response:
                raise ApiError(response.status, response.read().decode(errors="replace"))
        return response
