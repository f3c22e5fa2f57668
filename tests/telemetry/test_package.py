"""The distribution `truemeter`: built, installed in an empty environment, and used there as its README says."""

import shutil
import sys
import zipfile
from collections.abc import Callable
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.support import Program, eventually, free_port
from tests.support.http import http_get
from tests.support.machine import cannot_run
from tests.support.processes import run
from tests.support.service import START_SECONDS
from tests.telemetry.collector import Collector
from tests.telemetry.test_readme_example import EXAMPLES, ROOT

UV = [sys.executable, "-m", "uv"]
PINS = ROOT / "requirements" / "dev.txt"
BARE = """
import asyncio, sys
from importlib.util import find_spec
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from truemeter import CounterSpec, Telemetry

async def hello(request):
    return PlainTextResponse("hello")

async def get(path):
    parts = []
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "scheme": "http"}
    async def send(message):
        parts.append(message.get("body", b""))
    await app(scope, lambda: None, send)
    return b"".join(parts).decode()

async def main():
    await get("/items/1")
    await get("/mounted/2")
    for line in (await get("/metrics")).splitlines():
        if line.startswith("http_server_request_duration_seconds_count"):
            print(line.partition('http_route="')[2].partition('"')[0], line.rpartition(" ")[2])

app = Starlette(routes=[Route("/items/{item}", hello), Mount("/mounted", routes=[Route("/{item}", hello)])])
Telemetry("shop").install(app)
asyncio.run(main())
print([name for name in ("fastapi", "structlog", "httpx", "redis", "telemetry", "service") if find_spec(name)])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made from the source distribution, as an index would have both."""
    made = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("clone") / "telemetry"
    shutil.copytree(ROOT / "telemetry", source, ignore=shutil.ignore_patterns("__pycache__"))
    argv = [*UV, "build", "-q", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(made), str(source)]
    done = run(argv)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in made.glob("*.tar.gz")]
    return next(made.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return what makes an empty environment with the wheel and its extras, at this repository's pins; its Python."""

    def make(extras: str, *more: str) -> str:
        home = tmp_path_factory.mktemp("home")
        assert run([*UV, "venv", "-q", "--python", sys.executable, str(home / "venv")]).returncode == 0
        python = str(home / "venv" / "bin" / "python")
        done = run([*UV, "pip", "install", "-q", "--python", python, "-c", str(PINS), f"{wheel}{extras}", *more])
        if done.returncode and ("dns error" in done.stderr or "Failed to fetch" in done.stderr):
            cannot_run("no package index answers")
        assert done.returncode == 0, done.stderr
        return python

    return make


def test_what_is_in_the_wheel(wheel: Path) -> None:
    """The package, its scripts and its marker for types; its extras; nothing of this repository besides."""
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        meta = HeaderParser().parsestr(opened.read(next(n for n in names if n.endswith("METADATA"))).decode())
    assert {name.split("/")[0] for name in names} == {"truemeter", f"truemeter-{meta['Version']}.dist-info"}
    ours = {path.relative_to(ROOT / "telemetry").as_posix() for path in (ROOT / "telemetry").rglob("*.py")}
    ours |= {path.relative_to(ROOT / "telemetry").as_posix() for path in (ROOT / "telemetry").rglob("*.lua")}
    assert {f"truemeter/{name}" for name in ours} <= set(names)
    assert {
        "truemeter/py.typed",
        "truemeter/README.md",
        "truemeter/docs/moving.md",
        "truemeter/docs/promises.md",
    } <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert set(meta.get_all("Provides-Extra") or ()) == {"fastapi", "otlp", "logs", "httpx", "redis", "all"}
    assert not any("==" in needed.partition(";")[0] for needed in meta.get_all("Requires-Dist") or ())


def test_the_readme_in_an_empty_environment(environment: Callable[..., str], tmp_path: Path) -> None:
    """Its example is served by uvicorn, and its test is run by pytest."""
    python = environment("[fastapi,otlp,logs]", "uvicorn", "pytest", "httpx")
    shop, measure, test, attach = EXAMPLES
    (tmp_path / "shop.py").write_text(shop)
    needed = "from shop import app\nfrom starlette.testclient import TestClient\n"
    (tmp_path / "test_shop.py").write_text(needed + measure + test + attach)
    tested = run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"], cwd=tmp_path)
    assert "2 passed" in tested.stdout, tested.stdout
    copied = run([python, "-m", "truemeter.monitoring", str(tmp_path)], cwd=tmp_path, check=True)
    assert (tmp_path / "alerts.yaml").exists(), copied.stdout
    listed = run([python, "-m", "truemeter"], cwd=tmp_path, check=True).stdout.splitlines()
    assert all(Path(path.strip()).is_file() for path in listed[1:6:2]), listed
    for page, heading in (("readme", "# truemeter"), ("moving", "# Moving"), ("promises", "# What stays")):
        shown = run([python, "-m", "truemeter", page], cwd=tmp_path, check=True).stdout
        assert shown.startswith(heading)
    port = free_port()
    with Collector() as collector:
        command = [python, "-m", "uvicorn", "shop:app", "--port", str(port)]
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        with Program(command, env=env, cwd=tmp_path) as program:
            program.wait_for_line("Uvicorn running", START_SECONDS)
            assert http_get(f"http://127.0.0.1:{port}/items/lamp").json() == {"item": "lamp"}
            text = http_get(f"http://127.0.0.1:{port}/metrics").text
            program.terminate()
        eventually(lambda: [span.name for span in collector.spans()] == ["GET /items/{item}"], 5, "the span is there")
    assert 'http_server_request_duration_seconds_count{http_request_method="GET"' in text


def test_without_extras(environment: Callable[..., str], tmp_path: Path) -> None:
    """An application of Starlette's has its metrics; what is not there is named with its extra, in one line."""
    python = environment("")
    done = run([python, "-c", BARE], check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["/items/{item} 1.0", "/mounted/{item} 1.0", "[]"]
    exporting = "from truemeter import Telemetry; Telemetry('shop').start()"
    for program, environ, says in (
        (exporting, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "truemeter[otlp]"),
        ("from truemeter import configure_logging", {}, "truemeter[logs]"),
        ("from truemeter import Telemetry; Telemetry('shop').instrument_client(None)", {}, "truemeter[httpx]"),
    ):
        failed = run([python, "-c", program], env=environ, cwd=tmp_path)
        assert failed.stderr.splitlines()[-1].endswith(f"is not installed: pip install '{says}'")


def test_pip_installs_the_folder_of_a_clone(tmp_path: Path) -> None:
    """`pip install ./telemetry`."""
    argv = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path),
    ]
    done = run([*argv, "./telemetry"], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "truemeter" / "runtime.py").exists()
    assert not (tmp_path / "telemetry").exists()
