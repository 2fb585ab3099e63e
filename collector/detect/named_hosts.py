"""Which hosts words name: outside of the cluster, its services, the container itself."""

import re
from functools import lru_cache

from collector.detect.addresses import class_of

__all__ = ["LOCAL", "is_inside", "is_service", "outside", "outside_type", "urls"]

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://(?:[^\s/@'\"]*@)?(\[[0-9a-f:.]{2,45}\]|[^\s/:?#'\"]+)", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:(?<![\w./-])|(?<=//)|(?<=tcp/)|(?<=udp/))(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
"""What looks like an IPv4 address, and is no version in a path."""
_INSIDE = re.compile(
    r"(?:.*\.(?:svc|local|internal|localdomain|cluster)|localhost|[^.]*|[^.]+\.[^.]+\.svc\..*|([a-z][\w-]{0,62})-\d{1,4}\.\1-\w[\w-]{0,62})",
    re.IGNORECASE,
)
"""Names that only the cluster and its networks know: `db-0.db-headless` is a replica, by the set's own service; no
name under which a host is registered ends so (`c-2.com`, `xn-1.xn--p1ai`)."""
_NAME = re.compile(r"(?!kubernetes|metadata|instance-data)[a-z_$]", re.IGNORECASE)
"""A name, or a variable that holds one, and no address; not the cluster's or the cloud's own."""
_TYPED_URL = re.compile(r"<[a-z][a-z0-9+.-]*:((?:public:)?[^:>]+)")
LOCAL = re.compile(r"(?:https?://)?(?:localhost|127\.[\d.]+|\[::1\])(?:[:/?].*)?", re.IGNORECASE)
"""The container itself."""


@lru_cache(maxsize=16_384)  # as many names as destinations have
def is_inside(host: str) -> bool:
    """Return whether only the cluster and its networks know a name."""
    return _INSIDE.fullmatch(host) is not None


def urls(text: str) -> list[str]:
    """Return the hosts of all URLs in a text."""
    return [match[1] for match in _URL.finditer(text)]


def outside(text: str) -> bool:
    """Return whether a text names an address outside of the cluster."""
    return any(map(_is_public, _ADDRESS.findall(text))) or any(map(_leads_outside, urls(text)))


def _leads_outside(host: str) -> bool:
    """Return whether a URL's host is outside: a name, or an IPv6 address in brackets; of IPv4 its digits alone tell."""
    if host.startswith("["):
        return (class_of(host) or "").startswith("public")
    return not is_inside(host) and not re.fullmatch(r"[\d.]+", host)


def _is_public(address: str) -> bool:
    """Return whether an address is public; so may be what only looks like one (`010.8.8.8` is read as octal by some)."""
    return (class_of(address) or "public").startswith("public")


def outside_type(word: str) -> bool:
    """Return whether a word of a template stands for a URL outside of the cluster."""
    host = _TYPED_URL.search(word)
    return host is not None and (host[1].startswith("public") or not (is_inside(host[1]) or ":" in host[1]))


def is_service(host: str) -> bool:
    """Return whether a name is that of one of the cluster's services, and not the cluster's or the cloud's own."""
    return is_inside(host) and _NAME.match(host) is not None
