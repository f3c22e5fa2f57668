"""Children that are forked from a template: what they have, how their end is told; what may happen to a template."""

import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import Program, eventually
from tests.support.processes import alive, ancestors, descendants, send_signal, title

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_CHILD_SUBREAPER is Linux's")

FLEET = """
import asyncio, io, os, resource, signal, sys
import structlog
from service.processes import template as module
from service.processes.forked_child import Forked
from service.processes.supervisor import ChildFailed, ChildSpec, Supervisor
from service.processes.template import Template, can_fork

structlog.configure(
    processors=[structlog.dev.ConsoleRenderer(colors=False)], logger_factory=structlog.WriteLoggerFactory(sys.stdout)
)
module.ANSWER_SECONDS = 3.0

LIMIT, LOW = resource.RLIMIT_NOFILE, (4, resource.getrlimit(resource.RLIMIT_NOFILE)[1])

def set_limit(pid, values):
    resource.prlimit(pid, LIMIT, values)
    print("limited", values, flush=True)

def pipe_at(number, text):
    r, w = os.pipe()
    os.write(w, text)
    os.close(w)
    os.dup2(r, number, inheritable=False)
    os.close(r)

async def keep(template, specs):
    loop = asyncio.get_running_loop()
    for number, values in ((signal.SIGUSR1, LOW), (signal.SIGUSR2, resource.getrlimit(LIMIT))):
        loop.add_signal_handler(number, set_limit, template._pid, values)
    try:
        await Supervisor(specs, grace_seconds=2, starter=template).run(asyncio.Event())
    except ChildFailed as failed:
        print("failed", failed, flush=True)
    template.close()

def main():
    BEFORE
    assert can_fork()
    template = Template(["json"])
    try:
        template.fork()
    except Forked as child:
        exec(child.arguments[0], {"__name__": "child"})
        return
    pipe_at(11, b"one")
    pipe_at(12, b"two")
    asyncio.run(keep(template, SPECS))
    print("over", flush=True)

main()
"""
SLEEPER = "import os, signal; os.write(1, f'child {os.getpid()}\\n'.encode()); signal.pause()"


def spec(script: str, name: str = "role", fds: Sequence[int] = (), **options: object) -> str:
    """Return the source of a role that runs a piece of Python and inherits some descriptors."""
    given = ", ".join(f"io.FileIO({fd}, closefd=False)" for fd in fds)
    return f"ChildSpec(name={name!r}, argv=[{script!r}], sockets=[{given}], **{options!r})"


@contextmanager
def fleet(*specs: str, before: str = "pass", modules: str = "json") -> Iterator[Program]:
    """Run a supervisor whose children are forked."""
    script = FLEET.replace("SPECS", f"[{', '.join(specs)}]").replace("BEFORE", before).replace('"json"', repr(modules))
    with Program([sys.executable, "-c", script]) as program:
        yield program


def children_of(program: Program, count: int) -> list[int]:
    """Wait until so many children have said who they are, and return the last that did."""

    def pids() -> list[int]:
        return [int(line.split()[1]) for line in program.lines if line.startswith("child ")]

    eventually(lambda: len(pids()) >= count or not program.running(), 20, f"{count} children run")
    assert program.running(), program.output
    return pids()[-count:]


def template_of(program: Program) -> int:
    """Return the process id of the template, or 0."""
    return next((pid for pid in descendants(program.pid) if "template" in title(pid)[:5]), 0)


def test_a_child_has_its_session_its_environment_its_descriptors_and_no_others(tmp_path: Path) -> None:
    """Its stdin is empty, its title says what it is, and of what the shell had open nothing is left."""
    script = f"""
import os, pathlib, random, signal, sys, threading
pathlib.Path({str(tmp_path)!r}, os.environ["NAME"]).write_text(repr((
    os.getsid(0) == os.getpid(), os.read(11, 9), os.read(0, 9), os.listdir("/proc/self/fd"),
    signal.getsignal(signal.SIGINT) is signal.default_int_handler, threading.active_count(), random.random(),
    pathlib.Path("/proc/self/cmdline").read_bytes()[:40],
)))
"""
    before = "os.dup2(1, 9, inheritable=True)"
    roles = [
        spec(script, "a", fds=[11], env={"NAME": "a"}, restart=False),
        spec(script.replace("os.read(11", "os.read(12"), "b", fds=[12, 11], env={"NAME": "b"}, restart=False),
    ]
    with fleet(*roles, before=before) as program:
        program.wait_for_line("over", 20)
    a, b = (eval((tmp_path / name).read_text()) for name in ("a", "b"))  # noqa: S307 - it is ours
    assert (a[:3], b[:3]) == ((True, b"one", b""), (True, b"two", b""))
    assert {"0", "1", "2", "11"} < set(a[3]), "what it was handed, and its heartbeat"
    assert not {"9", "12"} & set(a[3])
    assert (len(a[3]), len(b[3])) == (6, 7), "one is that by which the directory is read"
    assert a[4:6] == b[4:6] == (True, 1), "Ctrl-C, threads"
    assert a[6] != b[6], "each has random numbers of its own"
    assert a[7].startswith(b"flash-sale\0\nimport os")


