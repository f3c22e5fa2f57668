"""Files and functions that can be read at one go: Python, Lua, JavaScript and what else there is of code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.repository import ROOT, files, name

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40

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


BEGINS = {
    ".lua": re.compile(r"(?P<indent> *)(?:local function|function|return commit_after\(function)\b(?!.* end$)"),
    ".js": re.compile(r"(?P<indent> *)(?!(?:if|for|while|switch|else)\b)(?:\w.*)?(?:\)|=>) \{$"),
    ".go": re.compile(r"(?P<indent>\t*)func .*\{$"),
}
ENDS = {".lua": "end", ".js": "}", ".go": "}"}
COMMENTS = ("--", "//", "/*", "*")


def blocks(text: str, kind: str) -> Iterator[tuple[int, int]]:
    """Yield each function of a file that is no Python by its first line, and its lines, without comments."""
    lines = text.splitlines()
    for first, line in enumerate(lines):
        if begins := BEGINS[kind].match(line):
            end = begins["indent"] + ENDS[kind]
            last = next(place for place in range(first + 1, len(lines)) if lines[place].startswith(end))
            yield first + 1, sum(not one.lstrip().startswith(COMMENTS) for one in lines[first : last + 1])


def test_files_are_short() -> None:
    """Under 300 lines; the exceptions are few and say why, and are still exceptions."""
    code = files(".py", ".lua", ".js", ".css", ".go", ".sh")
    long = {name(path) for path in code if len(path.read_text().splitlines()) > MAX_FILE_LINES}
    assert long - LONG_FILES.keys() == set()
    assert {exception for exception in LONG_FILES if (ROOT / exception).exists()} - long == set()


def test_functions_are_short() -> None:
    """Under 40 lines, docstrings aside."""
    long = {where for path in files(".py") for where, lines in functions(path) if lines > MAX_FUNCTION_LINES}
    assert long - LONG_FUNCTIONS.keys() == set()


def test_functions_of_other_languages_are_short() -> None:
    """Lua's, JavaScript's and Go's, too; comments aside."""
    code = files(*BEGINS)
    long = {
        f"{name(path)}:{first}"
        for path in code
        for first, lines in blocks(path.read_text(), path.suffix)
        if lines > MAX_FUNCTION_LINES
    }
    assert long == set()


def test_a_long_function_of_another_language_is_seen() -> None:
    """Nested ones by themselves, and what is on one line is none."""
    body = "  -- said\n" * 50 + "  local n = 1\n" * 40
    text = f"local function short() return 1 end\nlocal function long()\n{body}end\n"
    assert list(blocks(text, ".lua")) == [(2, 42)]
    assert list(blocks("export async function one() {\n  if (a) {\n  }\n}\n", ".js")) == [(1, 4)]


def test_every_module_says_what_it_is() -> None:
    """A docstring that begins with a sentence."""
    for path in files(".py"):
        if path.read_text().strip():
            docstring = ast.get_docstring(ast.parse(path.read_text()))
            assert docstring, name(path)
            assert docstring.splitlines()[0].rstrip().endswith((".", ":", ",", "?")) or "\n" in docstring, name(path)
