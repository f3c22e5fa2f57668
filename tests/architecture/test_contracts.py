"""Each arrow that a contract of pyproject.toml forbids is seen when it is drawn, in a copy of the packages."""

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.repository import ROOT
from tests.support.processes import run

CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def forbidden() -> Iterator[tuple[str, str, str]]:
    """Yield a contract, who imports, and whom: of layers each one the layer above it, and the lowest the highest."""
    for contract in CONFIGURATION["contracts"]:
        if contract["type"] == "forbidden":
            pairs = [
                (source, other) for source in contract["source_modules"] for other in contract["forbidden_modules"]
            ]
        else:
            layers = [re.split(r"\s*[:|]\s*", layer) for layer in contract["layers"]]
            pairs = [(lower, upper) for above, below in pairwise(layers) for lower in below for upper in above]
            pairs.append((layers[-1][0], layers[0][0]))
            beside = [re.split(r"\s*\|\s*", layer) for layer in contract["layers"]]
            pairs += [(one, other) for layer in beside for one in layer for other in layer if one != other]
        yield from ((contract["name"], source, other) for source, other in pairs)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what the contracts are about."""
    where = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", where)
    for package in CONFIGURATION["root_packages"]:
        shutil.copytree(ROOT / package, where / package, ignore=shutil.ignore_patterns("__pycache__"))
    return where


def lint(where: Path) -> str:
    """Return what lint-imports says of the packages in a folder."""
    program = Path(sys.executable).with_name("lint-imports")
    wide = os.environ | {"COLUMNS": "1000"}  # else it breaks long names into lines
    done = run([program, "--no-cache"], cwd=where, env=wide)
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def test_each_arrow_that_is_forbidden_is_seen(copy: Path) -> None:
    """A copy keeps all contracts; with every such arrow drawn, each contract names each of its own."""
    assert "0 broken" in lint(copy)
    for _, source, other in forbidden():
        where = copy.joinpath(*source.split("."))
        file = where / "__init__.py" if where.is_dir() else where.with_suffix(".py")
        file.write_text(f"{file.read_text()}\nimport {other}\n")
    _, _, report = lint(copy).partition("\nBroken contracts\n")
    sections = re.split(r"^(.+)\n-+\n", report, flags=re.MULTILINE)
    told = dict(zip(sections[1::2], sections[2::2], strict=True))
    missed = [
        f"{contract}: {source} -> {other}"
        for contract, source, other in forbidden()
        if not re.search(rf"^-\s+{re.escape(source)} -> {re.escape(other)} ", told.get(contract, ""), re.MULTILINE)
    ]
    assert missed == []


def children(package: str) -> set[str]:
    """Return the modules and packages in a package."""
    found = (ROOT / package).glob("*")
    names = {path.stem for path in found if path.suffix == ".py" or (path / "__init__.py").is_file()}
    return {f"{package}.{name}" for name in names - {"__init__"}}


def contract(name: str) -> dict[str, Any]:
    """Return a contract by the beginning of its name."""
    (found,) = [one for one in CONFIGURATION["contracts"] if one["name"].startswith(name)]
    return dict(found)


@pytest.mark.parametrize("package", ["service", "telemetry"])
def test_each_module_has_its_layer(package: str) -> None:
    layers = contract(f"{'the ' if package == 'service' else ''}{package} flows one way")["layers"]
    assert {name for layer in layers for name in re.split(r"\s*[:|]\s*", layer)} == children(package)


@pytest.mark.parametrize(
    ("name", "exempt"),
    [
        ("only the edge knows", {"service.api", "service.processes"}),
        ("only the crowd and the truth report", {"service.crowd", "service.truth"}),
        ("only the store knows", {"service.store"}),
    ],
)
def test_a_contract_exempts_nobody_but_whom_it_names(name: str, exempt: set[str]) -> None:
    """A new module is held by it, too."""
    assert set(contract(name)["source_modules"]) - {"telemetry"} | exempt == children("service")


def test_all_of_the_telemetry_but_its_doors_is_closed_to_the_service() -> None:
    closed = {".".join(name.split(".")[:2]) for name in contract("the service uses")["forbidden_modules"]}
    doors = {"telemetry.testing", "telemetry.self_metrics"}
    assert closed | doors == children("telemetry")
