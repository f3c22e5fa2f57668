"""Stand-ins for the published images, under the names that Dockerfile and docker-compose.yml have."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.ship.debian import (
    PARTS_PACKAGES,
    PARTS_SUITE,
    PYTHON_PACKAGES,
    CannotShip,
    root_file_system,
    wheels,
)
from deploy.ship.engine import Engine
from deploy.stack.compose import ROOT, read
from deploy.stack.tools import build, find

RECIPES = Path(__file__).parent / "images"
BUILT = {"otel-collector": "otelcol", "jaeger": "jaeger", "prometheus": "prometheus", "alertmanager": "alertmanager"}
"""Parts whose program comes from the cache of `make stack-tools`."""


def docker(engine: Engine, *arguments: str) -> str:
    """Run a command of the engine and return what it printed.

    Raises:
        CannotShip: It failed.
    """
    program = shutil.which("docker", path=engine.env["PATH"]) or "docker"
    done = subprocess.run(  # noqa: S603 - docker
        [program, *arguments], cwd=ROOT, env=engine.env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise CannotShip(f"docker {' '.join(arguments[:4])}: {' / '.join(last)}")
    return done.stdout.strip()


def stand_in(engine: Engine) -> dict[str, str]:
    """Make every image that is not there yet; return each image's name and what stands in for it."""
    build(["otelcol", "jaeger", "prometheus", "alertmanager"])
    python = _python_image()
    suite = python.rpartition("-")[2]
    told = {python: _python(engine, python, suite)}
    base = _base(engine, PARTS_SUITE, PARTS_PACKAGES)
    _made(engine, "flash-sale-ship/parts", "base", base)
    for name, image in _parts().items():
        program = BUILT.get(name)
        _made(engine, image, name, "flash-sale-ship/parts", *([find(program)] if program else []))
        told[image] = _what(engine, name, image)
    return told


def _parts() -> dict[str, str]:
    text = (ROOT / "docker-compose.yml").read_text()
    tags = dict(re.findall(r"^ +image: ([^:\s]+):(\S+)$", text, re.MULTILINE))
    services = read({}).items()
    ours = [(n, s) for n, s in services if not s.built and (RECIPES / f"{n}.Dockerfile").exists()]
    return {name: f"{service.image}:{tags[service.image]}" for name, service in ours}


def _python_image() -> str:
    found = re.search(r"^FROM (python:\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    if found is None:
        raise CannotShip("the Dockerfile does not begin with an image of Python")
    return found[1]


def _python(engine: Engine, image: str, suite: str) -> str:
    base = _base(engine, suite, PYTHON_PACKAGES)
    version = docker(engine, "run", "--rm", "--network=none", base, "python3", "--version")
    with tempfile.TemporaryDirectory(prefix="flash-sale-build-") as temporary:
        folder = Path(temporary) / "wheels"
        pins = [ROOT / "requirements" / f"{name}.txt" for name in ("runtime", "crowd")]
        wheels(pins, ".".join(version.split()[1].split(".")[:2]), folder)
        _made(engine, image, "python", base, folder)
    return f"{version} of Debian {suite}, with the pinned wheels in it"


def _base(engine: Engine, suite: str, packages: tuple[str, ...]) -> str:
    archive = root_file_system(suite, packages)
    image = f"flash-sale-ship/{archive.parent.name}:1"
    if not docker(engine, "images", "--quiet", image):
        docker(engine, "import", str(archive), image)
    return image


def _made(engine: Engine, image: str, recipe: str, base: str, *files: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="flash-sale-build-") as temporary:
        for file in files:
            target = Path(temporary) / file.name
            (shutil.copytree if file.is_dir() else shutil.copy2)(file, target)
        shutil.copy2(RECIPES / f"{recipe}.Dockerfile", Path(temporary) / "Dockerfile")
        docker(engine, "build", "--network=none", f"--build-arg=BASE={base}", f"--tag={image}", temporary)


def _what(engine: Engine, name: str, image: str) -> str:
    if name in BUILT:
        return f"{BUILT[name]} as `make stack-tools` builds it"
    if name == "grafana":
        return "a stub that answers the health route: Grafana itself is not shown"
    argv = {"redis": ["valkey-server", "--version"], "front": ["sh", "-c", "nginx -v 2>&1"]}[name]
    version = docker(engine, "run", "--rm", "--network=none", image, *argv)
    return f"{version.split(' sha=')[0]} of Debian {PARTS_SUITE}"
