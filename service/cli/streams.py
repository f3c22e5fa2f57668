"""Standard streams as the program was given them: closed, full, or read by nobody; none of that stops a service."""

import os
import sys
import threading
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO

from service.terminal import wrapped

STREAMS = (0, 1, 2)
SAY_SECONDS = 1.0
MAX_SAID = 1000
"""Of a complaint, which may quote a value as long as an environment can hold."""


def open_missing() -> None:
    """Open what was closed (`>&-`) on the null device: else the first socket gets its number, and log lines with it.

    What a stream's encoding lacks is written with backslashes: a path may be no text, and a terminal know no Unicode.
    """
    for number in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    sys.stdout = sys.stdout or _opened(1)
    sys.stderr = sys.stderr or _opened(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _opened(number: int) -> TextIO:
    return os.fdopen(number, "w", errors="backslashreplace", closefd=False)


def say(text: str) -> None:
    """Write to stdout for whoever looks; a full disk or a reader that has gone or sleeps loses it, and no more."""
    writing = threading.Thread(
        target=_write, args=(sys.stdout.fileno(), text.encode(errors="backslashreplace")), daemon=True
    )
    writing.start()
    writing.join(SAY_SECONDS)


def _write(number: int, data: bytes) -> None:
    with suppress(OSError):
        while data:
            data = data[os.write(number, data) :]


def write_line(line: str) -> None:
    """Write a line to stdout that fits into the terminal."""
    sys.stdout.write(wrapped(line))


def lead_nowhere() -> None:
    """Lead stdout to the null device: what is left in its buffer would raise once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def complain(message: str, status: int) -> int:
    """Write one line to stderr, if that can be; return the status."""
    said = " ".join(message.split())
    line = f"flash-sale: {said if len(said) <= MAX_SAID else said[:MAX_SAID] + '...'}\n"
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return status
