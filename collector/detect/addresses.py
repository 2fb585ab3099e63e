"""Which kind of place an address is: what is said of a destination when nobody knows whose it is."""

import ipaddress
from functools import lru_cache

__all__ = ["address_class", "class_of"]

_METADATA = (ipaddress.ip_address("169.254.169.254"), ipaddress.ip_address("fd00:ec2::254"))
_PRIVATE = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "0.0.0.0/8"),
        *("fc00::/7", "fe80::/10"),
    )
)


@lru_cache(maxsize=65_536)
def address_class(packed: bytes) -> str:
    """Return the class of an address of 16 bytes: loopback, metadata-service, `private …/24` or `public …/16`.

    Backends move inside a subnet and CDNs inside an allocation; the width was chosen on real traffic (`/16:port` gives a
    third of the false runs of `ip:port` and loses no attack). IPv6: /64 and /32, the sizes of a subnet and an allocation.
    """
    full = ipaddress.IPv6Address(packed)
    address = full.ipv4_mapped or full
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address in _METADATA:
        return "metadata-service"
    private = any(address in network for network in _PRIVATE if network.version == address.version)
    bits = (24 if private else 16) if address.version == 4 else (64 if private else 32)
    network = ipaddress.ip_network((address, bits), strict=False)
    return f"{'private' if private else 'public'} {network}"


@lru_cache(maxsize=16_384)  # an address is named as often as something is told of it
def class_of(text: str) -> str | None:
    """Return the class of an address as people write it, None for what is none."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return address_class((bytes(10) + b"\xff\xff" if address.version == 4 else b"") + address.packed)
