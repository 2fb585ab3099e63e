"""Everything that stands between the network and the collector, put together from what the operator said."""

import asyncio
import contextlib
import datetime
import logging
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import grpc
from peerwatch.kubernetes.connection import ApiServer, from_kubeconfig, from_pod
from peerwatch.kubernetes.errors import NoServerError

from collector.access.doors import AnyAgent, AnyUser, CertificateAgents, Door, TokenAgents, TokenUsers
from collector.access.gate import Gate
from collector.access.publishing import Publisher
from collector.access.reviews import ApiReviewer, Reviews
from collector.access.serving import Certificates, ServingFiles
from collector.access.settings import AccessSettings
from collector.errors import PeerwatchError, UnavailableError

__all__ = ["SERVER_OPTIONS", "Entrance"]

LOG = logging.getLogger(__name__)

THREADS = 8
"""Questions to the API server at a time; each takes a few milliseconds, 5 s when it is away."""

UPKEEP_S = 60.0
"""How often is looked whether the authority is still published."""

RENEWAL_S = 3_600.0
"""How often is looked whether the certificate should be renewed."""

SERVER_OPTIONS = (
    ("grpc.server_handshake_timeout_ms", 10_000),  # a connection that says nothing costs a file descriptor for this long
    ("grpc.max_concurrent_streams", 64),  # calls on one connection; an agent makes one, a person a few
    ("grpc.max_metadata_size", 32 << 10),  # a token has a few kilobytes at most
)


class Entrance:
    """The gate, the addresses that are listened on, and the upkeep of certificates.

    Args:
        settings: checked already.
        count: told of each refusal, by reason.

    Raises:
        PeerwatchError: certificates, authority or API server cannot be used.
    """

    def __init__(self, settings: AccessSettings, *, count: Callable[[str], None]) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(THREADS, "access")
        self._authority: Any = None  # an Authority; its library is loaded for who wants one only
        self._publisher: Publisher | None = None
        api: ApiServer | None = None
        if settings.account or settings.reviews_users or settings.publish_ca:
            api = _api_server(settings.kubeconfig)
        self._certificates = self._make_certificates(api)
        reviews = None if api is None else Reviews(ApiReviewer(api), self._threads)
        self.gate = Gate(_agents(settings, reviews), _people(settings, reviews), count=count)

    def _make_certificates(self, api: ApiServer | None) -> Certificates | None:
        settings = self._settings
        clients = settings.client_authority
        if settings.own_ca is not None:
            from collector.access.authority import Authority  # noqa: PLC0415 — 12 MB, only for who has no authority

            self._authority = Authority(settings.own_ca, settings.tls_names)
            self._authority.renew(_now())
            if api is not None and settings.publish_ca:
                self._publisher = Publisher(api, settings.publish_ca, lambda: str(self._authority.certificate))
            return Certificates(ServingFiles(self._authority.files.certificate, self._authority.files.key, clients))
        if settings.tls_cert is not None and settings.tls_key is not None:
            return Certificates(ServingFiles(settings.tls_cert, settings.tls_key, clients))
        return None

    def listen(self, server: grpc.aio.Server, address: str) -> int:
        """Add the port, and the socket if there is to be one; return the port.

        Raises:
            UnavailableError: one of them cannot be used.
        """
        try:
            if self._certificates is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, self._certificates.credentials())
        except RuntimeError as error:
            raise UnavailableError(
                f"cannot listen on {address}; choose another --listen HOST:PORT (port 0: any free one)"
            ) from error
        if self._settings.socket is not None:
            _listen_on_socket(server, self._settings.socket)
        return port

    @property
    def authority_ends(self) -> datetime.datetime | None:
        """When the collector's own authority ends, None if it has none."""
        return None if self._authority is None else self._authority.ends

    async def run(self) -> NoReturn:
        """Keep certificates and what is published about them as they should be, until cancelled."""
        loop = asyncio.get_running_loop()
        renewed = time.monotonic()
        while True:
            if self._publisher is not None:
                await loop.run_in_executor(self._threads, self._publisher.publish)
            await asyncio.sleep(UPKEEP_S)
            if self._authority is not None and time.monotonic() - renewed >= RENEWAL_S:
                renewed = time.monotonic()
                await loop.run_in_executor(self._threads, self._renew)

    def _renew(self) -> None:
        try:
            self._authority.renew(_now())
        except PeerwatchError as error:
            LOG.error("the certificate cannot be renewed: %s", error)  # noqa: TRY400 — the text says it all

    def close(self) -> None:
        """Let go of threads and of the socket's name."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._settings.socket is not None:
            with contextlib.suppress(OSError):
                self._settings.socket.unlink()


def _listen_on_socket(server: grpc.aio.Server, path: Path) -> None:
    umask = os.umask(0o177)  # it is there with these rights from the first moment on
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise UnavailableError(f"--socket {path} is no socket, and not overwritten; remove it or choose another path")
        server.add_insecure_port(f"unix:{path.absolute()}")
    except (RuntimeError, OSError) as error:
        raise UnavailableError(
            f"cannot listen on --socket {path}; give a path in a directory that this user can write"
        ) from error
    finally:
        os.umask(umask)


def _agents(settings: AccessSettings, reviews: Reviews | None) -> Door:
    if settings.account and reviews is not None:
        return TokenAgents(reviews, settings.account)
    return AnyAgent() if settings.client_authority is None else CertificateAgents()


def _people(settings: AccessSettings, reviews: Reviews | None) -> Door:
    return TokenUsers(reviews) if settings.reviews_users and reviews is not None else AnyUser()


def _api_server(kubeconfig: str) -> ApiServer:
    try:
        return from_kubeconfig(kubeconfig) if kubeconfig else from_pod()
    except NoServerError as error:
        raise UnavailableError(
            f"{error}; callers are known by the API server: give --kubeconfig FILE, or run in a pod"
        ) from error


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
