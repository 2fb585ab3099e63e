"""The certificate that the collector shows, from files that may change at any time: each handshake gets what is there then."""

import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from collector.errors import InputError

__all__ = ["Certificates", "ServingFiles"]

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServingFiles:
    """PEM files."""

    certificate: Path
    key: Path
    clients: Path | None = None
    """The authority of client certificates; with one, every caller must show a certificate of it."""

    def all(self) -> tuple[Path, ...]:
        """Return those that there are."""
        return tuple(each for each in (self.certificate, self.key, self.clients) if each is not None)


_Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """Gives gRPC what is in the files, and again when they have changed. Files that make no sense change nothing."""

    def __init__(self, files: ServingFiles) -> None:
        """Read them.

        Raises:
            InputError: they cannot be used.
        """
        self._files = files
        self._refused: str = ""
        self._used = self._stamp()
        self._first = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a server listens with."""
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self._changed,  # type: ignore[arg-type]  # None means that nothing changed, which the types do not know
            require_client_authentication=self._files.clients is not None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what to show from now on, None if that is what was shown; gRPC asks at each handshake, in its own threads."""
        try:
            stamp = self._stamp()
            if stamp == self._used:
                return None
            read = self._read()
            if self._stamp() != stamp:
                return None  # they are being replaced; the next handshake finds them whole
        except InputError as error:
            self._tell(str(error))
            return None
        self._used, self._refused = stamp, ""
        LOG.info("a new certificate is in use: %s", self._files.certificate)
        return read

    def _tell(self, why: str) -> None:
        if why != self._refused:
            self._refused = why
            LOG.error("%s; the certificate before it stays in use", why)

    def _stamp(self) -> _Stamp:
        stats = [_stat(path) for path in self._files.all()]
        return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in stats)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        files = self._files
        try:
            # gRPC would take a key that does not fit and fail every handshake; OpenSSL says so at once.
            trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trial.load_cert_chain(files.certificate, files.key, password=_no_password)
            if files.clients is not None:
                trial.load_verify_locations(files.clients)
            pair = (files.key.read_bytes(), files.certificate.read_bytes())
            clients = None if files.clients is None else files.clients.read_bytes()
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            names = " and ".join(map(str, files.all()))
            raise InputError(f"{names} cannot be used: {_what(error)}; give PEM files that belong together") from error
        return grpc.ssl_server_certificate_configuration([pair], clients)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _no_password() -> str:
    raise ValueError("the key has a password")


def _what(error: Exception) -> str:
    return error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)
