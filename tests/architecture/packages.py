"""`python -m tests.architecture.packages` writes the table of packages in docs/architecture.md anew from the imports.

A package here is what stands directly in `service` or `telemetry`, a single module too. An arrow leads from one to
another if any of its modules imports it. The contracts in pyproject.toml give the order; an arrow to what stands above
points back.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from typing import Final

import grimp

from tests.architecture.repository import ROOT

DOCUMENT: Final = ROOT / "docs/architecture.md"
BEGIN: Final = "<!-- `make docs` writes this table from the imports -->\n"
END: Final = "<!-- end of the table -->"
ROOTS: Final = ("service", "telemetry")

Arrows = Mapping[str, set[str]]


def arrows(root: str) -> Arrows:
    """Return whom each package of a root imports; `telemetry` stands for all of the library, seen from outside."""
    sys.path.insert(0, str(ROOT))
    graph = grimp.build_graph(*ROOTS, cache_dir=None)
    found: dict[str, set[str]] = {child: set() for child in graph.find_children(root)}
    for module in graph.find_descendants(root):
        package = _package(module)
        for other in graph.find_modules_directly_imported_by(module):
            target = _package(other) if other.startswith(root + ".") else other.partition(".")[0]
            if target not in (package, root):
                found[package].add(target)
    return found


def ranks() -> dict[str, int]:
    """Return how far down each package stands, by the contracts; what they do not name stands on top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer for contract in contracts if contract["type"] == "layers" for layer in contract["layers"]]
    return {name: rank for rank, layer in enumerate(layers, 1) for name in re.split(r"\s*[:|]\s*", layer)}


def pointing_back(found: Arrows, rank: Mapping[str, int]) -> list[str]:
    """Return the arrows that lead up, and those between two packages of one layer."""
    return sorted(
        f"{package} -> {other}"
        for package, others in found.items()
        for other in others
        if other in found and rank.get(other, 0) <= rank.get(package, 0)
    )


def table() -> str:
    """Return the tables of both roots, from the top to the bottom, and what they add up to."""
    rank = ranks()
    parts = []
    for root in ROOTS:
        found = arrows(root)
        back = pointing_back(found, rank)
        rows = [
            f"| `{package}` | {_purpose(package)} | {_imports(root, found[package], rank)} |"
            for package in _sorted(found, rank)
        ]
        count = sum(len(others & found.keys()) for others in found.values())
        parts += [
            f"**`{root}/`**: {len(found)} packages, {count} arrows between them, {len(back)} of them point back.",
            "\n".join([f"| {root} | what it is | imports |", "|---|---|---|", *rows]),
        ]
    return "\n\n".join(parts) + "\n"


def _sorted(packages: set[str] | Arrows, rank: Mapping[str, int]) -> list[str]:
    return sorted(packages, key=lambda package: (rank.get(package, 0 if "." in package else 99), package))


def _imports(root: str, others: set[str], rank: Mapping[str, int]) -> str:
    return ", ".join(other.removeprefix(root + ".") for other in _sorted(others, rank))


def _package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _purpose(package: str) -> str:
    """Return the first sentence of a package's docstring."""
    where = ROOT.joinpath(*package.split("."))
    file = where / "__init__.py" if where.is_dir() else where.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return re.split(r"(?<=[.?;])\s", text.partition("\n\n")[0].replace("\n", " "), maxsplit=1)[0].rstrip(".;")


def written(document: str) -> str:
    """Return a document with the table in its place."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT.name} has no place for the table: {BEGIN.strip()} ... {END}")
    return f"{before}{begin}\n{table()}\n{end}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
