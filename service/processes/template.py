"""Children of a fleet are forked from a template: a process that has imported what they need, and does nothing else.

A fresh interpreter takes most of a second and 70 MiB to import what a child needs; a fork has it, and shares the pages.

    template = Template(["service.processes.api"])
    template.fork()  # here and now: this process has no thread and no event loop yet; children raise `Forked`
    child = await template.start(["process", "api-0"], env={}, pass_fds=(7,))
    await child.wait()

The template is bound to the supervisor (`service.parent_death`) and so is each child: the template forks twice, the
process in between ends, and the kernel gives the child to the supervisor, which had asked for that
(`PR_SET_CHILD_SUBREAPER`). So the supervisor sees how a child ends, and a template may die without any child dying with
it: the next start makes a new one, by a fresh interpreter, as the supervisor has an event loop and threads by then.
"""

import asyncio
import errno
import gc
import io
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Final, NoReturn

from service.cancellation import Stopped
from service.parent_death import adopt_orphans, end_with
from service.processes.forked_child import Forked, ForkedChild, become, set_title

FIRST_ANSWER_SECONDS: Final = 60.0
"""How long a template may take that imports first, on a machine that is busy."""
ANSWER_SECONDS: Final = 15.0
_MAX_REQUEST_BYTES: Final = 65536
_MAX_DESCRIPTORS: Final = 64
_GO: Final = b"go"
_STDERR: Final = 2
_MAX_SEARCHED: Final = 1024


