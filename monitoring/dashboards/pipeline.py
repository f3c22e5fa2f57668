"""The Pipeline dashboard: whether the telemetry itself can be believed, and what it costs."""

from monitoring.dashboards.fleet import ALERTS, INSTANCE, OF, WINDOW
from monitoring.dashboards.model import Dashboard, Query, Row
from monitoring.dashboards.panels import Bars, Column, Figure, Graph, Table, lower, upper
from monitoring.dashboards.spans import COLLECTOR, INSIDE

OURS = "flash_sale_.+|http_server_.+|telemetry_.+|otel_sdk_.+|process_.+|target_info"
OBSERVATIONS = f"sum(increase(telemetry_observations_dropped_total{{{OF}}}[$__range]))"
SPANS = f'sum(increase(otel_sdk_processor_span_processed_total{{{OF},error_type!=""}}[$__range]))'

FIGURES = Row(
    title="Now",
    panels=(
        Figure(
            title="Targets up",
            description="Targets that answered the last scrape, of all that Prometheus knows.",
            unit="percentunit",
            width=4,
            steps=lower(0.5, 1),
            queries=(Query(expr="avg(up)"),),
        ),
        Figure(
            title="Traces recorded",
            description="Share of the traces begun now that is recorded, mean over the processes. It falls when a"
            " process begins more than TELEMETRY_TRACES_PER_SECOND.",
            unit="percentunit",
            width=4,
            queries=(Query(expr=f"avg(telemetry_sampling_ratio{{{OF}}})"),),
        ),
        Figure(
            title="Lost in the service",
            description="Spans and observations dropped in the time shown. Above 0 the traces and some of the figures"
            " do not tell all.",
            unit="short",
            decimals=0,
            width=4,
            steps=upper(1, 100),
            queries=(Query(expr=f"{OBSERVATIONS} + ({SPANS} or 0 * {OBSERVATIONS})"),),
        ),
        Figure(
            title="Errors inside the telemetry",
            description="Errors that the telemetry kept to itself in the time shown; no request saw them.",
            unit="short",
            decimals=0,
            width=4,
            steps=upper(1, 100),
            queries=(Query(expr=f"sum(increase(telemetry_failures_total{{{OF}}}[$__range]))"),),
        ),
        Figure(
            title="Series",
            description="Series that Prometheus holds in memory now.",
            unit="short",
            width=4,
            steps=upper(100_000, 500_000),
            queries=(Query(expr="sum(prometheus_tsdb_head_series)"),),
        ),
        Figure(
            title="CPU per request",
            description="CPU of the API processes, all they do, divided by the requests that they answered.",
            unit="s",
            width=4,
            queries=(
                Query(
                    expr=f"""sum(rate(process_cpu_seconds_total{{{OF},worker=~"api-.+"}}{WINDOW}))
                             / (sum(rate(http_server_request_duration_seconds_count{{{OF}}}{WINDOW})) > 0)"""
                ),
            ),
        ),
    ),
)

SCRAPES = Row(
    title="Scrapes",
    panels=(
        Table(
            title="Targets",
            description="Every target of Prometheus: whether it answered, how long it took, how much it said.",
            unit="short",
            width=12,
            height=9,
            sort="Samples",
            queries=(
                Query(expr="max by (job, instance) (up)"),
                Query(expr="max by (job, instance) (scrape_duration_seconds)"),
                Query(expr="max by (job, instance) (scrape_samples_scraped)"),
            ),
            columns=(
                Column(source="job", title="Job"),
                Column(source="instance", title="Instance"),
                Column(source="A", title="Up", unit="bool_yes_no"),
                Column(source="B", title="Duration", unit="s"),
                Column(source="C", title="Samples", unit="short"),
            ),
        ),
        Graph(
            title="Duration of a scrape",
            description="How long each target took to answer.",
            unit="s",
            width=12,
            height=9,
            minimum=0,
            fill=0,
            queries=(Query(expr="max by (job, instance) (scrape_duration_seconds)", legend="{{job}} {{instance}}"),),
        ),
        Graph(
            title="Samples taken in",
            description="Samples that Prometheus stored per second, by kind.",
            unit="suffix:/s",
            width=8,
            minimum=0,
            queries=(
                Query(
                    expr=f"sum by (type) (rate(prometheus_tsdb_head_samples_appended_total{WINDOW}))",
                    legend="{{type}}",
                ),
                Query(
                    expr=f"sum(rate(prometheus_tsdb_exemplar_exemplars_appended_total{WINDOW}))",
                    legend="exemplars",
                ),
            ),
        ),
        Graph(
            title="Duration of a rule group",
            description="How long Prometheus took to evaluate each group of rules, against its interval.",
            unit="s",
            width=8,
            minimum=0,
            fill=0,
            queries=(
                Query(
                    expr="""max by (rule_group) (label_replace(prometheus_rule_group_last_duration_seconds,
                            "rule_group", "$1", "rule_group", ".+;(.+)"))""",
                    legend="{{rule_group}}",
                ),
            ),
        ),
        Graph(
            title="Siblings that did not answer",
            description="Scrapes per minute in which a process of a target did not answer in time: its series are"
            " missing from them.",
            unit="short",
            width=8,
            minimum=0,
            queries=(
                Query(
                    expr=f"60 * sum by (instance) (rate(telemetry_worker_unreachable_total{{{OF}}}{WINDOW}))",
                    legend="{{instance}}",
                ),
            ),
        ),
    ),
)

COST = Row(
    title="Cost",
    panels=(
        Bars(
            title="Series by metric",
            description="The ten metrics of the service with the most series. Labels are bounded: more series come"
            " from more routes, statuses, products or processes only.",
            unit="short",
            width=8,
            height=10,
            queries=(
                Query(
                    expr=f'topk(10, count by (__name__) ({{__name__=~"{OURS}",{OF}}}))',
                    legend="{{__name__}}",
                ),
            ),
        ),
        Graph(
            title="Series of each target",
            description="Samples in one scrape of each target.",
            unit="short",
            width=8,
            height=10,
            minimum=0,
            fill=0,
            queries=(Query(expr="max by (job, instance) (scrape_samples_scraped)", legend="{{job}} {{instance}}"),),
        ),
        Graph(
            title="Observations without a series of their own",
            description="Per second, because an instrument has as many series as its limit; they are in the overflow"
            " series, so sums stay right.",
            unit="suffix:/s",
            width=8,
            height=10,
            minimum=0,
            queries=(
                Query(
                    expr=f"""sum by (instrument)
                             (rate(telemetry_observations_overflowed_total{{{OF}}}{WINDOW}))""",
                    legend="{{instrument}}",
                ),
            ),
        ),
    ),
)

PIPELINE = Dashboard(
    uid="flash-sale-pipeline",
    title="Flash sale: Pipeline",
    description="Scrapes, spans and the collector: whether the telemetry can be believed, and what it costs.",
    variables=(INSTANCE,),
    annotations=(ALERTS,),
    rows=(FIGURES, SCRAPES, INSIDE, COLLECTOR, COST),
)
