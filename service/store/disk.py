"""What is wrong with the directory in which a store of our own keeps its log: gone, full, or not to be written."""

import errno
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

ROOM_BYTES: Final = 64 * 1024
"""What must be free before it is worth while to start the server: it ends at the first write that fails."""
LOG_DIRECTORY: Final = "appendonlydir"
MANIFEST: Final = f"{LOG_DIRECTORY}/appendonly.aof.manifest"
OWNER_LOCK: Final = "owner.lock"
DATA_LINK: Final = "data"
"""Leads from the directory of the socket to that of the data, where they are two."""
GONE: Final = "directory_gone"
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


class Trouble(NamedTuple):
    """Why a directory will not do: one word for machines, and a line for the operator."""

    reason: str
    text: str


def holds_data(data_dir: Path) -> bool:
    """Whether a server has kept its log in this directory before."""
    return (data_dir / LOG_DIRECTORY).is_dir()


def trouble_of(data_dir: Path) -> Trouble | None:
    """Look at the directory of a store that has been started there, without writing; takes some microseconds."""
    try:
        space = os.statvfs(data_dir)
        sizes = _log_sizes(data_dir)
    except OSError as error:
        return _trouble(data_dir, error)
    if space.f_blocks and space.f_bavail * space.f_frsize < ROOM_BYTES:
        return _trouble(data_dir, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most != resource.RLIM_INFINITY and max(sizes, default=0) + ROOM_BYTES > most:
        return _trouble(data_dir, OSError(errno.EFBIG, "its log is as large as a file may be"))
    return None


def try_to_write(data_dir: Path) -> Trouble | None:
    """Look at the directory, and write a file there and to the disk."""
    probe = data_dir / f".probe-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(bytes(ROOM_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _trouble(data_dir, error)
    finally:
        with suppress(OSError):
            probe.unlink()
    return trouble_of(data_dir)


def _log_sizes(data_dir: Path) -> list[int]:
    """Return the sizes of the files of the log.

    Raises:
        FileNotFoundError: One of them is not there.
    """
    while True:
        manifest = (data_dir / MANIFEST).read_text()
        lines = [line.split() for line in manifest.splitlines()]
        # h: of the past, about to be deleted. A line of another shape is the server's to refuse.
        names = [words[1] for words in lines if words[:1] == ["file"] and words[1:] and words[-1] != "h"]
        try:
            return [(data_dir / LOG_DIRECTORY / name).stat().st_size for name in names]
        except FileNotFoundError:
            if manifest == (data_dir / MANIFEST).read_text():  # else the log was just written anew
                raise


def _trouble(data_dir: Path, error: OSError) -> Trouble:
    where = error.filename or data_dir
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Trouble(GONE, f"DATA_DIR: {where} was removed while the store runs")
    if error.errno in _FULL:
        return Trouble("disk_full", f"DATA_DIR: {data_dir}: {error.strerror}")
    if error.errno == errno.EFBIG:
        most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        return Trouble("file_too_large", f"DATA_DIR: {data_dir}: {error.strerror} (ulimit -f: {most} bytes)")
    return Trouble("cannot_persist", f"DATA_DIR: {where}: {error.strerror}")
