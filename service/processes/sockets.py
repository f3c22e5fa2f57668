"""The sockets that the parent opens and its children serve on."""

import socket
from typing import Final

from service.settings import SettingsError

BACKLOG: Final = 2048
"""How many connections may wait to be accepted."""


def listen(variable: str, host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        SettingsError: The address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(f"{variable}: cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listener
