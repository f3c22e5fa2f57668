"""The machine under a program, in the hands of a test: another time of day, a disk that syncs slowly or not at all.

A library of 60 lines (`hardware.c`) is put before the C library (`LD_PRELOAD`); it is built where there is a compiler.
"""

import struct
import sys
from mmap import mmap
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.counts import injected, mended
from tests.support.machine import cannot_run, executable
from tests.support.processes import run

SOURCE = Path(__file__).with_name("hardware.c")
_NUMBERS = struct.Struct("=qqq")


def build(directory: Path) -> Path:
    """Build the library; a machine without a compiler cannot run the test."""
    if sys.platform != "linux":
        cannot_run("LD_PRELOAD is Linux's")
    library = directory / "hardware.so"
    run([executable("cc"), "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


class Hardware:
    """What is under the programs that are started with `environ`; it may change at any time.

    Args:
        library: What `build` has built.
        path: A file of its own.
    """

    def __init__(self, library: Path, path: Path) -> None:
        path.write_bytes(bytes(_NUMBERS.size))
        self.environ = {"LD_PRELOAD": str(library), "HARDWARE_FILE": str(path)}
        self._file = path.open("r+b")
        self._shared = mmap(self._file.fileno(), _NUMBERS.size)
        self._clock = 0.0

    def set_clock(self, seconds: float) -> None:
        """Let the time of day be so much later than it is."""
        self._clock = seconds
        self._write(0.0, 0)
        if seconds:
            injected()

    def set_disk(self, *, seconds: float = 0.0, error: int = 0) -> None:
        """Let each fsync take so much longer, or fail with an errno."""
        self._write(seconds, error)
        if seconds or error:
            injected(lasts=True)
        else:
            mended()

    def _write(self, seconds: float, error: int) -> None:
        _NUMBERS.pack_into(self._shared, 0, int(self._clock * 1e6), int(seconds * 1e6), error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._shared.close()
        self._file.close()
