"""Which hosts are on the public internet, in every spelling that curl understands."""

from __future__ import annotations

import ipaddress
import re
import socket

__all__ = ["Address", "address_of", "is_public", "private_host", "resolved_private"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.IGNORECASE)
_LOCAL_SUFFIXES = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home.arpa", "corp")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


def address_of(host: str) -> Address | None:
    """IP address that a host is, in any spelling, or None for a name.

    Parameters
    ----------
    host
        Host of a URL, an IPv6 address without its brackets.

    Raises
    ------
    ValueError
        It ends in a number, as only an IPv4 address may, and is none.

    Notes
    -----
    curl and the C library take ``127.1``, ``2130706433``, ``0x7f000001`` and ``0177.0.0.1`` for 127.0.0.1. As in the
    WHATWG URL standard, a host whose last part is a number is an IPv4 address or an error.

    Examples
    --------
    >>> address_of("0x7f.1"), address_of("example.org")
    (IPv4Address('127.0.0.1'), None)
    """
    if ":" in host:
        return ipaddress.IPv6Address(host)
    last = host.rstrip(".").rpartition(".")[2]
    if not _NUMBER.fullmatch(last):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError as error:
        raise ValueError(f"{host!r} ends in a number and is no IPv4 address") from error


def _embedded(address: Address) -> Address:
    """IPv4 address inside an IPv6 address, where there is one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour or address


def is_public(address: Address) -> bool:
    """Whether an address is of one machine on the public internet.

    Examples
    --------
    >>> [is_public(ipaddress.ip_address(text)) for text in ("8.8.8.8", "169.254.169.254", "::ffff:10.0.0.1")]
    [True, False, False]
    """
    real = _embedded(address)
    return real.is_global and not real.is_multicast


def private_host(host: str) -> bool:
    """Whether a host is private by its spelling alone: no name is looked up.

    Examples
    --------
    >>> [private_host(host) for host in ("localhost", "metadata.google.internal", "files", "example.org")]
    [True, True, True, False]
    """
    address = address_of(host)
    if address is not None:
        return not is_public(address)
    name = host.rstrip(".").lower()
    return "." not in name or any(name == suffix or name.endswith(f".{suffix}") for suffix in _LOCAL_SUFFIXES)


def resolved_private(host: str) -> list[str]:
    """Addresses that a host resolves to and that are not public.

    Raises
    ------
    OSError
        The name cannot be resolved.
    """
    found = {str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return sorted(text for text in found if not is_public(ipaddress.ip_address(text.partition("%")[0])))