class Template:
    """The supervisor's side of a template; it starts one child at a time."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Take the names of the modules that its children will need."""
        self._modules = modules
        self._lock = asyncio.Lock()
        self._control: socket.socket | None = None
        self._pid = 0
        self._answer_timeout = FIRST_ANSWER_SECONDS
        self._closed = False

    def fork(self) -> None:
        """Fork the template from this process, or do nothing where that is not safe: the first start makes one.

        Raises:
            Forked: This process is a child now.
        """
        if threading.active_count() > 1:
            return
        supervisor = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()  # else what waits in it is written twice
        ours, theirs = _pair()
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                return
            if pid == 0:
                ours.close()
                serve(theirs, supervisor, self._modules)
        self._keep(pid, ours)

    async def start(self, argv: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int]) -> ForkedChild:
        """Start a child.

        Args:
            argv: What it is to be: the arguments of `flash-sale`.
            env: Added to the environment that this process had at its start.
            pass_fds: What it inherits, under the same numbers.

        Raises:
            OSError: It cannot be started now.
            Stopped: The template is closed.
        """
        request = json.dumps({"argv": list(argv), "env": dict(env), "fds": list(pass_fds)}).encode()
        async with self._lock:
            while True:
                if self._closed:
                    raise Stopped
                if fresh := self._control is None:
                    self._spawn()
                try:
                    return ForkedChild.watched(await self._asked(request, pass_fds))
                except (EOFError, ConnectionError, TimeoutError) as error:  # it died, or was stopped
                    self._discard()
                    if fresh and not self._closed:
                        raise OSError(f"the template does not answer: {error!r}") from None

    def close(self) -> None:
        """End the template; nothing is started from now on, and its children live on."""
        self._closed = True
        self._end()

    def _spawn(self) -> None:
        """Make a template by a fresh interpreter; -P: no code of the current directory."""
        ours, theirs = _pair()
        try:
            with theirs:
                theirs.set_inheritable(True)
                options = ["--fd", str(theirs.fileno()), "--supervisor", str(os.getpid())]
                argv = [sys.executable, "-P", "-m", "service", "template", *options, *self._modules]
                pid = os.posix_spawn(sys.executable, argv, os.environ)
        except BaseException:
            ours.close()
            raise
        self._keep(pid, ours)

    def _keep(self, pid: int, control: socket.socket) -> None:
        control.setblocking(False)  # noqa: FBT003 - the library's
        self._pid, self._control, self._answer_timeout = pid, control, FIRST_ANSWER_SECONDS

    async def _asked(self, request: bytes, fds: Sequence[int]) -> int:
        assert self._control is not None  # noqa: S101 - for the type
        socket.send_fds(self._control, [request], list(fds))
        async with asyncio.timeout(self._answer_timeout):
            answer = await asyncio.get_running_loop().sock_recv(self._control, _MAX_REQUEST_BYTES)
        if not answer:
            raise EOFError("it ended")
        self._answer_timeout = ANSWER_SECONDS
        told = json.loads(answer)
        if "errno" in told:
            raise OSError(told["errno"], os.strerror(told["errno"]))
        return int(told["pid"])

    def _discard(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        self._end()

    def _end(self) -> None:
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0


def can_fork() -> bool:
    """Whether children can be forked here, and given to this process, which from now on takes them."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return adopt_orphans()


def serve(control: socket.socket, supervisor: int, modules: Sequence[str]) -> NoReturn:
    """Be a template: import what children need, and fork one at each request, until the supervisor is gone.

    Raises:
        Forked: This process is a child now.
    """
    os.setsid()  # Ctrl-C in a terminal is for the supervisor
    end_with(supervisor)
    _leave_what_was_given(control)
    set_title(["flash-sale", "template"])
    for name in modules:
        import_module(name)
    gc.collect()
    gc.freeze()  # what was imported stays: no collection writes into pages that are shared
    while True:
        data, fds, _, _ = socket.recv_fds(control, _MAX_REQUEST_BYTES, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        request = json.loads(data)
        if len(fds) < len(request["fds"]):  # there was no room for them
            control.send(_told(errno=errno.EMFILE))
        elif _forked(control, supervisor):
            control.close()
            become(request["argv"], request["env"], dict(zip(request["fds"], fds, strict=True)))
            raise Forked(request["argv"])
        for fd in fds:
            os.close(fd)


def _leave_what_was_given(control: socket.socket) -> None:
    """Lead stdin to the null device, close what whoever started the program left open, and write line by line."""
    control.set_inheritable(False)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    for fd in _descriptors():
        with suppress(OSError):
            if fd > _STDERR and os.get_inheritable(fd):
                os.close(fd)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _descriptors() -> Iterable[int]:
    """Return at least those that are open."""
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - numbers
    except OSError:  # there is no /proc here
        return range(_MAX_SEARCHED)


def _forked(control: socket.socket, supervisor: int) -> bool:
    """Fork a child that belongs to the supervisor, and tell that its process id, or why there is none.

    Returns:
        True in the child, once the supervisor knows of it.
    """
    try:
        ours, theirs = _pair()
        with ours:
            with theirs:
                between = os.fork()
                if between == 0:
                    ours.close()
                    return _twice_forked(theirs, supervisor)
            answer = ours.recv(_MAX_REQUEST_BYTES)
            with suppress(ChildProcessError):  # where SIGCHLD is ignored, the kernel has done so
                os.waitpid(between, 0)
            control.send(answer or _told(errno=errno.EAGAIN))
            with suppress(ConnectionError):  # it was killed
                ours.send(_GO)
    except OSError as error:  # no process, memory or descriptor is to be had now
        control.send(_told(errno=error.errno or errno.EAGAIN))
    return False


def _twice_forked(control: socket.socket, supervisor: int) -> bool:
    try:
        if os.fork():
            os._exit(0)
    except OSError as error:
        control.send(_told(errno=error.errno or errno.EAGAIN))
        os._exit(1)
    os.setsid()
    control.send(_told(pid=os.getpid()))
    if control.recv(len(_GO)) != _GO:  # the template died: nobody knows of this child
        os._exit(1)
    end_with(supervisor)
    return True


def _told(**facts: int) -> bytes:
    return json.dumps(facts).encode()


def _pair() -> tuple[socket.socket, socket.socket]:
    """Make two ends that keep the bounds of messages."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
