"""A client waits as long as a busy machine may take: what passes only when it is quiet is no test."""

import ast
from collections.abc import Iterator

from tests.architecture.repository import ROOT, files, name

CLIENTS = {"Client", "AsyncClient", "get", "post", "put", "patch", "delete", "request", "head"}


def clients(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls of httpx that reach another process and say nothing of a timeout."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLIENTS:
            said = {keyword.arg for keyword in node.keywords}
            if ast.unparse(node.func.value) == "httpx" and not said & {"timeout", "transport", None}:
                yield node


def test_no_client_of_a_test_has_the_five_seconds_of_httpx() -> None:
    """`tests/support/http.py` has clients that wait for longer."""
    found = [
        f"{name(path)}:{call.lineno}"
        for path in files(".py")
        if path.is_relative_to(ROOT / "tests")
        for call in clients(ast.parse(path.read_text()))
    ]
    assert found == []
