"""The sockets that the parent opens and its children serve on."""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from service.settings import SettingsError

_OF_THE_HOST: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENODEV, errno.EINVAL)
BACKLOG: Final = 2048
"""How many connections may wait to be accepted."""


def listen(host_variable: str, host: str, port_variable: str, port: int) -> socket.socket:
    """Open a listening socket.

    Args:
        host_variable: Which setting the host is.
        host: A name or an address; one of IPv6 may stand in brackets.
        port_variable: Which setting the port is.
        port: 0 for any that is free.

    Raises:
        SettingsError: The address cannot be had; the line names the variable that is to blame.
    """
    family, address = _resolved(host_variable, host, port)
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        blamed = host_variable if error.errno in _OF_THE_HOST else port_variable
        why = error.strerror or error
        raise SettingsError(f"{blamed}: cannot listen on {_literal(address[0])}:{port}: {why}") from None
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine reaches a listening socket."""
    host = listener.getsockname()[0] if listener.family in {socket.AF_INET, socket.AF_INET6} else ""
    return bool(host) and _address(host).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return the URL under which this machine reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    address = _address(host)
    name = "localhost" if address.is_unspecified or host == "127.0.0.1" else _literal(host)
    return f"http://{name}:{port}"


def _resolved(variable: str, host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """IPv4 goes first where a name has both, as `localhost` has."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a name"
        raise SettingsError(f"{variable}: {host[:255]!r} is no address of this machine: {why}") from None
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _address(host: str) -> IPv4Address | IPv6Address:
    """Return an address; `::ffff:127.0.0.1` is 127.0.0.1."""
    found = ip_address(host.partition("%")[0])
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _literal(host: str) -> str:
    return f"[{host}]" if ":" in host else host
