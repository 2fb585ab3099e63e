"""What `run` was told, on its way from the command line to the daemon.

Imports little: what the command line imports to hand over, the daemon imports again.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from agent.credentials import Credentials

__all__ = ["SPOOL", "Options"]

SPOOL = Path("/var/lib/peerwatch-agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `run` was told, as `run --help` explains it. All of it can be JSON."""

    version: str
    collector: str
    cluster: str
    node: str
    pods: str | None
    kubeconfig: str | None
    pin_dir: str
    full: bool
    host: bool
    spool: str
    spool_bytes: int
    spool_age_s: float
    metrics: str | None
    canary_s: float
    ca: str = ""
    token: str = ""
    cert: str = ""
    key: str = ""
    insecure: bool = False

    @property
    def credentials(self) -> Credentials:
        """How agent and collector are to know each other."""
        return Credentials(ca=self.ca, token=self.token, cert=self.cert, key=self.key, insecure=self.insecure)

    def start(self) -> NoReturn:
        """Become the daemon."""
        command = [sys.executable, "-P", "-m", "agent.daemon", json.dumps(asdict(self))]
        os.execv(sys.executable, command)  # noqa: S606 — our own module
