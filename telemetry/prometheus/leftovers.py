"""Taking away the directories in which processes met that have all ended: the last to leave does, or a later start.

Whoever claims a slot and whoever clears holds the directory's own lock meanwhile, so that nobody claims a slot in a
directory that is being taken away. It is held for milliseconds; a process that is stopped with it is not waited for.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from .slots import LOCK_SUFFIX, Slot, SlotTakenError, claim, is_file

MAX_LOOKED_AT = 64
"""How many directories of others a start looks into; the rest is left to the next."""
_WAIT_SECONDS = 1.0
_RETRY_SECONDS = 0.002


def claim_in(directory: Path) -> Slot:
    """Claim the first slot that is free, while nobody clears the directory away.

    Raises:
        OSError: as `claim`; FileNotFoundError where it was cleared away just now.
    """
    with _alone_in(directory):
        return claim(directory)


def clear(directory: Path) -> bool:
    """Take a directory away whose processes have all ended; whether this call did."""
    held: list[Slot] = []
    try:
        with _alone_in(directory) as alone:
            if not alone:
                return False
            for path in directory.glob(f"*{LOCK_SUFFIX}"):
                name = path.name.removesuffix(LOCK_SUFFIX)
                held.append(Slot(directory, name))
            for slot in held:
                slot.remove()
            directory.rmdir()
            return True
    except (SlotTakenError, OSError):  # somebody is alive, or left something that is none of ours
        return False
    finally:
        for slot in held:
            slot.release()


def clear_beside(directory: Path) -> None:
    """Take away the directories beside this one that killed processes have left."""
    with suppress(OSError), os.scandir(directory.parent) as found:
        others = (entry for entry in found if entry.name != directory.name and entry.is_dir(follow_symlinks=False))
        for entry in islice(others, MAX_LOOKED_AT):
            clear(Path(entry.path))


@contextmanager
def _alone_in(directory: Path) -> Iterator[bool]:
    """Be the only one that claims or clears in a directory; whether that could be had in time."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        alone = _lock(file)
        if not is_file(file, directory):
            raise FileNotFoundError(f"{directory} was cleared away")
        yield alone
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(_RETRY_SECONDS)
