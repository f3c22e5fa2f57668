"""Keeps the roles of `flash-sale run` alive: one child process each, started, restarted and ended here.

A role that dies starts again after a pause that doubles from 0.1 s to 5 s and shrinks back once it has been
up for 10 s. A role that fails five times in a row and was never up that long ends everything
(`ChildFailed`): its configuration is wrong, not its luck. Being killed by a signal does not count as failing.

A role that speaks through its pipe (`service.processes.heartbeat`) and then falls silent for 15 s was stopped,
or hangs: it is killed and started again.

Roles end in stages: SIGTERM to all of stage 0, up to `grace_seconds` for them to finish, SIGKILL to the rest. Stage 1
is told when stage 0 has ended, or `HEAD_START_SECONDS` later if that takes long, and so on. A role that drains goes on
for `drain_seconds` before any of these times begin; SIGINT ends its drain. A role is in a session of its own, so Ctrl-C
in a terminal reaches only the parent; it ends with the parent, even a killed one (`service.parent_death`). Run it in
the main thread.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from service.background import background_tasks
from service.cancellation import Stopped, cancel_and_wait
from service.processes import heartbeat
from service.processes.heartbeat import Listener
from service.processes.starting import ChildProcess, Programs, Starter

FIRST_PAUSE_SECONDS: Final = 0.1
MAX_PAUSE_SECONDS: Final = 5.0
SETTLED_SECONDS: Final = 10.0
FAILURES_IN_A_ROW: Final = 5
MAX_SILENCE_SECONDS: Final = 15
HEAD_START_SECONDS: Final = 0.5
EXIT_CANNOT_START: Final = 1

_log: structlog.stdlib.BoundLogger = structlog.get_logger("flash_sale.supervisor")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One process to keep: its command, what it inherits, and when it ends."""

    name: str
    argv: Sequence[str]
    """For the `Starter`."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of this process."""
    sockets: tuple[socket.socket, ...] = ()
    """Listening sockets that it inherits. They are closed here when it is told to end: the port then refuses as soon as
    nobody takes connections any more, where a caller would wait for an answer that never comes."""
    restart: bool = True
    stage: int = 0
    """Lower stages end first."""
    drain_seconds: float = 0
    """How long it goes on when it is told to end, unless it is told so by SIGINT."""


class ChildFailed(RuntimeError):  # noqa: N818 - says what happened, in one line
    """A role cannot be brought up; `exit_code` is its last exit status."""

    def __init__(self, name: str, exit_code: int) -> None:
        super().__init__(f"{name} failed {FAILURES_IN_A_ROW} times in a row with exit status {exit_code}")
        self.name = name
        self.exit_code = exit_code


