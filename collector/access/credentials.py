"""What a caller shows: a token, a certificate, or that they are in the pod already. Says nothing of what it is worth."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from collector.access.callers import RefusedCallError

__all__ = ["Claims", "Credentials"]

TOKEN_MAX = 16_384
"""Characters: tokens of service accounts have about a thousand; headers of the API server end at 1 MiB."""

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of itself, unproven: good for refusing without a question to the API server, and for nothing else."""

    subject: str = ""
    audiences: tuple[str, ...] = ()

    @classmethod
    def of(cls, token: str) -> "Claims | None":
        """Return the claims of a JSON Web Token, None of a token of another kind."""
        parts = token.split(".")
        if len(parts) != 3:
            return None
        try:
            claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        except (ValueError, binascii.Error, RecursionError):
            return None
        if not isinstance(claims, dict):
            return None
        audience, subject = claims.get("aud", ()), claims.get("sub", "")
        listed = audience if isinstance(audience, list) else [audience]
        return cls(
            subject if isinstance(subject, str) else "",
            tuple(each for each in listed if isinstance(each, str)),
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """What came with one call."""

    peer: str = ""
    """As gRPC writes it: `ipv4:10.0.0.7:41532`, `unix:`."""
    authorization: Sequence[str] = field(default=(), repr=False)  # never in a log
    uris: tuple[str, ...] = ()
    """Of the client certificate that TLS has verified."""
    certified: bool = False

    @classmethod
    def of(cls, context: "grpc.aio.ServicerContext[Any, Any]") -> "Credentials":
        """Take them from a call."""
        metadata = context.invocation_metadata() or ()
        proven: Mapping[str, Iterable[bytes]] = context.auth_context()
        # gRPC calls a SPIFFE id by another name, but lists it among the URIs, too.
        uris = tuple(each.decode(errors="replace") for each in proven.get("peer_uri", ()))
        shown = [value for key, value in metadata if key == "authorization"]
        return cls(context.peer(), [each for each in shown if isinstance(each, str)], uris, certified="x509_pem_cert" in proven)

    @property
    def local(self) -> bool:
        """Whether the call came through the socket in the file system; a call over the network cannot look so."""
        return self.peer.startswith("unix:")

    @property
    def address(self) -> str:
        """Where it came from, without the port, which says nothing later."""
        return self.peer.rpartition(":")[0]

    def token(self) -> str:
        """Return the bearer token.

        Raises:
            RefusedCallError: there is none, or what there is cannot be one.
        """
        if not self.authorization:
            raise RefusedCallError("no_token", grpc.StatusCode.UNAUTHENTICATED, "a token is needed: give --token FILE")
        text = self.authorization[0]
        token = text[len(_BEARER) :].strip()
        if len(self.authorization) > 1 or text[: len(_BEARER)].lower() != _BEARER:
            token = ""
        if len(token) > TOKEN_MAX or not _TOKEN.fullmatch(token):
            raise RefusedCallError("bad_token", grpc.StatusCode.UNAUTHENTICATED, "the authorization is no bearer token")
        return token
