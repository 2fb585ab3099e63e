"""How the agent knows its collector, and how the collector knows the agent: files, read again for each connection.

Tokens live for an hour and are renewed on disk, certificates are too, and an authority may be published after the agent has
started. So nothing is kept longer than a connection, and what is not there yet is waited for.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from peerwatch.addresses import is_loopback

from agent.errors import ConfigError

__all__ = ["Credentials", "NotReadyError", "Shown"]

FILE_MAX = 1 << 20
"""Bytes: a token has one thousand, a bundle of all public authorities 250."""

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]{1,16384}=*")


class NotReadyError(Exception):
    """A file is missing, or holds nothing of use yet; the text says which, and nothing of what it holds."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one connection begins with; two are equal if nothing has changed. Kept from logs."""

    authority: bytes | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with the call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Names of files, empty if there are none."""

    ca: str = ""
    token: str = ""
    cert: str = ""
    key: str = ""
    insecure: bool = False

    def check(self, collector: str) -> None:
        """Refuse what would send events or a token in the clear, unless somebody has said that it may.

        Raises:
            ConfigError: the text says what to give.
        """
        if bool(self.cert) != bool(self.key):
            raise ConfigError("--cert and --key belong together: give both")
        if self.ca and self.insecure:
            raise ConfigError("--ca and --insecure contradict each other: give one")
        if self.ca:
            return
        if self.cert:
            raise ConfigError("--cert needs --ca FILE, the authority of the collector's certificate")
        if is_loopback(collector):
            return
        if self.token:
            raise ConfigError(f"--token would be sent to {collector} unencrypted: give --ca FILE, too")
        if not self.insecure:
            raise ConfigError(
                f"the collector at {collector} is on another host, and nothing is encrypted: give --ca FILE, the authority of"
                " its certificate; --insecure if something else protects the way"
            )

    def read(self) -> Shown:
        """Return what is in the files now.

        Raises:
            NotReadyError: one of them cannot be used yet.
        """
        token = b""
        if self.token:
            token = _read("--token", self.token).strip()
            if not _TOKEN.fullmatch(token):  # gRPC would repeat it in its error
                raise NotReadyError(f"--token {self.token} holds no token")
        return Shown(
            authority=_pem("--ca", self.ca),
            token=token.decode("ascii"),
            certificate=_pem("--cert", self.cert),
            key=_read("--key", self.key) if self.key else None,
        )


def _pem(option: str, path: str) -> bytes | None:
    if not path:
        return None
    data = _read(option, path)
    if _CERTIFICATE not in data:
        raise NotReadyError(
            f"{option} {path} holds no certificate yet" if not data.strip() else f"{option} {path} is no PEM file"
        )
    return data


def _read(option: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(FILE_MAX)
    except OSError as error:
        raise NotReadyError(f"{option} {path}: {error.strerror}") from error