class _Child:
    """A role under care: its present process, and whether it is to end."""

    def __init__(self, spec: ChildSpec, starter: Starter) -> None:
        self.spec = spec
        self.process: ChildProcess | None = None
        self._starter = starter
        self._up_since: float | None = None
        self.ending = asyncio.Event()
        self.settled = False
        self.failures = 0
        self.pause = FIRST_PAUSE_SECONDS

    async def keep(self) -> None:
        """Run the role again and again, until it is to end or may not start again."""
        while not self.ending.is_set():
            self._up_since = None
            try:
                status = await self._run_once()
            except Stopped:
                return
            except OSError as error:  # no process, memory or descriptor is to be had now
                if self.ending.is_set():
                    return
                _log.error("role cannot be started", role=self.spec.name, error=str(error))
                status = EXIT_CANNOT_START
            if self.ending.is_set():
                return
            _log.warning("role died", role=self.spec.name, status=describe(status))
            if not self.spec.restart:
                return
            self._count_failure(status)
            await self._backoff()

    async def _run_once(self) -> int:
        listener = Listener()
        try:
            self.process = await self._starter.start(
                self.spec.argv,
                {**self.spec.env, heartbeat.VARIABLE: str(listener.write_end)},
                (*(listening.fileno() for listening in self.spec.sockets), listener.write_end),
            )
            self._up_since = time.monotonic()
            listener.started()
            _log.info("role started", role=self.spec.name, pid=self.process.pid)
            if self.ending.is_set():  # told so while it started: it has begun nothing
                self.signal(signal.SIGKILL)
            async with background_tasks(partial(self._replace_if_silent, listener)):
                return await self.process.wait()
        finally:
            listener.close()

    async def _replace_if_silent(self, listener: Listener) -> None:
        while True:
            await listener.silence(MAX_SILENCE_SECONDS)
            if not self.ending.is_set():  # else its grace decides
                _log.error(
                    "role does not answer and is killed", role=self.spec.name, silent_seconds=MAX_SILENCE_SECONDS
                )
                self.signal(signal.SIGKILL)

    def _count_failure(self, status: int) -> None:
        """Count a failure, or forget the old ones after a life that was long enough."""
        if self._up_since is not None and time.monotonic() - self._up_since >= SETTLED_SECONDS:
            self.settled = True
            self.failures = 0
            self.pause = FIRST_PAUSE_SECONDS
        elif status > 0:
            self.failures += 1
        if self.failures >= FAILURES_IN_A_ROW and not self.settled:
            raise ChildFailed(self.spec.name, status)

    async def _backoff(self) -> None:
        _log.info("role restarts", role=self.spec.name, in_seconds=self.pause)
        try:
            async with asyncio.timeout(self.pause):
                await self.ending.wait()
        except TimeoutError:
            self.pause = min(2 * self.pause, MAX_PAUSE_SECONDS)

    def tell_to_end(self, *, at_once: bool) -> None:
        """Tell the process to end, and start it no more; whom it would have served is refused from now on."""
        self.ending.set()
        for listening in self.spec.sockets:
            listening.close()
        self.signal(signal.SIGINT if at_once and self.spec.drain_seconds else signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; SIGKILL goes to all of its group."""
        if self.process is None or self.process.returncode is not None:
            return
        try:
            if number is signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)
        except ProcessLookupError:  # it has just ended
            return


class Supervisor:
    """Runs roles until told to stop; `run` returns only when every process of it has ended."""

    def __init__(
        self, specs: Iterable[ChildSpec], *, grace_seconds: float = 10.0, starter: Starter | None = None
    ) -> None:
        """Take the roles.

        Args:
            specs: The roles.
            grace_seconds: What each stage has to finish after SIGTERM.
            starter: How they are started; as programs, without it.
        """
        self._specs = tuple(specs)
        self._starter = starter or Programs()
        self._grace_seconds = grace_seconds
        self._children: dict[asyncio.Task[None], _Child] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each role that is alive now."""
        return {
            child.spec.name: child.process.pid
            for child in self._children.values()
            if child.process is not None and child.process.returncode is None
        }

    async def run(self, stop: asyncio.Event, at_once: asyncio.Event | None = None) -> None:
        """Keep the roles until `stop` is set or none of them is left, then end them in stages.

        Args:
            stop: Set when they are to end.
            at_once: Set when none of them is to drain, or to drain any longer.

        Raises:
            ChildFailed: a role could not be brought up; the others have been ended.
        """
        for spec in self._specs:
            child = _Child(spec, self._starter)
            self._children[asyncio.create_task(child.keep(), name=spec.name)] = child
        stopping = asyncio.create_task(stop.wait())
        try:
            await self._watch(stopping)
        finally:
            stopping.cancel()
            await self._end(at_once or asyncio.Event())
        for task in self._children:
            task.result()

    async def _watch(self, stopping: asyncio.Task[bool]) -> None:
        left = set(self._children)
        while left and not stopping.done():
            done, _ = await asyncio.wait({*left, stopping}, return_when=asyncio.FIRST_COMPLETED)
            left -= done
            if any(task in self._children and task.exception() for task in done):
                return

    async def _end(self, at_once: asyncio.Event) -> None:
        ending = []
        for stage in sorted({spec.stage for spec in self._specs}):
            tasks = {task for task, child in self._children.items() if child.spec.stage == stage}
            await self._drain(tasks, at_once)
            ending.append(asyncio.create_task(self._end_stage(tasks)))
            await asyncio.wait(ending[-1:], timeout=HEAD_START_SECONDS)
        self._starter.close()
        await asyncio.gather(*ending)

    async def _drain(self, tasks: set[asyncio.Task[None]], at_once: asyncio.Event) -> None:
        """Tell roles to end, and wait while they drain."""
        children = [self._children[task] for task in tasks]
        for child in children:
            child.tell_to_end(at_once=at_once.is_set())
        seconds = max((child.spec.drain_seconds for child in children), default=0)
        if not seconds or at_once.is_set():
            return
        told = asyncio.create_task(at_once.wait())
        ended = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait((told, ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await cancel_and_wait((told, ended))
        if at_once.is_set():
            for child in children:
                child.tell_to_end(at_once=True)

    async def _end_stage(self, tasks: set[asyncio.Task[None]]) -> None:
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._grace_seconds)
        for task in late:
            _log.warning("role killed", role=task.get_name(), after_seconds=self._grace_seconds)
            self._children[task].signal(signal.SIGKILL)
        if late:
            await asyncio.wait(late)


def describe(status: int) -> str:
    """Return an exit status in words: `exit 3`, `SIGKILL`."""
    return f"exit {status}" if status >= 0 else signal.Signals(-status).name
