"""What an operator says about who may come in, checked before anything starts: what is open must be open on purpose."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from peerwatch.addresses import is_loopback

from collector.errors import InputError

__all__ = ["AccessSettings"]

KUBERNETES, CERTIFICATES, ANYONE = "kubernetes", "certificates", "anyone"

_NAME = r"[a-z0-9](?:[a-z0-9.\-]{0,251}[a-z0-9])?"
_PLACE = re.compile(f"{_NAME}/{_NAME}", re.ASCII)
_HOST = re.compile(rf"(?:\*\.)?{_NAME}", re.ASCII)

SOCKET_PATH_MAX = 100
"""Characters; the kernel's sockaddr_un ends at 107."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """As `peerwatch collector --help` explains them; empty: not given."""

    agents: str = ""
    users: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    own_ca: Path | None = None
    publish_ca: str = ""
    tls_names: tuple[str, ...] = ()
    insecure: bool = False
    socket: Path | None = None
    kubeconfig: str = ""
    cluster: str = ""
    """Agents that prove their node may speak for this cluster only; empty: they name it, and are believed."""

    @property
    def encrypted(self) -> bool:
        """Whether the port speaks TLS."""
        return self.tls_cert is not None or self.own_ca is not None

    @property
    def account(self) -> str:
        """NAMESPACE/NAME of the agents' service account; empty if they show something else."""
        kind, _, value = self.agents.partition(":")
        return value if kind == KUBERNETES else ""

    @property
    def client_authority(self) -> Path | None:
        """The authority of the agents' certificates."""
        kind, _, value = self.agents.partition(":")
        return Path(value) if kind == CERTIFICATES else None

    @property
    def reviews_users(self) -> bool:
        """Whether people need a token."""
        return self.users == KUBERNETES

    def check(self, listen: str) -> None:
        """Refuse what contradicts itself, and what would let strangers in unasked.

        Raises:
            InputError: the text says what to give.
        """
        self._check_values()
        self._check_tls()
        if is_loopback(listen):
            return
        if not self.encrypted and not self.insecure:
            raise InputError(
                f"--listen {listen} is open to other hosts, and nothing is encrypted: give --own-ca DIR, or --tls-cert FILE and"
                " --tls-key FILE; --insecure if something else protects it"
            )
        for option, value, example in (
            ("--agents", self.agents, f"{KUBERNETES}:NAMESPACE/SERVICEACCOUNT"),
            ("--users", self.users, KUBERNETES),
        ):
            if not value and not self.insecure:
                raise InputError(
                    f"--listen {listen} is open to other hosts: say who may call with {option} {example}; {option} {ANYONE} if"
                    " something else decides that"
                )

    def _check_values(self) -> None:
        kind, _, value = self.agents.partition(":")
        if not (
            self.agents in {"", ANYONE}
            or (kind == KUBERNETES and _PLACE.fullmatch(value) and "." not in value.partition("/")[0])
            or (kind == CERTIFICATES and value)
        ):
            raise InputError(
                f"--agents must be {KUBERNETES}:NAMESPACE/SERVICEACCOUNT, {CERTIFICATES}:FILE or {ANYONE}, not {self.agents!r}"
            )
        if self.users not in {"", ANYONE, KUBERNETES}:
            raise InputError(f"--users must be {KUBERNETES} or {ANYONE}, not {self.users!r}")
        if self.socket is not None and len(str(self.socket.absolute())) > SOCKET_PATH_MAX:
            raise InputError(f"--socket has more than {SOCKET_PATH_MAX} characters; choose a shorter path")

    def _check_tls(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("--tls-cert and --tls-key belong together: give both")
        if self.tls_cert is not None and self.own_ca is not None:
            raise InputError("--own-ca issues a certificate of its own: give it, or --tls-cert and --tls-key")
        if self.client_authority is not None and not self.encrypted:
            raise InputError("--agents certificates:FILE needs TLS: give --own-ca DIR, or --tls-cert FILE and --tls-key FILE")
        if self.own_ca is None and (self.publish_ca or self.tls_names):
            raise InputError("--publish-ca and --tls-name are about --own-ca DIR: give that, too")
        if self.publish_ca and not _PLACE.fullmatch(self.publish_ca):
            raise InputError(f"--publish-ca must be NAMESPACE/CONFIGMAP, not {self.publish_ca!r}")
        for name in self.tls_names:
            if not _HOST.fullmatch(name) and not _is_address(name):
                raise InputError(f"--tls-name must be a DNS name or an address, not {name!r}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
