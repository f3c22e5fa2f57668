"""A program that a measurement needs: on its cores, ready before it is used, ended by its own id."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import machine
from service.parent_death import die_with_parent

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
STOP_SECONDS = 20.0
_STRANGE = (
    *("OTEL_", "TELEMETRY_", "PAYMENT_", "ORDER_", "AUTH_", "MAX_", "STORE_", "RESERVATION_", "IDEMPOTENCY_", "LOG_"),
    *("REDIS_URL", "WORKERS", "PORT", "HOST", "CROWD", "DATA_DIR", "RATE_LIMIT", "SHUTDOWN_", "WORKER_", "FLEET_ID"),
)
"""What begins so is ours or OpenTelemetry's, and would change what is measured."""


class ProgramFailedError(RuntimeError):
    """A program ended by itself, or was not ready in time; the message holds the end of what it wrote."""


def free_port() -> int:
    """Return a port of loopback that nobody has at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for a condition.

    Raises:
        ProgramFailedError: It was not met in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ProgramFailedError(f"{what}: not after {seconds:.0f} s")
        time.sleep(0.02)


def answers(url: str) -> bool:
    """Whether a URL answers, and with no error."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server on loopback
            return True
    except (urllib.error.URLError, OSError):
        return False


class Program:
    """A child process with nothing of our own settings in its environment; a context manager.

    Args:
        argv: What to run.
        cores: Where.
        env: Further variables.
        ready: Says when it may be used.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cores: set[int],
        env: Mapping[str, str] | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._argv = list(argv)
        self._cores = cores
        clean = {name: value for name, value in os.environ.items() if not name.startswith(_STRANGE)}
        self._env = {**clean, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(env or {})}
        self.ready = ready
        self._log = tempfile.NamedTemporaryFile(prefix="fs-bench-", suffix=".log")  # noqa: SIM115 - closed at exit
        self._process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """All that it wrote so far."""
        return Path(self._log.name).read_text(errors="replace")

    def cpu_seconds(self) -> float:
        """Return the CPU time of the program and of all that it started."""
        return machine.cpu_seconds(machine.tree(self.pid))

    def __enter__(self) -> Self:
        with machine.on(self._cores):
            self._process = subprocess.Popen(  # noqa: S603 - programs of this repository
                die_with_parent(self._argv),
                env=self._env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, f"{' '.join(self._argv[:4])} is ready")
        except BaseException as error:
            words = self.output[-3000:]
            self.end()
            if isinstance(error, ProgramFailedError):
                raise ProgramFailedError(f"{error}\n{words}") from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            sys.stderr.write(self.output[-3000:])
        self.end()

    def end(self) -> None:
        """End it, and forget what it wrote."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise ProgramFailedError(f"{' '.join(self._argv[:4])} ended with {self._process.returncode}")
        return self.ready()


def python(*arguments: str) -> list[str]:
    """Return the command of the interpreter that runs this, with arguments."""
    return [sys.executable, *arguments]
