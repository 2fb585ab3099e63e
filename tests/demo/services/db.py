"""The demo's database: answers every line with a row, and now and then tells the disk to keep it."""

import socketserver
import subprocess
import threading
import time


class Handler(socketserver.StreamRequestHandler):
    """Answers one question."""

    def handle(self) -> None:
        """Answer it."""
        if self.rfile.readline():
            self.wfile.write(b"a row\n")


class Server(socketserver.ThreadingTCPServer):
    """One thread per connection."""

    allow_reuse_address = True
    daemon_threads = True


def checkpoint() -> None:
    """Flush a file every few seconds."""
    while True:
        time.sleep(4)
        subprocess.run(["/usr/bin/sync", "/etc/hostname"], check=False)


if __name__ == "__main__":
    threading.Thread(target=checkpoint, daemon=True).start()
    Server(("", 5432), Handler).serve_forever()
