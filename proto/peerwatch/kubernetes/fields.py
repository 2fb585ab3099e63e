"""What an object of the API server says, field by field. Pure.

Objects are read as they came, without the client library's models: a few fields are kept, and a file gives the same shape.
Nothing in them is trusted to have the right type or a sensible size.
"""

from collections.abc import Mapping
from functools import lru_cache

from peerwatch.times import parse_time

__all__ = ["MAX_ITEMS", "MAX_VALUE", "MalformedError", "items_of", "name_of", "object_of", "pairs_of", "text_of", "time_of"]

MAX_KEY = 317
"""Longest label or annotation name that Kubernetes allows (253 + `/` + 63); a longer one is left out."""

MAX_VALUE = 1024
"""Characters kept of a label's or annotation's value. A label's may have 63; annotations may have 256 KiB."""

MAX_NAME = 253
"""Longest name, namespace, uid or kind: a DNS subdomain. A longer one makes the object malformed, since it is an identity."""

MAX_ITEMS = 1024
"""Entries looked at in each list of an object. The kubelet's limit for containers is far below, an endpoint slice has 1,000."""


class MalformedError(ValueError):
    """An object is not usable as what it should be. The text names the field and what is wrong with it."""


def object_of(holder: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return a field that is an object, an empty one if it is missing.

    Raises:
        MalformedError: it is something else.
    """
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MalformedError(f"{name} must be an object")
    return value


def items_of(holder: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    """Return a field that is a list of objects, the first `MAX_ITEMS` of them.

    Raises:
        MalformedError: it is something else.
    """
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value[:MAX_ITEMS]):
        raise MalformedError(f"{name} must be a list of objects")
    return value[:MAX_ITEMS]


def text_of(holder: Mapping[str, object], name: str) -> str:
    """Return a field that is text, empty if it is missing.

    Raises:
        MalformedError: it is something else.
    """
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedError(f"{name} must be a string")
    return clean(value)


def name_of(holder: Mapping[str, object], name: str) -> str:
    """Return a text that identifies something.

    Raises:
        MalformedError: it is too long, or no text.
    """
    value = text_of(holder, name)
    if len(value) > MAX_NAME:
        raise MalformedError(f"{name} is longer than {MAX_NAME} characters")
    return value


def pairs_of(holder: Mapping[str, object], name: str, prefix: str, most: int) -> tuple[tuple[str, str], ...]:
    """Return the first so many pairs of a field, sorted, of those whose key begins with a prefix.

    Raises:
        MalformedError: it is no object, or a value is no text.
    """
    value = object_of(holder, name)
    names: list[object] = list(value)  # YAML allows keys that are no strings
    keys = sorted(key for key in names if isinstance(key, str) and key.startswith(prefix) and len(key) <= MAX_KEY)
    # Cleaned twice, since what becomes of broken characters may be one name.
    return tuple(sorted({clean(key): text_of(value, key)[:MAX_VALUE] for key in keys[:most]}.items()))


@lru_cache(maxsize=512)
def _parsed(text: str) -> int:
    """Return a time as nanoseconds: objects that come together say the same times over and over."""
    return parse_time(text)


def time_of(holder: Mapping[str, object], name: str) -> int:
    """Return a time, nanoseconds since 1970, 0 if it is missing.

    Raises:
        MalformedError: it is none.
    """
    value = text_of(holder, name)
    if not value:
        return 0
    try:
        time = _parsed(value)
    except ValueError as error:
        raise MalformedError(f"{name}: {error}") from None
    if not 0 <= time < 1 << 63:
        raise MalformedError(f"{name} is out of range: {value[:64]}")
    return time


def clean(text: str) -> str:
    """Replace halves of surrogate pairs: JSON and YAML can write them, UTF-8 and so protobuf cannot."""
    return text if text.isascii() else text.encode(errors="replace").decode()
