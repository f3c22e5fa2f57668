"""Every `OTEL_*` variable with values that are valid, odd and wrong: it is obeyed, or one line names it."""

import re

import pytest
from opentelemetry.metrics import NoOpMeterProvider

from telemetry import SettingsError, Telemetry, TelemetrySettings, providers
from telemetry.export import otlp
from telemetry.otel_variables import CHECKS, prepare
from tests.support import RedisServer, eventually, free_port
from tests.support.cli import complaint, flash_sale
from tests.support.service import Fleet

LIMITS = sorted(name for name in CHECKS if name.endswith("_LIMIT"))
ODD = (
    "",
    " ",
    "x",
    "-1",
    "0",
    "1",
    "9" * 400,
    "1e400",
    "nan",
    "²",
    "true",
    "TRUE ",
    "none",
    "a=b",
    "a:b",
    "://",
    "%",
    "(",
)
ACCEPTED = {
    "OTEL_PROPAGATORS": [
        "none",
        "tracecontext",
        "Baggage, TraceContext",
        "NONE",
        "tracecontext,baggage",
        "tracecontext,",
    ],
    "OTEL_TRACES_SAMPLER": ["Always_On", "ALWAYS_OFF", "parentbased_traceidratio", "TraceIdRatio"],
    "OTEL_TRACES_EXPORTER": ["OTLP", "none", "Console"],
    "OTEL_LOGS_EXPORTER": ["Otlp", "NONE", "console"],
    "OTEL_METRICS_EXPORTER": ["prometheus", "none", "otlp", "otlp,Prometheus", "console"],
    "OTEL_EXPORTER_OTLP_PROTOCOL": ["HTTP/protobuf"],
    "OTEL_EXPORTER_OTLP_COMPRESSION": ["GZIP", "none", "Deflate"],
    "OTEL_EXPORTER_OTLP_HEADERS": ["a=b", "a=b, C=d%20e", "x-api-key=abc=="],
    "OTEL_METRICS_EXEMPLAR_FILTER": ["Trace_Based", "always_on", "ALWAYS_OFF"],
    "OTEL_SDK_DISABLED": ["TRUE", "False"],
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": ["0", "128"],
    "OTEL_BSP_EXPORT_TIMEOUT": ["0", "30000"],
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": ["otel", "OS, process", "*"],
    "OTEL_RESOURCE_ATTRIBUTES": ["", "a=b", "service.name=x,deployment.environment.name=y%2Cz"],
}
REFUSED = {
    "OTEL_PROPAGATORS": ["b3", "tracecontext,jaeger", "x" * 5000],
    "OTEL_TRACES_SAMPLER": ["jaeger_remote", "xray", "sometimes"],
    "OTEL_TRACES_EXPORTER": ["zipkin", "jaeger"],
    "OTEL_EXPORTER_OTLP_PROTOCOL": ["grpc", "http/json"],
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": ["grpc"],
    "OTEL_EXPORTER_OTLP_HEADERS": [
        "api-key: SECRET123",
        "=SECRET123",
        "a=SECRET123%0Ab",
        "a=b,SECRET123",
        "a=\N{SNOWMAN}",
    ],
    "OTEL_EXPORTER_OTLP_ENDPOINT": [
        "localhost:4318",
        "http://:4318",
        "http://a:b",
        "ftp://a",
        "http://u:SECRET123@[",
        "http://a b",
    ],
    "OTEL_EXPORTER_OTLP_CERTIFICATE": ["/nowhere.pem", "/", "\x00"],
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": ["/nowhere.pem"],
    "OTEL_BSP_EXPORT_TIMEOUT": ["soon", "-1", "1.5"],
    "OTEL_BLRP_EXPORT_TIMEOUT": ["soon"],
    "OTEL_METRICS_EXEMPLAR_FILTER": ["some"],
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": ["gcp", "otel,aws"],
    "OTEL_PYTHON_CONTEXT": ["threadlocal"],
    "OTEL_PYTHON_TRACER_PROVIDER": ["sdk_tracer_provider", "x"],
    "OTEL_PYTHON_METER_PROVIDER": ["x"],
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": ["gcp"],
    "OTEL_PYTHON_HTTPX_EXCLUDED_URLS": ["*"],
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ["*", "a,(b"],
    "OTEL_CONFIG_FILE": ["otel.yaml"],
    "OTEL_RESOURCE_ATTRIBUTES": ["SECRET123", "=b"],
}
READ_BY_SETTINGS = [
    *("OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE"),
    *("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BLRP_SCHEDULE_DELAY", "OTEL_BLRP_MAX_QUEUE_SIZE"),
    *("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "TELEMETRY_INTERCEPTOR", "TELEMETRY_TRACES_PER_SECOND"),
]


def settings(name: str, value: str) -> TelemetrySettings:
    return TelemetrySettings.from_env(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", name: value}, service_name="x"
    )


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_valid_is_taken(name: str) -> None:
    for value in ACCEPTED[name]:
        settings(name, value)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_in_one_short_line_without_secrets(name: str) -> None:
    for value in REFUSED[name]:
        with pytest.raises(SettingsError) as refused:
            settings(name, value)
        line = str(refused.value)
        assert line.startswith(f"{name}: ")
        assert "\n" not in line
        assert "SECRET123" not in line
        assert len(line) < 400


@pytest.mark.parametrize("name", [*CHECKS, *READ_BY_SETTINGS])
def test_whatever_a_variable_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by name, or the SDK's own parts can be made with it."""
    lines = []
    for value in ODD:
        try:
            taken = settings(name, value)
        except SettingsError as error:
            lines.append(str(error))
            continue
        environ = {name: value}
        prepare(environ)
        monkeypatch.delenv(name, raising=False)
        for given, text in environ.items():
            monkeypatch.setenv(given, text)
        Telemetry(taken, set_global=False).shutdown()
        if taken.otlp is not None:
            exporter = otlp.span_exporter(taken.otlp, NoOpMeterProvider())
            providers.span_processor(exporter, taken.batch, NoOpMeterProvider()).shutdown()  # type: ignore[no-untyped-call]
    assert all(re.fullmatch(rf"{name}: \S.*", line) for line in lines), lines


def test_each_limit_is_looked_at() -> None:
    """The SDK reads them as it is imported, and raises."""
    assert len(LIMITS) == 10
    for name in LIMITS:
        with pytest.raises(SettingsError, match=name):
            settings(name, "many")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_PYTHON_CONTEXT", "x"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key: SECRET123"),
    ],
)
def test_the_program_refuses_it_before_a_library_reads_it(name: str, value: str) -> None:
    for command in ("run", "audit"):
        assert complaint(flash_sale(command, env={name: value})).startswith(f"{name}: ")


@pytest.mark.parametrize("propagators", ["none", "NONE", "Baggage"])
def test_with_every_propagator_each_recorded_request_is_served(valkey_server: RedisServer, propagators: str) -> None:
    env = {
        "OTEL_PROPAGATORS": propagators,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_TRACES_SAMPLER": "Always_On",
        "PAYMENT_LATENCY_SECONDS": "0",
    }
    with Fleet(valkey_server.url, env=env) as fleet, fleet.client() as client:
        order = {"product_id": "sticker-pack", "user_id": "ada", "quantity": 1}
        for headers in ({}, {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "baggage": "a=b"}, {"traceparent": "x"}):
            placed = client.post("/orders", json=order, headers=headers)
            assert placed.status_code == 202, placed.text
        eventually(lambda: client.get("/orders/queue").json()["length"] == 0, 30, "all is settled")
        assert "Traceback" not in fleet.log
