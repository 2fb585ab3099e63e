"""Addresses in their forms: 16 bytes in columns, where IPv4 is IPv4-mapped IPv6, the text that people read, and HOST:PORT."""

import ipaddress
import socket

__all__ = ["address_text", "is_loopback", "pack_address"]

_IPV4_MAPPED = bytes(10) + b"\xff\xff"


def pack_address(text: str) -> bytes:
    """Return the 16 bytes of an address.

    Raises:
        ValueError: it is none.
    """
    if ":" not in text:
        try:
            return _IPV4_MAPPED + socket.inet_pton(socket.AF_INET, text)  # ten times as fast
        except OSError:
            pass  # said below, in words
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else _IPV4_MAPPED + address.packed


def address_text(packed: bytes) -> str:
    """Return the usual text of 16 bytes; an IPv4-mapped address is written as IPv4."""
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def is_loopback(address: str) -> bool:
    """Say whether HOST:PORT is reachable from this host only; a name is looked up nowhere."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
