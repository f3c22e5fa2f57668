"""The dashboard that ships with `truemeter`: requests of any service, by what every installed application exports."""

from pathlib import Path

from monitoring.dashboards.fleet import INSTANCE, OF, PROCESS, WINDOW, quantile, quantiles
from monitoring.dashboards.model import Dashboard, Query, Row
from monitoring.dashboards.panels import Column, Figure, Graph, HeatMap, Table, lower, upper
from monitoring.dashboards.service import BUCKETS, CLASSES, DURATION, ON, REQUESTS, ROUTE, failing

FILE = Path(__file__).resolve().parents[2] / "telemetry" / "monitoring" / "requests.json"
UID = "truemeter-requests"

NOW = Row(
    title="Now",
    panels=(
        Figure(
            title="Requests",
            description="Requests answered per second, on the chosen routes.",
            unit="reqps",
            decimals=1,
            width=5,
            queries=(Query(expr=f"sum({REQUESTS})"),),
        ),
        Figure(
            title="Failing",
            description="Share of the requests answered 5xx, on the chosen routes.",
            unit="percentunit",
            decimals=2,
            width=5,
            steps=upper(0.001, 0.01),
            queries=(Query(expr=failing()),),
        ),
        Figure(
            title="Duration, p99",
            description="99 of 100 requests on the chosen routes were answered within this time.",
            unit="s",
            width=5,
            steps=upper(0.5, 1),
            queries=(Query(expr=quantile(0.99, BUCKETS)),),
        ),
        Figure(
            title="Under way",
            description="Requests that are being answered at this moment.",
            unit="short",
            width=5,
            queries=(Query(expr=f"sum(http_server_active_requests{{{OF}}})"),),
        ),
        Figure(
            title="Processes",
            description="Worker processes that the last scrape had series of.",
            unit="short",
            width=4,
            steps=lower(1, 1),
            queries=(Query(expr=f'count(process_start_time_seconds{{{OF},worker!=""}})'),),
        ),
    ),
)

RED = Row(
    title="Requests, errors, durations",
    panels=(
        Graph(
            title="Requests by route",
            description="Requests answered per second.",
            unit="reqps",
            width=8,
            minimum=0,
            queries=(
                Query(
                    expr=f"sum by (http_request_method, http_route) ({REQUESTS})",
                    legend="{{http_request_method}} {{http_route}}",
                ),
            ),
        ),
        Graph(
            title="Answers by class",
            description="Requests answered per second, by class of status.",
            unit="reqps",
            width=8,
            minimum=0,
            stacked=True,
            colors=CLASSES,
            queries=(
                Query(
                    expr=f"""sum by (class) (label_replace({REQUESTS},
                             "class", "${{1}}xx", "http_response_status_code", "(.).."))""",
                    legend="{{class}}",
                ),
            ),
        ),
        Graph(
            title="Failing by route",
            description="Share of each route's requests answered 5xx.",
            unit="percentunit",
            width=8,
            minimum=0,
            room=0.01,
            queries=(Query(expr=failing("http_route"), legend="{{http_route}}"),),
        ),
        HeatMap(
            title="Durations",
            description="How many requests took how long. A dot is one request: it leads to its trace.",
            unit="s",
            width=12,
            height=9,
            queries=(
                Query(
                    expr=f"sum by (le) (increase({DURATION}_bucket{{{ON}}}{WINDOW}))", legend="{{le}}", exemplar=True
                ),
            ),
        ),
        Graph(
            title="Duration",
            description="On the chosen routes, of all answers. A diamond is one request: it leads to its trace.",
            unit="s",
            width=12,
            height=9,
            minimum=0,
            queries=quantiles(BUCKETS),
        ),
        Table(
            title="Routes",
            description="The chosen routes now: pace, failures, durations.",
            unit="short",
            width=24,
            height=7,
            sort="Requests",
            queries=(
                Query(expr=f"sum by (http_route) ({REQUESTS})"),
                Query(expr=failing("http_route")),
                Query(expr=quantile(0.5, BUCKETS, by="http_route, le")),
                Query(expr=quantile(0.99, BUCKETS, by="http_route, le")),
            ),
            columns=(
                Column(
                    source="http_route",
                    title="Route",
                    link=f"/d/{UID}?${{__url_time_range}}&var-route=${{__value.raw}}",
                ),
                Column(source="A", title="Requests", unit="reqps", decimals=2),
                Column(source="B", title="Failing", unit="percentunit", decimals=2),
                Column(source="C", title="p50", unit="s"),
                Column(source="D", title="p99", unit="s"),
            ),
        ),
    ),
)

PROCESSES = Row(
    title="Processes",
    panels=(
        Graph(
            title="CPU of each process",
            description="Share of one core, which is all that a Python process can use.",
            unit="percentunit",
            width=8,
            minimum=0,
            room=1,
            queries=(Query(expr=f'rate(process_cpu_seconds_total{{{OF},worker!=""}}{WINDOW})', legend=PROCESS),),
        ),
        Graph(
            title="Memory of each process",
            description="Resident memory, by worker process.",
            unit="bytes",
            width=8,
            minimum=0,
            fill=0,
            queries=(Query(expr=f'process_resident_memory_bytes{{{OF},worker!=""}}', legend=PROCESS),),
        ),
        Graph(
            title="Requests under way by process",
            description="Requests that each worker process is answering.",
            unit="short",
            width=8,
            minimum=0,
            queries=(Query(expr=f"sum by (instance, worker) (http_server_active_requests{{{OF}}})", legend=PROCESS),),
        ),
    ),
)

REQUESTS_DASHBOARD = Dashboard(
    uid=UID,
    title="Requests",
    description="Requests, errors and durations by route, and the worker processes, of any service with truemeter.",
    tag="truemeter",
    variables=(INSTANCE, ROUTE),
    rows=(NOW, RED, PROCESSES),
)
