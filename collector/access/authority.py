"""A certificate authority of the collector's own: for clusters where nobody else issues certificates.

It lives in a folder, and issues one certificate, the collector's, which is renewed long before it ends. Agents trust the
authority, so they need not know of renewals.
"""

import contextlib
import datetime
import ipaddress
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collector.access.serving import ServingFiles
from collector.errors import UnavailableError

__all__ = ["Authority"]

LOG = logging.getLogger(__name__)

AUTHORITY_DAYS = 3_650
"""Nothing renews it by itself, since every agent must learn of a new one; a warning begins a year before the end."""

WARN_DAYS = 365
"""`peerwatch status` says the same."""

SERVING_DAYS = 90
RENEW_DAYS = 30
"""The certificate is replaced when it has less than this left: a month in which a full disk may go unseen."""

BACKDATED = datetime.timedelta(hours=1)
"""Clocks of nodes may be behind."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
"""Always in the certificate: `kubectl port-forward` leads people there."""

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: Key


class Authority:
    """The folder with the authority and the collector's certificate.

    Args:
        folder: made if missing. Whoever reads it can pretend to be the collector.
        names: DNS names and addresses of the collector, beside `LOCAL_NAMES`.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = tuple(dict.fromkeys((*names, *LOCAL_NAMES)))
        self.files = ServingFiles(folder / "tls.crt", folder / "tls.key")
        self.ends: datetime.datetime | None = None
        """When the authority ends; None before `renew`."""

    @property
    def certificate(self) -> str:
        """What agents and people are to trust, PEM."""
        return self._pem(self._folder / "ca.crt").decode("ascii")

    def renew(self, now: datetime.datetime) -> bool:
        """Make what is missing, will end soon, or is for other names; say whether there is a new certificate.

        Raises:
            UnavailableError: the folder cannot be used, or holds something else.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            issuer = self._authority(now)
            kept = self._kept("tls")
            if kept is not None and self._serves(kept.certificate, issuer.certificate, now):
                return False
            self._write("tls", self._issue(issuer, now))
        except OSError as error:
            raise UnavailableError(
                f"--own-ca {self._folder}: {error.strerror}; give a directory that this user can write"
            ) from error
        return True

    def _authority(self, now: datetime.datetime) -> _Pair:
        kept = self._kept("ca")
        if kept is None:
            # Over one that is damaged, nothing is written: agents trust it, and there may be a copy.
            if (self._folder / "ca.crt").exists() or (self._folder / "ca.key").exists():
                raise UnavailableError(
                    f"--own-ca {self._folder}: ca.crt and ca.key make no authority; restore them, or remove both for a new one"
                )
            kept = _self_signed(now)
            self._write("ca", kept)
            LOG.info("a new certificate authority is in %s", self._folder)
        self.ends = kept.certificate.not_valid_after_utc
        if self.ends - now < datetime.timedelta(days=WARN_DAYS):
            LOG.warning(
                "the authority in %s ends on %s; remove its files and start again for a new one: docs/operate.md",
                self._folder,
                self.ends,
            )
        return kept

    def _serves(self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime.datetime) -> bool:
        try:
            certificate.verify_directly_issued_by(issuer)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except Exception:  # noqa: BLE001 — whatever is wrong with it, a new one is right
            return False
        left = certificate.not_valid_after_utc - now
        return left > datetime.timedelta(days=RENEW_DAYS) and set(names) == set(_alternatives(self._names))

    def _issue(self, issuer: _Pair, now: datetime.datetime) -> _Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder("peerwatch collector", key, now, SERVING_DAYS)
            .issuer_name(issuer.certificate.subject)
            .add_extension(x509.SubjectAlternativeName(_alternatives(self._names)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
            .sign(issuer.key, hashes.SHA256())
        )
        return _Pair(certificate, key)

    def _kept(self, name: str) -> _Pair | None:
        """Return a certificate and its key, None if they are missing or do not belong together."""
        try:
            certificate = x509.load_pem_x509_certificate(self._pem(self._folder / f"{name}.crt"))
            path = self._folder / f"{name}.key"
            key = serialization.load_pem_private_key(self._pem(path), password=None)
        except (FileNotFoundError, ValueError, TypeError):
            return None
        with contextlib.suppress(PermissionError):  # a volume's group gets rights at every mount; here nobody needs them
            path.chmod(0o600)
        if not isinstance(key, Key) or certificate.public_key() != key.public_key():
            return None
        return _Pair(certificate, key)

    def _pem(self, path: Path) -> bytes:
        return path.read_bytes()

    def _write(self, name: str, pair: _Pair) -> None:
        key = pair.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # The key first: a handshake between the two finds a pair that does not fit, and keeps the one before.
        _replace(self._folder / f"{name}.key", key, 0o600)
        _replace(self._folder / f"{name}.crt", pair.certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _self_signed(now: datetime.datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("peerwatch authority", key, now, AUTHORITY_DAYS)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        builder.issuer_name(_name("peerwatch authority"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _builder(name: str, key: Key, now: datetime.datetime, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Write a file as a whole or not at all, never readable by more than it will be."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