def test_how_a_child_ends_is_told_exactly() -> None:
    """A status, a signal, an error that nobody caught; five failures end the fleet as ever."""
    scripts = {
        "exits": "import sys; sys.exit(7)",
        "killed": "import os; os.kill(os.getpid(), 9)",
        "ended": "import os; os.kill(os.getpid(), 15)",
        "raises": "raise RuntimeError('why')",
        "well": "",
    }
    with fleet(*(spec(script, name, restart=False) for name, script in scripts.items())) as program:
        text = program.wait_for_output("over", 20)
    died = dict(re.findall(r"role died +role=(\w+) status='?([\w ]+)", text))
    assert died == {"exits": "exit 7", "killed": "SIGKILL", "ended": "SIGTERM", "raises": "exit 1", "well": "exit 0"}
    assert "RuntimeError: why" in text
    with fleet(spec("raise SystemExit(3)", "bad"), spec(SLEEPER, "good")) as program:
        assert "bad failed 5 times in a row with exit status 3" in program.wait_for_output("over", 30)


def test_a_template_has_one_thread_and_nothing_open() -> None:
    """So nothing is shared by what it forks."""
    with fleet(spec(SLEEPER)) as program:
        children_of(program, 1)
        template = template_of(program)
        assert len(list(Path(f"/proc/{template}/task").iterdir())) == 1
        assert len(list(Path(f"/proc/{template}/fd").iterdir())) == 4, "the standard ones, and the supervisor's"
        assert os.getsid(template) == template


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP], ids=lambda n: n.name)
def test_a_template_that_is_gone_or_hangs_takes_no_child_with_it_and_is_replaced(number: signal.Signals) -> None:
    """The next child comes from a new one, by a fresh interpreter, which runs commands of `flash-sale`.

    What this one is asked for is none of them, so its child fails again and again; that is not to end the fleet here.
    """
    ever = "from service.processes import supervisor; supervisor.FAILURES_IN_A_ROW = 10**6"
    with fleet(spec(SLEEPER, "a"), spec(SLEEPER, "b"), before=ever) as program:
        first, second = children_of(program, 2)
        old = template_of(program)
        send_signal(old, number)
        send_signal(first, signal.SIGKILL)
        program.wait_for_line("No such command", 30)
        assert template_of(program) not in (0, old)
        assert descendants(program.pid).isdisjoint((old, first)), "no zombie is left"
        assert alive(second)


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_nobody_outlives_a_supervisor_that_is_killed(stopped: bool) -> None:
    """Neither the template nor a child, be they stopped."""
    with fleet(spec(SLEEPER, "a"), spec(SLEEPER, "b")) as program:
        everybody = [*children_of(program, 2), template_of(program)]
        assert all(program.pid == ancestors(pid)[0] for pid in everybody), "they are the supervisor's own"
        if stopped:
            for pid in everybody:
                send_signal(pid, signal.SIGSTOP)
        program.kill9()
        eventually(lambda: not any(map(alive, everybody)), 10, "nobody is left")


@pytest.mark.parametrize(
    ("limit", "low", "why"),
    [("RLIMIT_NPROC", 1, "Resource temporarily unavailable"), ("RLIMIT_NOFILE", 4, "Too many open files")],
)
def test_a_child_that_cannot_be_forked_now_is_forked_later(limit: str, low: int, why: str) -> None:
    """It is said why; the template and the other children live on. Root may fork as often as it likes, nobody not."""
    before = "os.getuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))"
    before += f"\n    global LIMIT, LOW; LIMIT = resource.{limit}; LOW = ({low}, resource.getrlimit(LIMIT)[1])"
    with fleet(spec(SLEEPER, "a"), spec(SLEEPER, "b"), before=before) as program:
        first, second = children_of(program, 2)
        template = template_of(program)
        send_signal(program.pid, signal.SIGUSR1)
        program.wait_for_line("limited", 10)
        send_signal(first, signal.SIGKILL)
        program.wait_for_line(why, 20)
        send_signal(program.pid, signal.SIGUSR2)
        third = children_of(program, 3)[-1]
        assert third not in (first, second)
        assert template_of(program) == template
        assert alive(second)


def test_a_template_that_cannot_begin_says_why() -> None:
    """Its children count as failed."""
    once = "from service.processes import supervisor; supervisor.FAILURES_IN_A_ROW = 1"
    with fleet(spec(SLEEPER, "a"), modules="no.such.module", before=once) as program:
        text = program.wait_for_output("over", 60)
    assert "No module named 'no'" in text
    assert "a failed 1 times in a row with exit status 1" in text
