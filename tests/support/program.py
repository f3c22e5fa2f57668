"""A real program under test, with its output collected and its end assured."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.counts import injected
from tests.support.processes import ROOT, start
from tests.support.waiting import eventually

SCRIPT = str(Path(sys.executable).parent / "flash-sale")
"""The program as it is installed beside the interpreter of the tests."""


class Program:
    """A child process in a group of its own; stdout and stderr go to one file, read by `output`."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        when_parent_dies: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Start `argv`; `env` is added to the environment of the tests.

        A program that does not bind its own children, as `make`, ends them when it is ended by SIGTERM.
        """
        self._log = tempfile.NamedTemporaryFile(prefix="fs-test-", suffix=".log")  # noqa: SIM115 - closed by `end`
        self.process = start(
            argv,
            when_parent_dies=when_parent_dies,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @classmethod
    def python(cls, *arguments: str, env: Mapping[str, str] | None = None) -> Self:
        """Start the interpreter of the tests, say `Program.python("-m", "service", "run")`."""
        return cls([sys.executable, *arguments], env=env)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything written so far."""
        return Path(self._log.name).read_text(errors="replace")

    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process.poll() is None

    @property
    def lines(self) -> list[str]:
        """The lines that have been written to their end."""
        return self.output.split("\n")[:-1]

    def wait_for_line(self, text: str, deadline_seconds: float = 15) -> str:
        """Wait until a whole line has `text` in it and return the first one."""
        eventually(lambda: self._line(text) or not self.running(), deadline_seconds, f"a line has {text!r}")
        line = self._line(text)
        assert line, f"ended with {self.process.returncode} without {text!r}:\n{self.output}"
        return line

    def wait_for_output(self, text: str, deadline_seconds: float = 15) -> str:
        """Wait until a whole line has `text` in it and return all of the output."""
        self.wait_for_line(text, deadline_seconds)
        return self.output

    def _line(self, text: str) -> str | None:
        return next((line for line in self.lines if text in line), None)

    def terminate(self, deadline_seconds: float = 15) -> int:
        """Send SIGTERM and return the exit status."""
        return self.signal(signal.SIGTERM, deadline_seconds)

    def signal(self, number: signal.Signals, deadline_seconds: float = 15) -> int:
        """Send a signal that ends the program and return the exit status."""
        if self.running():
            self.process.send_signal(number)
        return self.process.wait(deadline_seconds)

    def kill9(self) -> None:
        """Kill the process alone, as the kernel would; what it started is left to itself."""
        injected()
        self.process.kill()
        self.process.wait(5)

    def end(self) -> None:
        """End the process whatever it does, and forget its output."""
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()
