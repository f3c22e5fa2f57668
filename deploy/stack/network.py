"""Names of services on loopback: a block 127.x.y.0/24 per stack, an address per name, an `/etc/hosts` that says so.

A block is taken by a socket that listens in it, so two stacks on one machine never share one. `inside` wraps a command
so that it sees the file as `/etc/hosts`, in a mount namespace of its own (of a user namespace, when not root).
"""

import os
import random
import shutil
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

LEASE_PORT: Final = 65111
FIRST_BLOCK: Final = (71, 1)
"""Taken when it is free, so that the URLs of `make stack` stay the same."""


class Network:
    """The addresses of one stack; `close` gives the block back."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take a block for these names.

        Raises:
            OSError: 100 blocks that were tried are all taken.
        """
        self._lease, block = _take_block()
        self.addresses = {name: f"{block}.{number}" for number, name in enumerate(names, start=1)}

    def write_hosts(self, path: Path) -> None:
        """Write the hosts file."""
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self.addresses.items())]
        path.write_text("\n".join(lines) + "\n")

    def close(self) -> None:
        """Give the block back."""
        self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def inside(hosts: Path, argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv`, in the same process, with `hosts` as its /etc/hosts."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    bind = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ["unshare", *user, "--mount", "--propagation", "private", "sh", "-c", bind, str(hosts), *argv]


def missing() -> str | None:
    """Return what this machine lacks for `inside`, None when it lacks nothing."""
    for program in ("unshare", "mount", "sh"):
        if shutil.which(program) is None:
            return f"no {program} on the PATH (the native stack runs on Linux)"
    return None


def free(address: str, port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def _take_block() -> tuple[socket.socket, str]:
    error: OSError | None = None
    for attempt in range(100):
        second, third = FIRST_BLOCK if attempt == 0 else (random.randint(72, 200), random.randint(1, 250))
        lease = socket.socket()
        try:
            lease.bind((f"127.{second}.{third}.254", LEASE_PORT))
            lease.listen(1)
        except OSError as taken:
            lease.close()
            error = taken
        else:
            return lease, f"127.{second}.{third}"
    raise error or OSError("no block of loopback addresses is free")
