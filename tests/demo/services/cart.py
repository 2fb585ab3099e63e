"""The demo's shop cart: serves carts, asks its database, runs a few helpers. It has one hole, `/debug/lookup`."""

import http.server
import os
import random
import socket
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

DATABASES = os.environ["DATABASES"].split(",")
PORT = 5432
JOURNAL = Path("/var/tmp/cart.journal")


def ask(question: str) -> str:
    """Ask one of the databases."""
    with socket.create_connection((random.choice(DATABASES), PORT), 2) as connection:  # noqa: S311 — no secret
        connection.sendall(question.encode() + b"\n")
        return connection.recv(200).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers `/cart`, and `/debug/lookup` that somebody forgot to take out."""

    def do_GET(self) -> None:
        """Answer one request."""
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/debug/lookup":
            name = urllib.parse.parse_qs(url.query).get("name", [""])[0]
            # The hole: what a stranger sends becomes part of a shell's command.
            answer = subprocess.run(f"getent hosts {name}", shell=True, capture_output=True, text=True, check=False).stdout  # noqa: S602 — this is the hole that the demo attacks
        else:
            answer = ask("cart")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


def every(low: float, high: float, *argv: str) -> None:
    """Run a helper for ever, at irregular times."""

    def repeat() -> None:
        while True:
            time.sleep(random.uniform(low, high))  # noqa: S311 — no secret
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)

    threading.Thread(target=repeat, daemon=True).start()


if __name__ == "__main__":
    JOURNAL.write_text("one cart\n" * 1000)
    every(0.6, 1.8, "date", "+%s")
    every(1.0, 3.0, "sha256sum", str(JOURNAL))
    every(2.0, 5.0, "gzip", "--keep", "--force", str(JOURNAL))
    every(4.0, 8.0, "find", str(JOURNAL.parent), "-name", "*.gz", "-mmin", "+5", "-delete")
    http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
