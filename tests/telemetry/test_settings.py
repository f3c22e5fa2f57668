"""Reading OTEL_* and TELEMETRY_*: standard meaning, and one line that names a bad variable."""

import pytest

from telemetry import SettingsError, TelemetrySettings

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def read(**environ: str) -> TelemetrySettings:
    """Read settings from these variables alone."""
    return TelemetrySettings.from_env(environ, service_name="shop", service_version="1.0", worker="api-0")


def test_nothing_set_keeps_spans_here_and_samples_by_budget() -> None:
    """The defaults of the contract."""
    settings = read()
    assert settings.otlp is None
    assert settings.sampler is None
    assert settings.traces_per_second == 100
    assert settings.interceptor == "contrib"
    assert not settings.trust_client_sampling


def test_empty_values_count_as_unset() -> None:
    """As the specification says."""
    assert read(OTEL_TRACES_SAMPLER="", OTEL_SERVICE_NAME=" ", OTEL_EXPORTER_OTLP_ENDPOINT="") == read()


def test_names_and_resource_attributes() -> None:
    """`OTEL_SERVICE_NAME` wins over the resource attributes, and they over the code."""
    assert read(OTEL_SERVICE_NAME="other").service_name == "other"
    attributes = read(OTEL_RESOURCE_ATTRIBUTES="service.name=a%20b, deployment.environment.name = test ")
    assert attributes.service_name == "a b"
    assert attributes.resource_attributes == {"deployment.environment.name": "test"}
    both = read(OTEL_SERVICE_NAME="wins", OTEL_RESOURCE_ATTRIBUTES="service.name=loses,service.version=9")
    assert (both.service_name, both.service_version) == ("wins", "9")


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({ENDPOINT: "http://c:4318"}, "http://c:4318/v1/traces"),
        ({ENDPOINT: "http://c:4318/base/"}, "http://c:4318/base/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/take"}, "https://c/take"),
        ({ENDPOINT: "http://a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b/x"}, "http://b/x"),
        ({ENDPOINT: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_endpoint(environ: dict[str, str], endpoint: str | None) -> None:
    """The traces' own variable is a whole URL; the common one gets the path."""
    otlp = read(**environ).otlp
    assert (otlp.traces_endpoint if otlp else None) == endpoint


def test_exporter_options() -> None:
    """Headers are merged and decoded, and are not shown by `repr`."""
    otlp = read(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://c",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20secret,a=1",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS="a=2",
        OTEL_EXPORTER_OTLP_TIMEOUT="3",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    ).otlp
    assert otlp is not None
    assert otlp.headers == {"authorization": "Bearer secret", "a": "2"}
    assert otlp.timeout_seconds == 3
    assert otlp.compression == "gzip"
    assert "secret" not in repr(otlp)


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"OTEL_SDK_DISABLED": "yes"}, "OTEL_SDK_DISABLED"),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_TRACES_SAMPLER_ARG": "1.5"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({ENDPOINT: "collector:4318"}, ENDPOINT),
        ({ENDPOINT: "http://c:99999"}, ENDPOINT),
        ({ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        (
            {ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        ),
        ({ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_TIMEOUT": "0"}, "OTEL_EXPORTER_OTLP_TIMEOUT"),
        ({ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_HEADERS": "nonsense"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        (
            {ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"},
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        ),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "OTEL_BSP_MAX_QUEUE_SIZE"),
        ({"OTEL_LOGS_EXPORTER": "jaeger"}, "OTEL_LOGS_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "c:4318"}, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"),
        ({ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"),
        ({"OTEL_BLRP_MAX_QUEUE_SIZE": "0"}, "OTEL_BLRP_MAX_QUEUE_SIZE"),
        ({"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "9999"}, "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE"),
        ({"TELEMETRY_SLOW_SECONDS": "0"}, "TELEMETRY_SLOW_SECONDS"),
        ({"TELEMETRY_AFTERWARDS_PER_SECOND": "0.5"}, "TELEMETRY_AFTERWARDS_PER_SECOND"),
        (
            {"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "11"},
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        ),
        ({"OTEL_BSP_SCHEDULE_DELAY": "1.5"}, "OTEL_BSP_SCHEDULE_DELAY"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "novalue"}, "OTEL_RESOURCE_ATTRIBUTES"),
        ({"TELEMETRY_TRACES_PER_SECOND": "-1"}, "TELEMETRY_TRACES_PER_SECOND"),
        ({"TELEMETRY_TRUST_CLIENT_SAMPLING": "1"}, "TELEMETRY_TRUST_CLIENT_SAMPLING"),
        ({"TELEMETRY_INTERCEPTOR": "both"}, "TELEMETRY_INTERCEPTOR"),
    ],
)
def test_bad_value_is_one_line_that_names_the_variable(environ: dict[str, str], variable: str) -> None:
    """Each variable is checked at start."""
    with pytest.raises(SettingsError) as caught:
        read(**environ)
    message = str(caught.value)
    assert message.startswith(f"{variable}: ")
    assert "\n" not in message


def test_a_bad_endpoint_does_not_show_its_password() -> None:
    """The message leaves the value out."""
    with pytest.raises(SettingsError) as caught:
        read(OTEL_EXPORTER_OTLP_ENDPOINT="ftp://user:hunter2@c")
    assert "hunter2" not in str(caught.value)


def test_spans_and_log_lines_have_queues_of_their_own() -> None:
    """The defaults are the specification's."""
    settings = read(OTEL_BSP_MAX_QUEUE_SIZE="100", OTEL_BLRP_SCHEDULE_DELAY="250")
    assert (settings.batch.max_queue_size, settings.batch.max_export_batch_size) == (100, 100)
    assert (settings.batch.schedule_delay_millis, settings.log_batch.schedule_delay_millis) == (5000, 250)
    assert (settings.log_batch.max_queue_size, read().log_batch.schedule_delay_millis) == (2048, 1000)


def test_one_signal_may_be_sent_and_the_other_not() -> None:
    """Each has its own switch and endpoint."""
    spans_alone = read(OTEL_EXPORTER_OTLP_ENDPOINT="http://c", OTEL_LOGS_EXPORTER="none")
    assert (spans_alone.otlp is None, spans_alone.otlp_logs is None) == (False, True)
    lines_alone = read(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT="http://c/logs")
    assert (lines_alone.otlp is None, lines_alone.otlp_logs is None) == (True, False)


def test_settings_are_frozen() -> None:
    """What was read at start is what holds."""
    with pytest.raises(AttributeError):
        read().worker = "api-1"  # type: ignore[misc]
