"""docker-compose.yml and Dockerfile: valid, hardened, within their memory, and of files that exist."""

import json
import os
import re
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stack.compose import FILE, ROOT, read
from tests.support import executable
from tests.support.processes import run

TWO_GIGABYTES = 2 * 1024
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
ONCE = {"own-volumes"}
"""Runs as root to hand a volume over, without a network, and ends."""


def test_the_library_of_docker_compose_loads_it() -> None:
    """compose-go applies the specification's schema and its rules of consistency."""
    done = run([executable("compose-check"), FILE], env={})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["services"].keys() == SERVICES.keys()


def test_the_library_of_docker_compose_refuses_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(FILE.read_text().replace("cap_drop: [ALL]", "cap_drop: 3"))
    done = run([executable("compose-check"), wrong])
    assert done.returncode == 1
    assert "cap_drop" in done.stderr


def test_the_sale_alone_is_what_sells_and_sends_nothing_to_who_is_not_there() -> None:
    """With the second file on top; what watches it is in a profile."""
    done = run([executable("compose-check"), FILE, ROOT / "docker-compose.sale-only.yml"], env={})
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    alone = {name: service for name, service in services.items() if not service.get("profiles")}
    assert alone.keys() == {"redis", "api-1", "api-2", "front", "worker"}
    for service in alone.values():
        assert set(service.get("depends_on", ())) <= alone.keys()
        told = {key: value for key, value in service.get("environment", {}).items() if "//" in str(value)}
        assert set(told) <= {"REDIS_URL"}, told


def test_it_has_every_part_of_the_stack() -> None:
    parts = {"redis", "api-1", "api-2", "worker", "otel-collector", "jaeger", "prometheus", "alertmanager", "grafana"}
    assert parts <= SERVICES.keys()
    assert [name for name, service in SERVICES.items() if service.get("profiles")] == ["crowd"]


def test_the_memory_limits_sum_to_under_two_gigabytes() -> None:
    """Of what runs on; shoppers may run elsewhere."""
    on = [service for name, service in SERVICES.items() if name != "crowd" and name not in ONCE]
    limits = [re.fullmatch(r"(\d+)m", service["mem_limit"]) for service in on]
    assert sum(int(limit[1]) for limit in limits if limit) < TWO_GIGABYTES
    assert all(limits)


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONCE))
def test_each_service_is_hardened_and_pinned(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), "a version, not a moving tag"
    assert service["restart"] == ("no" if name == "crowd" else "unless-stopped")
    assert service.get("user") != "root"


