"""The supervisor: roles live, come back, end in order, and leave neither zombies nor orphans."""

import asyncio
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from service.processes import supervisor
from service.processes.supervisor import ChildFailed, ChildSpec, Supervisor
from tests.support import Program, cannot_run, eventually, wait_until
from tests.support.processes import alive, exists, run, send_signal

PARENT = """
import asyncio, sys
from service.processes.supervisor import ChildSpec, Supervisor
child = "import os, time; print('child', os.getpid(), flush=True); time.sleep(60)"
roles = [ChildSpec(name=name, argv=[sys.executable, "-c", child]) for name in ("a", "b")]
asyncio.run(Supervisor(roles).run(asyncio.Event()))
"""


def python(script: str, name: str = "role", **options: object) -> ChildSpec:
    """Return a role that runs a piece of Python."""
    return ChildSpec(name=name, argv=[sys.executable, "-c", script], **options)  # type: ignore[arg-type]


def sleeper(name: str = "role", **options: object) -> ChildSpec:
    """Return a role that lives until it is ended."""
    return ChildSpec(name=name, argv=["sleep", "60"], **options)  # type: ignore[arg-type]


@asynccontextmanager
async def running(*roles: ChildSpec, grace_seconds: float = 5.0) -> AsyncIterator[Supervisor]:
    """Run roles for the length of a block, and check that nothing of them is left after it."""
    stop = asyncio.Event()
    keeper = Supervisor(roles, grace_seconds=grace_seconds)
    task = asyncio.create_task(keeper.run(stop))
    try:
        await wait_until(lambda: len(keeper.pids) == len(roles) or task.done(), what="all roles run")
        yield keeper
    finally:
        pids = list(keeper.pids.values())
        stop.set()
        await task
        assert [pid for pid in pids if exists(pid)] == []


def appender(path: Path, word: str) -> str:
    """Return Python that waits for SIGTERM and then writes a word to a file."""
    return f"""
import signal, sys
def end(*_):
    with open({str(path)!r}, "a") as out: out.write("{word} ")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
with open({str(path) + "." + word!r}, "w"): pass
signal.pause()
"""


async def test_a_killed_role_comes_back_under_a_new_process() -> None:
    """The others are left alone."""
    async with running(sleeper("a"), sleeper("b")) as keeper:
        before = keeper.pids
        send_signal(before["a"], signal.SIGKILL)
        await wait_until(lambda: keeper.pids.get("a", before["a"]) != before["a"], what="a is back")
        assert keeper.pids["b"] == before["b"]


async def test_each_start_death_and_restart_is_one_log_line() -> None:
    """The line of a death says of what."""
    with structlog.testing.capture_logs() as logs:
        async with running(sleeper("a")) as keeper:
            pid = keeper.pids["a"]
            send_signal(pid, signal.SIGKILL)
            await wait_until(lambda: keeper.pids.get("a", pid) != pid, what="a is back")
    lines = [(line["event"], line["role"], line.get("status")) for line in logs]
    assert lines == [
        ("role started", "a", None),
        ("role died", "a", "SIGKILL"),
        ("role restarts", "a", None),
        ("role started", "a", None),
    ]


async def test_stages_end_one_after_the_other(tmp_path: Path) -> None:
    """Stage 1 gets its SIGTERM only when stage 0 has ended; the order of declaration does not matter."""
    out = tmp_path / "out"
    roles = [python(appender(out, str(stage)), f"role-{stage}", stage=stage) for stage in (2, 0, 1)]
    async with running(*roles):
        ready = [tmp_path / f"out.{stage}" for stage in (0, 1, 2)]
        await wait_until(lambda: all(path.exists() for path in ready), what="handlers are set")
    assert out.read_text() == "0 1 2 "


async def test_a_stage_that_takes_long_does_not_hold_the_next_one_up(tmp_path: Path) -> None:
    """Stage 0 ends only once stage 1 has: it would have been killed if that had waited for it."""
    out = tmp_path / "out"
    read = f"def read():\n    try: return open({str(out)!r}).read()\n    except OSError: return ''\n"
    waiting = read + appender(out, "0").replace("def end(*_):", "def end(*_):\n    while '1 ' not in read(): pass")
    async with running(python(waiting, "first", stage=0), python(appender(out, "1"), "second", stage=1)):
        ready = [tmp_path / f"out.{stage}" for stage in (0, 1)]
        await wait_until(lambda: all(path.exists() for path in ready), what="handlers are set")
    assert out.read_text() == "1 0 "


