"""What waits for the reader of the log is bounded, lines that are alike, too, and what is dropped is counted."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from telemetry.logs import handler
from telemetry.logs.handler import MAX_ALIKE_PER_SECOND, MAX_WAITING_BYTES, LineHandler, dropped
from tests.support import eventually


@contextmanager
def piped() -> Iterator[tuple[LineHandler, int]]:
    """Yield a handler that writes to a pipe, and the end to read from."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        yield LineHandler(stream, wait=False), reader


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The counts, from zero."""
    for reason in dropped:
        monkeypatch.setitem(dropped, reason, 0)
    return dropped  # type: ignore[return-value] # a subset of the words


def record(text: str, created: float = 1000.0) -> logging.LogRecord:
    """Make a line that was said at a time."""
    made = logging.makeLogRecord({"msg": text, "levelno": logging.WARNING, "name": "shop"})
    made.created = created
    return made


def read_all(reader: int, lines: list[bytes]) -> None:
    """Read to the end of the pipe."""
    with os.fdopen(reader, "rb") as file:
        lines += file.readlines()


def test_lines_that_nobody_reads_take_bounded_memory(lost: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond are dropped and counted; once somebody reads, what waited comes out whole and in order."""
    monkeypatch.setattr(handler, "FLUSH_SECONDS", 30.0)
    long = "x" * 1000
    number = 2 * MAX_WAITING_BYTES // len(long)
    lines: list[bytes] = []
    with piped() as (log, reader):
        for line in range(number):
            log.emit(record(f"{line} {long}", created=line))
        assert 0 < number - lost["full"] < 1.2 * MAX_WAITING_BYTES / len(long), "what waits is bounded"
        reading = threading.Thread(target=read_all, args=(reader, lines))
        reading.start()
        log.close()
    reading.join(30)
    found = [int(line.split()[0]) for line in lines]
    assert len(found) == number - lost["full"]
    assert found == sorted(found)
    assert lost["repeated"] == lost["failed"] == 0


def test_lines_that_are_alike_are_bounded_by_the_second(lost: dict[str, int]) -> None:
    """Others are not held up by them, and the next second has its share."""
    lines: list[bytes] = []
    with piped() as (log, reader):
        reading = threading.Thread(target=read_all, args=(reader, lines))
        reading.start()
        for _ in range(3 * MAX_ALIKE_PER_SECOND):
            log.emit(record("requests refused"))
        log.emit(record("something else"))
        log.emit(record("requests refused", created=1001.0))
        eventually(lambda: not log._writer or not log._writer._bytes, 10, "all is written")
        log.close()
    reading.join(10)
    assert lost["repeated"] == 2 * MAX_ALIKE_PER_SECOND
    assert lines.count(b"something else\n") == 1
    assert len(lines) == MAX_ALIKE_PER_SECOND + 2
