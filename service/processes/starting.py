"""How a supervisor starts its children: what it needs of a way to do so, and the way that every system has.

The other one is `service.processes.template`.
"""

import os
from asyncio.subprocess import DEVNULL, create_subprocess_exec
from collections.abc import Mapping, Sequence
from typing import Protocol

from service.parent_death import die_with_parent


class ChildProcess(Protocol):
    """A process that was started, as `asyncio.subprocess.Process` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it lives."""

    async def wait(self) -> int:
        """Wait for its end and return `returncode`."""

    def send_signal(self, number: int, /) -> None:
        """Send it a signal."""


class Starter(Protocol):
    """How children are started."""

    async def start(self, argv: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int]) -> ChildProcess:
        """Start one, in a session of its own and bound to this process.

        Raises:
            OSError: It cannot be started now.
            Stopped: `close` was called.
        """

    def close(self) -> None:
        """Start none from now on."""


class Programs:
    """Starts each child as a program of its own."""

    async def start(self, argv: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int]) -> ChildProcess:
        """Start one; `argv` is its whole command line."""
        return await create_subprocess_exec(
            *die_with_parent(argv),
            env={**os.environ, **env},
            pass_fds=pass_fds,
            stdin=DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Do nothing: a start takes no time."""
