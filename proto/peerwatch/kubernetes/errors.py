"""What can go wrong with an API server, by what there is to do about it.

    ServerError        no answer, a refusal, or one that makes no sense: try again later
    ├── ExpiredError   it does not know a resource version (any more): list again
    └── NoServerError  nobody said where one is, or what was said is of no use: fix the configuration

Each text is one line, and never holds what was sent: requests carry tokens.
"""

import orjson

__all__ = ["ExpiredError", "NoServerError", "ServerError", "failure"]

GONE = 410
TOO_MANY = 429

MAX_TEXT = 200
"""Characters of a server's message that go into a log line."""


class ServerError(Exception):
    """The API server refuses, does not answer, or what it says makes no sense.

    `status` is HTTP's, 0 if there was no answer; `retry_after_s` is how long it asks to wait, 0 if it does not.
    """

    def __init__(self, text: str, *, status: int = 0, retry_after_s: float = 0) -> None:
        """`text` is made one line."""
        super().__init__(" ".join(text.split())[: 2 * MAX_TEXT])
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def refused(self) -> bool:
        """Whether the server will say the same until somebody changes rights or configuration: it is neither away nor busy."""
        return 400 <= self.status < 500 and self.status != TOO_MANY


class ExpiredError(ServerError):
    """The server does not know the resource version (any more): only a new list helps."""


class NoServerError(ServerError):
    """There is no usable configuration."""


def failure(status: int, body: bytes, retry_after: str = "") -> ServerError:
    """Return the error for a response's status code, its body (a `Status`, or an ERROR event with one) and `Retry-After`."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = {}
    if isinstance(said, dict) and isinstance(said.get("object"), dict):
        said = said["object"]
    message = said.get("message") if isinstance(said, dict) else None
    text = f"HTTP {status}: {' '.join(str(message or 'no message').split())[:MAX_TEXT]}"
    # A version that the server does not know yet: etcd was restored from a backup. It is as lost as one too old.
    if status == GONE or "Too large resource version" in text:
        return ExpiredError(text, status=status)
    after = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0
    return ServerError(text, status=status, retry_after_s=after)
