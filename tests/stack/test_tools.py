"""The programs of the stack are what the files say they are."""

import re

import pytest
import yaml

from deploy.stack.compose import FILE
from deploy.stack.tools import MANIFEST, ToolMissing, find, folder, sources
from tests.support import executable
from tests.support.processes import run

IMAGES = {
    "prometheus": "prom/prometheus",
    "alertmanager": "prom/alertmanager",
    "jaeger": "jaegertracing/jaeger",
    "otelcol": "otel/opentelemetry-collector-contrib",
}
SERVICES = yaml.safe_load(FILE.read_text())["services"].values()


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_built_is_the_release_of_the_image(name: str) -> None:
    (source,) = [source for source in sources() if source.name == name]
    (image,) = [service["image"] for service in SERVICES if service["image"].startswith(IMAGES[name] + ":")]
    assert image.partition(":")[2].removeprefix("v") == source.version.partition("-")[0]


def test_the_collector_is_made_of_one_release() -> None:
    """A part of another release may build and then misunderstand its configuration."""
    manifest = yaml.safe_load(MANIFEST.read_text())
    version = manifest["dist"]["version"]
    parts = [
        part["gomod"]
        for kind in ("receivers", "processors", "connectors", "exporters", "extensions")
        for part in manifest[kind]
    ]
    assert len(parts) >= 11
    assert {part.partition(" v")[2] for part in parts} == {version}


@pytest.mark.parametrize("name", ["prometheus", "promtool", "alertmanager", "amtool", "otelcol"])
def test_each_program_runs(name: str) -> None:
    done = run([executable(name), "--version"])
    assert done.returncode == 0, done.stderr
    assert re.search(r"version", done.stdout + done.stderr)


def test_a_program_that_was_not_built_is_looked_for_on_the_path(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when it is not there either, one line says what to do."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not folder(sources()[0]).exists()
    with pytest.raises(ToolMissing, match="no jaeger: neither built"):
        find("jaeger")
