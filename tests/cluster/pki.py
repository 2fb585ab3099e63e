"""Certificates and kubeconfigs of one node, from an authority that lives and dies with it."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Authority", "kubeconfig"]

DAYS = 30
_CONFIG = "[req]\ndistinguished_name=name\n[name]\n"  # without the system's own, which adds extensions


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder; each certificate is `<name>.crt` and `<name>.key` beside it."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """What clients and servers trust."""
        return self.folder / "ca.crt"

    def create(self) -> None:
        """Make the authority, and the key pair that signs service account tokens."""
        self.folder.mkdir(mode=0o700)
        (self.folder / "openssl.cnf").write_text(_CONFIG)
        rights = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,digitalSignature"]
        self._request("ca", "/CN=cluster", rights)
        for command in (
            ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "tokens.key"),
            ("pkey", "-in", "tokens.key", "-pubout", "-out", "tokens.pub"),
        ):
            subprocess.run(["openssl", *command], cwd=self.folder, capture_output=True, check=True)

    def server(self, name: str, *alternatives: str) -> None:
        """Issue a server's certificate; alternatives are `DNS:…` and `IP:…`."""
        self._issue(name, f"/CN={name}", ["extendedKeyUsage=serverAuth", f"subjectAltName={','.join(alternatives)}"])

    def client(self, name: str, user: str, group: str = "") -> None:
        """Issue a client's certificate, which is who it is for the API server."""
        self._issue(name, (f"/O={group}" if group else "") + f"/CN={user}", ["extendedKeyUsage=clientAuth"])

    def _issue(self, name: str, subject: str, extensions: list[str]) -> None:
        self._request(name, subject, ["basicConstraints=CA:FALSE", *extensions], "-CA", "ca.crt", "-CAkey", "ca.key")

    def _request(self, name: str, subject: str, extensions: list[str], *signer: str) -> None:
        command = ["openssl", "req", "-x509", "-config", "openssl.cnf", "-days", str(DAYS), "-subj", subject, *signer]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
        command += [word for extension in extensions for word in ("-addext", extension)]
        subprocess.run(command, cwd=self.folder, capture_output=True, check=True)


def kubeconfig(server: str, authority: Path, user: Mapping[str, str]) -> str:
    """Return a kubeconfig with one user; JSON, which is YAML."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": {"server": server, "certificate-authority": str(authority)}}],
            "users": [{"name": "user", "user": dict(user)}],
            "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
            "current-context": "context",
        }
    )
