"""Names that libraries keep to themselves and that this package imports all the same: here, and nowhere else.

A name is looked up when a module that needs it is first imported, and such a module is imported only where it was
chosen; so a name that moves stops nobody else. `tests/telemetry/test_private_names.py` has a test for each, and
`tests/architecture/test_private_names.py` one for each private member that is used where a library's class is extended.
"""

from importlib import import_module
from importlib.metadata import version
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fastapi.telemetry._api import _RequestTelemetry as RequestTelemetry
    from opentelemetry._logs import SeverityNumber
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.instrumentation._semconv import (
        _OpenTelemetrySemanticConventionStability as SemanticConventionStability,
    )
    from opentelemetry.instrumentation._semconv import (
        _OpenTelemetryStabilitySignalType as StabilitySignalType,
    )
    from opentelemetry.instrumentation._semconv import (
        _StabilityMode as StabilityMode,
    )
    from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
    from opentelemetry.sdk._logs.export import (
        BatchLogRecordProcessor,
        LogRecordExporter,
        LogRecordExportResult,
        SimpleLogRecordProcessor,
    )
    from starlette._utils import get_route_path


class PrivateName(NamedTuple):
    """One of them.

    Attributes:
        module: where it is.
        path: what it is called there, attributes of it included.
        library: the distribution that has it.
        release: the newest release of that distribution that was seen to have it.
    """

    module: str
    path: str
    library: str
    release: str

    def find(self) -> Any:  # noqa: ANN401 - whatever it is
        """Import it.

        Raises:
            ImportError: this release of the library has it no more; the message says so in one line.
        """
        try:
            return attrgetter(self.path)(import_module(self.module))
        except (ImportError, AttributeError):
            have = f"{self.library} {version(self.library)}"
            known = f"{self.library} {self.release}"
            raise ImportError(f"{have} has no {self.module}.{self.path}, as {known} had: install that one") from None


def _fastapi(module: str, path: str) -> PrivateName:
    return PrivateName(module, path, "fastapi", "0.165.0")


def _semconv(path: str) -> PrivateName:
    module, library = "opentelemetry.instrumentation._semconv", "opentelemetry-instrumentation"
    return PrivateName(module, path, library, "0.66b2")


def _sdk_logs(module: str, path: str) -> PrivateName:
    return PrivateName(module, path, "opentelemetry-sdk", "1.45.2")


NAMES = {
    # FastAPI's telemetry of a request, which its router gives the route to: for every interceptor.
    "RequestTelemetry": _fastapi("fastapi.telemetry._api", "_RequestTelemetry"),
    # The path of a request below the prefix that its application is served under, for route templates.
    "get_route_path": PrivateName("starlette._utils", "get_route_path", "starlette", "1.10.0"),
    # Which semantic conventions the instrumentations follow, once for a process.
    "SemanticConventionStability": _semconv("_OpenTelemetrySemanticConventionStability"),
    "StabilitySignalType": _semconv("_OpenTelemetryStabilitySignalType"),
    "StabilityMode": _semconv("_StabilityMode"),
    # OpenTelemetry's log SDK, which has no other doors yet, for log lines by OTLP.
    "SeverityNumber": PrivateName("opentelemetry._logs", "SeverityNumber", "opentelemetry-api", "1.45.2"),
    "OTLPLogExporter": PrivateName(
        "opentelemetry.exporter.otlp.proto.http._log_exporter",
        "OTLPLogExporter",
        "opentelemetry-exporter-otlp-proto-http",
        "1.45.2",
    ),
    "LoggerProvider": _sdk_logs("opentelemetry.sdk._logs", "LoggerProvider"),
    "LogRecordProcessor": _sdk_logs("opentelemetry.sdk._logs", "LogRecordProcessor"),
    "ReadableLogRecord": _sdk_logs("opentelemetry.sdk._logs", "ReadableLogRecord"),
    "ReadWriteLogRecord": _sdk_logs("opentelemetry.sdk._logs", "ReadWriteLogRecord"),
    "BatchLogRecordProcessor": _sdk_logs("opentelemetry.sdk._logs.export", "BatchLogRecordProcessor"),
    "LogRecordExporter": _sdk_logs("opentelemetry.sdk._logs.export", "LogRecordExporter"),
    "LogRecordExportResult": _sdk_logs("opentelemetry.sdk._logs.export", "LogRecordExportResult"),
    "SimpleLogRecordProcessor": _sdk_logs("opentelemetry.sdk._logs.export", "SimpleLogRecordProcessor"),
}

__all__ = [
    "BatchLogRecordProcessor",
    "LogRecordExportResult",
    "LogRecordExporter",
    "LogRecordProcessor",
    "LoggerProvider",
    "OTLPLogExporter",
    "ReadWriteLogRecord",
    "ReadableLogRecord",
    "RequestTelemetry",
    "SemanticConventionStability",
    "SeverityNumber",
    "SimpleLogRecordProcessor",
    "StabilityMode",
    "StabilitySignalType",
    "get_route_path",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as `PrivateName.find`
    private = NAMES.get(name)
    if private is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return private.find()
