"""Who may import whom, and that an import does nothing but define."""

import sys
from pathlib import Path

from tests.architecture.repository import ROOT
from tests.support.processes import run

IMPORT_ALL = """
import importlib, os, pkgutil, sys, threading

ROOT = os.getcwd()
OURS = tuple(os.path.join(ROOT, package) + os.sep for package in ("service", "telemetry"))
FORBIDDEN = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec",
             "os.fork", "os.mkdir", "os.remove", "os.rename", "os.putenv", "_thread.start_new_thread", "signal.signal")
found = set()

def ours():
    frame = sys._getframe(2)
    while frame and os.path.basename(frame.f_code.co_filename) in ("os.py", "_collections_abc.py", "<frozen os>",
                                                                   "<frozen _collections_abc>"):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(OURS)

def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event in FORBIDDEN:
        found.add(f"{event} {args[:1]!r:.100}")

read = os._Environ.__getitem__
def recorded(self, key):
    if ours():
        found.add(f"reads {key}")
    return read(self, key)
os._Environ.__getitem__ = recorded

sys.addaudithook(watch)
names = []
for package in ("telemetry", "service"):
    root = importlib.import_module(package)
    names += [module.name for module in pkgutil.walk_packages(root.__path__, package + ".")]
names = [name for name in names if not name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
if threading.active_count() != 1:
    found.add(f"threads {threading.enumerate()}")
print(len(names), "modules", *sorted(found), sep="\\n")
"""


def test_the_contracts_of_the_packages_hold() -> None:
    """As pyproject has them: telemetry never imports service, the store knows nothing of what is sold."""
    program = Path(sys.executable).with_name("lint-imports")
    done = run([program, "--no-cache"], timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_nothing_happens_at_import() -> None:
    """No module of ours connects, listens, starts a thread or a process, writes a file or reads the environment."""
    argv = [sys.executable, "-B", "-c", IMPORT_ALL]
    done = run(argv, timeout=120)
    assert done.returncode == 0, done.stderr
    count, _, *happened = done.stdout.splitlines()
    assert int(count) > 60
    assert happened == []


def test_only_the_edge_reads_the_environment() -> None:
    """The command line hands it on; telemetry sets what OpenTelemetry's own libraries read, and reads it when asked to.

    `Telemetry("shop")` asks, in place of settings: where that is called, the host has its edge.
    """
    allowed = {
        "telemetry/__init__.py",  # to blame a variable, where OpenTelemetry cannot be imported
        "telemetry/applications.py",
        "telemetry/http/contrib.py",
        "telemetry/http/conventions.py",
        "telemetry/providers.py",
        "service/processes/starting.py",
        "service/processes/forked_child.py",
        "service/processes/template.py",
    }
    readers = {
        path.relative_to(ROOT).as_posix()
        for package in ("service", "telemetry")
        for path in (ROOT / package).rglob("*.py")
        if "os.environ" in path.read_text() or "getenv(" in path.read_text()
    }
    assert {reader for reader in readers if not reader.startswith("service/cli/")} <= allowed