async def test_a_role_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    """So are the processes that it started in its own group."""
    ready = tmp_path / "ready"
    script = (
        "import signal, subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"p = subprocess.Popen(['sleep', '60']); open({str(ready)!r}, 'w').write(str(p.pid)); signal.pause();"
        "signal.pause()"
    )
    async with running(python(script), grace_seconds=0.2):
        await wait_until(lambda: ready.exists() and ready.read_text(), what="the role ignores SIGTERM")
    grandchild = int(ready.read_text())
    await wait_until(lambda: not alive(grandchild), what="the grandchild has ended")


async def test_a_role_that_cannot_come_up_ends_everything_with_its_exit_code() -> None:
    """Five failures in a row, and no process is left."""
    keeper = Supervisor([sleeper("good"), python("raise SystemExit(3)", "bad")])
    with pytest.raises(ChildFailed, match="bad failed 5 times in a row with exit status 3") as failed:
        await asyncio.wait_for(keeper.run(asyncio.Event()), 20)
    assert failed.value.exit_code == 3
    assert keeper.pids == {}


async def test_a_role_that_was_up_long_enough_is_never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures count only against a role that has never settled."""
    monkeypatch.setattr(supervisor, "SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(supervisor, "FAILURES_IN_A_ROW", 1)
    with structlog.testing.capture_logs() as logs:
        async with running(python("raise SystemExit(3)")):
            await wait_until(lambda: [line["event"] for line in logs].count("role died") >= 3, what="3 deaths")


async def test_roles_that_may_end_end_the_run() -> None:
    """Nothing is left to keep, so `run` returns by itself."""
    once = [python("", f"once-{n}", restart=False) for n in (0, 1)]
    await asyncio.wait_for(Supervisor(once).run(asyncio.Event()), 10)


async def test_a_role_has_its_session_its_environment_and_its_descriptors(tmp_path: Path) -> None:
    """Ctrl-C in the terminal of the parent does not reach it; a listening socket can be handed down."""
    out = tmp_path / "out"
    listening = socket.create_server(("127.0.0.1", 0))
    script = (
        f"import os; os.fstat({listening.fileno()}); own = os.getsid(0) == os.getpid();"
        f"open({str(out)!r}, 'w').write(f'{{own}} {{os.environ[\"COLOUR\"]}}')"
    )
    role = python(script, env={"COLOUR": "red"}, sockets=(listening,), restart=False)
    await asyncio.wait_for(Supervisor([role]).run(asyncio.Event()), 10)
    assert listening.fileno() == -1, "closed, so that nobody waits at a port that no role serves"
    assert out.read_text() == "True red"


DRAINING = """
import signal, sys
def write(word):
    with open({out!r}, "a") as out: out.write(word + " ")
def drain(*_):
    write("told")
    signal.setitimer(signal.ITIMER_REAL, {seconds})
