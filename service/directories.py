"""Directories for sockets: the kernel takes no socket whose path is longer than about a hundred bytes."""

import os
import tempfile
from pathlib import Path
from typing import Final

SOCKET_PATH_BYTES: Final = 100
"""The kernel's limit is 108 on Linux, 104 on macOS."""
_NAME_BYTES: Final = 50
"""What is put behind the directory: one of our own, and a socket in it."""


def real_path(path: Path) -> Path:
    """Return a path without links, as far as it can be followed: who uses it is told of a link that leads to itself."""
    return Path(os.path.realpath(path))


def temporary_directory() -> Path:
    """Return the directory for temporary files (`TMPDIR`), or the system's where its path is too long for a socket."""
    chosen = Path(tempfile.gettempdir())
    for directory in (chosen, Path("/tmp"), Path("/var/tmp")):  # noqa: S108 - a private directory is made in it
        short = len(os.fsencode(real_path(directory))) + _NAME_BYTES <= SOCKET_PATH_BYTES
        if short and os.access(directory, os.W_OK | os.X_OK):
            return real_path(directory)
    return chosen
