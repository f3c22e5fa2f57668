"""The way of a span from the service through the OpenTelemetry Collector: two rows of the Pipeline dashboard."""

from monitoring.dashboards.fleet import OF, PROCESS, WINDOW
from monitoring.dashboards.model import Query, Row
from monitoring.dashboards.panels import BAD, GOOD, Graph

EXPORT = "otel_sdk_exporter_operation_duration_seconds"

INSIDE = Row(
    title="Inside the service",
    panels=(
        Graph(
            title="Share of traces recorded",
            description="By process. Beyond its budget (TELEMETRY_TRACES_PER_SECOND) a process records a smaller"
            " share, always whole traces.",
            unit="percentunit",
            width=8,
            minimum=0,
            maximum=1,
            fill=0,
            queries=(Query(expr=f"telemetry_sampling_ratio{{{OF}}}", legend=PROCESS),),
        ),
        Graph(
            title="Spans",
            description="Spans per second: begun (recorded or not), taken into the queue, delivered to the collector.",
            unit="suffix:/s",
            width=8,
            minimum=0,
            queries=(
                Query(
                    expr=f"""sum by (otel_span_sampling_result)
                             (rate(otel_sdk_span_started_total{{{OF}}}{WINDOW}))""",
                    legend="begun {{otel_span_sampling_result}}",
                ),
                Query(
                    expr=f"sum(rate(otel_sdk_processor_span_processed_total{{{OF}}}{WINDOW}))",
                    legend="processed",
                ),
                Query(expr=f"sum(rate(otel_sdk_exporter_span_exported_total{{{OF}}}{WINDOW}))", legend="exported"),
            ),
        ),
        Graph(
            title="The processes' queues",
            description="How full the queue of spans is. Full, it drops the oldest.",
            unit="percentunit",
            width=8,
            minimum=0,
            maximum=1,
            steps=((None, GOOD), (0.8, BAD)),
            limits=True,
            queries=(
                Query(
                    expr=f"""sum by (instance, worker) (otel_sdk_processor_span_queue_size{{{OF}}})
                             / sum by (instance, worker) (otel_sdk_processor_span_queue_capacity{{{OF}}})""",
                    legend=PROCESS,
                ),
            ),
        ),
        Graph(
            title="Exports",
            description="Requests to the collector per second, by its answer, attempts that failed and those that will"
            " be made again included; no code: no failure.",
            unit="reqps",
            width=8,
            minimum=0,
            queries=(
                Query(
                    expr=f"""sum by (otel_component_type, http_response_status_code, error_type)
                             (rate({EXPORT}_count{{{OF}}}{WINDOW}))""",
                    legend="{{otel_component_type}} {{http_response_status_code}} {{error_type}}",
                ),
            ),
        ),
        Graph(
            title="Duration of an export",
            description="Mean time that a request to the collector took, with its further attempts.",
            unit="s",
            width=8,
            minimum=0,
            queries=(
                Query(
                    expr=f"""sum by (otel_component_type) (rate({EXPORT}_sum{{{OF}}}{WINDOW}))
                             / (sum by (otel_component_type) (rate({EXPORT}_count{{{OF}}}{WINDOW})) > 0)""",
                    legend="{{otel_component_type}}",
                ),
            ),
        ),
        Graph(
            title="Failed or slow, and not recorded",
            description="Requests per second that were not recorded and then failed or were slow: their span was"
            " written afterwards, or left out beyond TELEMETRY_AFTERWARDS_PER_SECOND.",
            unit="reqps",
            width=8,
            minimum=0,
            queries=(
                Query(
                    expr=f"sum by (result) (rate(telemetry_afterwards_total{{{OF}}}{WINDOW}))",
                    legend="{{result}}",
                ),
            ),
        ),
    ),
)

BY = 'job="otel-collector"'

COLLECTOR = Row(
    title="Collector and Jaeger",
    panels=(
        Graph(
            title="Spans in and out of the collector",
            description="Spans per second that the collector accepted, that it refused, and that each exporter"
            " delivered.",
            unit="suffix:/s",
            width=8,
            minimum=0,
            queries=(
                Query(expr=f"sum(rate(otelcol_receiver_accepted_spans_total{{{BY}}}{WINDOW}))", legend="accepted"),
                Query(expr=f"sum(rate(otelcol_receiver_refused_spans_total{{{BY}}}{WINDOW}))", legend="refused"),
                Query(
                    expr=f"sum by (exporter) (rate(otelcol_exporter_sent_spans_total{{{BY}}}{WINDOW}))",
                    legend="to {{exporter}}",
                ),
            ),
        ),
        Graph(
            title="The collector's queue",
            description="How full each exporter's queue on disk is. While Jaeger is away it fills; full, spans are"
            " refused.",
            unit="percentunit",
            width=8,
            minimum=0,
            room=1,
            steps=((None, GOOD), (0.8, BAD)),
            limits=True,
            queries=(
                Query(
                    expr=f"""sum by (exporter) (otelcol_exporter_queue_size{{{BY}}})
                             / sum by (exporter) (otelcol_exporter_queue_capacity{{{BY}}})""",
                    legend="{{exporter}}",
                ),
            ),
        ),
        Graph(
            title="Memory of the collector",
            description="Resident memory; its memory limiter refuses spans before the container's limit.",
            unit="bytes",
            width=8,
            minimum=0,
            queries=(Query(expr=f"otelcol_process_memory_rss_bytes{{{BY}}}", legend="memory"),),
        ),
        Graph(
            title="Calls in recorded traces",
            description="Spans per second by operation, as the collector counts them. Of recorded traces only: compare"
            " them with each other, not with the requests.",
            unit="suffix:/s",
            width=16,
            minimum=0,
            queries=(
                Query(
                    expr=f"""topk(8, sum by (service_name, span_name)
                             (rate(traces_span_metrics_calls_total{WINDOW})))""",
                    legend="{{service_name}} {{span_name}}",
                ),
            ),
        ),
        Graph(
            title="Spans taken in by Jaeger",
            description="Spans per second that Jaeger accepted.",
            unit="suffix:/s",
            width=8,
            minimum=0,
            queries=(
                Query(
                    expr=f'sum(rate(otelcol_receiver_accepted_spans_total{{job="jaeger"}}{WINDOW}))',
                    legend="accepted",
                ),
            ),
        ),
    ),
)
