"""Whose address a request comes from: that of the connection, or, behind TRUSTED_PROXIES, what they say of it.

`X-Forwarded-For` is a list to which each proxy adds whom it heard; only what a trusted one has added is believed, so
it is read from its end. An IPv6 client has a whole /64 to choose addresses from, so that counts as one.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def client_address(scope: Scope, trusted: Sequence[Network]) -> str | None:
    """Return the address that a request counts for; None where the connection has none, as a Unix socket."""
    peer = _parsed(scope["client"][0]) if scope.get("client") else None
    if peer is None:
        return None
    if trusted and _is_in(peer, trusted):
        peer = _forwarded(scope, peer, trusted)
    return str(peer) if isinstance(peer, IPv4Address) else str(ip_network((peer, 64), strict=False))


def _forwarded(scope: Scope, peer: Address, trusted: Sequence[Network]) -> Address:
    told = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
    for entry in reversed(told.split(",")):
        heard = _parsed(entry.strip())
        if heard is None:
            break
        peer = heard
        if not _is_in(peer, trusted):
            break
    return peer


def _parsed(text: str) -> Address | None:
    """Read an address, also with a port, as some proxies write it; IPv4 in IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