def test_each_service_that_can_be_asked_is_asked_and_waited_for() -> None:
    """The collector's image has nothing in it to ask with."""
    healthy = {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert SERVICES.keys() - healthy == {"otel-collector", "crowd", *ONCE}
    for service in SERVICES.values():
        for need, how in service.get("depends_on", {}).items():
            wanted = {"own-volumes": "service_completed_successfully"}
            assert how["condition"] == wanted.get(need, "service_healthy"), need


SALE = {"redis", "api-1", "api-2", "front", "worker", "crowd"}


@pytest.mark.parametrize("name", sorted(SALE))
def test_what_watches_the_sale_never_stands_before_it(name: str) -> None:
    assert SERVICES[name].get("depends_on", {}).keys() <= SALE


def test_what_takes_traces_waits_for_nobody_who_shows_them() -> None:
    """The collector's queue is on disk: it takes what the service sends while Jaeger is not there."""
    assert SERVICES["otel-collector"]["depends_on"].keys() == ONCE


def test_the_store_can_rewrite_its_file_when_it_is_full() -> None:
    """A rewrite forks: in the worst case every page is copied."""
    store = SERVICES["redis"]
    limit = store["command"][store["command"].index("--maxmemory") + 1]
    assert int(store["mem_limit"].removesuffix("m")) >= 2 * int(limit.removesuffix("mb"))


def test_a_key_that_the_collector_would_not_take_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Natively here; `own-volumes` says the same line in a container."""
    env = {**os.environ, "REDACTION_KEY": "k" * 31, "DATA_DIR": str(tmp_path)}
    done = run([sys.executable, "-m", "deploy.stack", "up"], env=env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "REDACTION_KEY: has fewer than 32 bytes" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert "k" * 31 not in done.stderr
    (line,) = re.findall(r'echo "(REDACTION_KEY: [^"]+)"', SERVICES["own-volumes"]["command"][0])
    assert line in done.stderr


def test_no_password_is_written_in_the_file() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment.keys() >= {"GF_SECURITY_ADMIN_PASSWORD__FILE"}
    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment


def test_the_front_looks_replicas_up_again() -> None:
    """A replica that is made anew has another address; in `make stack`, it keeps it."""
    theirs = (ROOT / "deploy/front/replicas.conf").read_text()
    ours = (ROOT / "deploy/front/replicas.fixed.conf").read_text()
    servers = re.findall(r"^  server (.+);$", theirs, re.MULTILINE)
    assert [server.partition(":")[0] for server in servers] == ["api-1", "api-2"]
    assert all(server.endswith(" resolve") for server in servers)
    assert "resolver 127.0.0.11 " in theirs
    assert "  zone " in theirs
    assert re.findall(r"^  server (.+);$", ours, re.MULTILINE) == [s.removesuffix(" resolve") for s in servers]


def test_nothing_is_published_beyond_this_machine_unless_asked() -> None:
    published = {port for service in SERVICES.values() for port in service.get("ports", ())}
    assert {port for port in published if not port.startswith("127.0.0.1:")} == {"${PUBLISH:-127.0.0.1}:8000:8000"}


def test_every_file_that_is_mounted_is_in_the_repository() -> None:
    mounts = [mount for service in read({}).values() for mount in service.mounts.values() if mount.startswith("./")]
    assert len(mounts) >= 8
    assert [mount for mount in mounts if not (ROOT / mount).exists()] == []


def copied() -> list[str]:
    """Return what the Dockerfile copies from this repository."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    return [path for paths in copies for path in paths]


def test_the_image_is_built_from_files_that_the_builder_is_given() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for path in copied():
        assert (ROOT / path).exists(), path
        assert any(fnmatch(path, pattern) for pattern in allowed), path


def test_what_the_dockerfile_copies_is_all_that_the_program_needs(tmp_path: Path) -> None:
    """The last install step of the Dockerfile, on its files alone; the one before it is what `make` does."""
    for path in copied():
        target = tmp_path / "source" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / path).is_dir() else shutil.copy)(ROOT / path, target)
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(tmp_path / "opt"), "."]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done = run([*pip, *install], cwd=tmp_path / "source")
    assert done.returncode == 0, done.stderr
    assert "--no-deps --no-build-isolation ." in (ROOT / "Dockerfile").read_text()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "opt")}
    argv = [str(tmp_path / "opt/bin/flash-sale"), "--help"]
    done = run([sys.executable, *argv], cwd=tmp_path, env=env)
    assert "flash-sale" in done.stdout, done.stderr
    page = [path.relative_to(ROOT) for path in (ROOT / "service").rglob("*") if path.suffix in (".lua", ".html", ".js")]
    assert [path for path in page if not (tmp_path / "opt" / path).exists()] == []


def test_the_program_in_the_image_is_not_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = {number: line.split()[1:] for number, line in enumerate(lines) if line.startswith("FROM")}
    stages = {base[2]: base[0] for base in bases.values() if len(base) > 2}
    user = lines.index("USER 10001:10001")
    (service,) = (number for number, base in bases.items() if base[1:] == ["AS", "service"])
    assert [number for number in bases if service < number < user] == []
    assert (bases[max(bases)][0], stages["crowd"]) == ("service", "service")
    assert all(re.search(r":\d+\.\d+\.\d+-", base[0]) or base[0] in stages for base in bases.values())


def test_the_image_holds_no_crowd() -> None:
    """What simulates shoppers is installed into a stage of its own, which the last one does not come from."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    stage = ""
    installs: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("FROM"):
            stage = line.split()[-1]
        installs.setdefault(stage, set()).update(re.findall(r"requirements/(\w+)\.txt$", line))
    assert {name: files for name, files in installs.items() if files} == {
        "install": {"runtime"},
        "install-crowd": {"crowd"},
    }
    runtime = (ROOT / "requirements/runtime.txt").read_text()
    assert not re.search(r"^(aiohttp|yarl|multidict|pydantic-settings)==", runtime, re.MULTILINE)
