"""Files and functions that can be read at one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.repository import ROOT, files, name

LONGEST_FILE = 300
LONGEST_FUNCTION = 40

LONG_FILES: dict[str, str] = {
    "tests/orders/test_payments.py": "one table of what a gateway may answer",
    "tests/fundamentals/test_crowd.py": "one scripted service, all that a crowd may meet there",
}
LONG_FUNCTIONS: dict[str, str] = {
    "service/cli/crowd.py:crowd": "typer makes an option of each parameter; the body is short",
    "service/cli/plan.py:plan": "as that of the crowd",
}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function of a file and its lines, from `def` to its end, without its docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docs = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) and first.end_lineno else 0
            yield f"{name(path)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1 - docs


def test_files_are_short() -> None:
    """Under 300 lines; the exceptions are few and say why, and are still exceptions."""
    long = {name(path) for path in files(".py") if len(path.read_text().splitlines()) > LONGEST_FILE}
    assert long - LONG_FILES.keys() == set()
    assert {exception for exception in LONG_FILES if (ROOT / exception).exists()} - long == set()


def test_functions_are_short() -> None:
    """Under 40 lines, docstrings aside."""
    long = {where for path in files(".py") for where, lines in functions(path) if lines > LONGEST_FUNCTION}
    assert long - LONG_FUNCTIONS.keys() == set()


def test_every_module_says_what_it_is() -> None:
    """A docstring that begins with a sentence."""
    for path in files(".py"):
        if path.read_text().strip():
            docstring = ast.get_docstring(ast.parse(path.read_text()))
            assert docstring, name(path)
            assert docstring.splitlines()[0].rstrip().endswith((".", ":", ",", "?")) or "\n" in docstring, name(path)