def end(word):
    write(word)
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
signal.signal(signal.SIGALRM, lambda *_: end("drained"))
signal.signal(signal.SIGINT, lambda *_: end("early"))
with open({out!r} + ".0", "w"): pass
while True: signal.pause()
"""


@pytest.mark.parametrize(("seconds", "hurry", "written"), [(0.4, False, "drained"), (60, True, "early")])
async def test_a_stage_is_told_to_end_when_the_one_before_it_has_drained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, hurry: bool, written: str
) -> None:
    """The grace, and the turn of the next stage, begin then; whoever is in a hurry ends the drain."""
    monkeypatch.setattr(supervisor, "HEAD_START_SECONDS", 0.0)
    out = tmp_path / "out"
    first = python(DRAINING.format(out=str(out), seconds=seconds), "first", drain_seconds=60)
    keeper = Supervisor([first, python(appender(out, "1"), "second", stage=1)], grace_seconds=5)
    stop, at_once = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(keeper.run(stop, at_once))
    await wait_until(lambda: all((tmp_path / f"out.{stage}").exists() for stage in (0, 1)), what="handlers are set")
    stop.set()
    if hurry:
        await wait_until(lambda: out.exists() and out.read_text() == "told ", what="the first is told")
        at_once.set()
    await asyncio.wait_for(task, 10)
    said = out.read_text().split()
    assert sorted(said) == sorted(["told", written, "1"])
    assert hurry or said[-1] == "1", "in a hurry both are told at once, and either may be first"


async def test_stopping_while_a_role_rests_or_starts_does_not_wait() -> None:
    """A stop that comes at any moment ends the run within its grace."""
    for pause in (0.0, 0.001, 0.01, 0.05, 0.15):
        stop = asyncio.Event()
        keeper = Supervisor([python("raise SystemExit(1)"), sleeper("b")])
        task = asyncio.create_task(keeper.run(stop))
        asyncio.get_running_loop().call_later(pause, stop.set)
        await asyncio.wait_for(task, 5)
        assert keeper.pids == {}


def test_children_end_when_the_parent_is_killed() -> None:
    """The kernel ends them, whatever they are doing."""
    if sys.platform != "linux":
        cannot_run("PR_SET_PDEATHSIG is Linux's")
    with Program.python("-c", PARENT) as parent:
        eventually(lambda: len(children_of(parent)) == 2, 15, "two children run")
        children = children_of(parent)
        assert all(alive(pid) for pid in children)
        parent.kill9()
    eventually(lambda: not any(alive(pid) for pid in children), what="no orphan is left")


def children_of(parent: Program) -> list[int]:
    """Return the process ids that the children have printed."""
    return [int(line.split()[1]) for line in parent.lines if line.startswith("child ")]


def test_a_program_that_does_not_exist_is_named() -> None:
    """One line, no traceback."""
    ended = run(["/no/such/program"])
    assert (ended.returncode, ended.stderr) == (
        1,
        "cannot start /no/such/program: No such file or directory\n",
    )


BLOCKING = """
import asyncio, os, threading, time
from service.processes.heartbeat import with_heartbeat

async def serve(_):
    await asyncio.sleep(1.5)  # it has been heard by then
    {blocks}

asyncio.run(with_heartbeat(os.environ, serve, asyncio.Event()))
"""
BLOCKED = {
    "sleeps": "time.sleep(100)",
    "computes": "while True: pass",
    "computes in C": "sum(range(10**12))",
    "waits for itself": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "reads a pipe": "os.read(os.pipe()[0], 1)",
}


async def test_a_role_whose_event_loop_is_blocked_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever way. One that is busy in a thread, or says nothing from the start, is left alone."""
    monkeypatch.setattr(supervisor, "MAX_SILENCE_SECONDS", 4)
    busy = "await asyncio.to_thread(time.sleep, 100)"
    roles = [python(BLOCKING.format(blocks=code), name) for name, code in {**BLOCKED, "is busy": busy}.items()]
    with structlog.testing.capture_logs() as logs:
        async with running(*roles, sleeper("never says a word")) as keeper:
            before = keeper.pids

            def replaced() -> set[str]:
                return {name for name, pid in keeper.pids.items() if pid != before[name]}

            await wait_until(lambda: replaced() == BLOCKED.keys(), 30, "all that are blocked are replaced")
    killed = {log["role"] for log in logs if log["event"] == "role does not answer and is killed"}
    assert killed == BLOCKED.keys()


async def test_a_role_that_cannot_be_started_now_is_started_later() -> None:
    """Without a free descriptor, process or page there is no child, and the others live on."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with structlog.testing.capture_logs() as logs:
        async with running(sleeper("a"), sleeper("b")) as keeper:
            before = keeper.pids
            send_signal(before["a"], signal.SIGKILL)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # in the same turn of the event loop
            try:
                await wait_until(lambda: "role cannot be started" in str(logs), what="it is said")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            await wait_until(lambda: keeper.pids.get("a", before["a"]) != before["a"], what="a is back")
            assert keeper.pids["b"] == before["b"]
