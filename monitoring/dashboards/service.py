"""The Service dashboard: requests, errors and durations of each route, how full the processes are, and the workers."""

from monitoring.dashboards.events import EVENTS
from monitoring.dashboards.fleet import ALERTS, INSTANCE, OF, WINDOW, quantile, quantiles
from monitoring.dashboards.model import Dashboard, Query, Row, Variable
from monitoring.dashboards.panels import BAD, GOOD, WARN, Column, Figure, Graph, HeatMap, Table, lower, upper
from monitoring.dashboards.processes import LIVE, SATURATION, WORKERS

DURATION = "http_server_request_duration_seconds"
ON = f'{OF},http_route=~"$route"'
REQUESTS = f"rate({DURATION}_count{{{ON}}}{WINDOW})"
FAILED = f'rate({DURATION}_count{{{ON},http_response_status_code=~"5.."}}{WINDOW})'
BUCKETS = f"rate({DURATION}_bucket{{{ON}}}{WINDOW})"
CLASSES = {"2xx": "green", "3xx": "blue", "4xx": "yellow", "5xx": "red"}


def failing(by: str = "") -> str:
    """Return the query for the share of requests answered 5xx, for each value of the label `by`; 0 where none was."""
    failed, requests = (f"sum by ({by}) ({of})" if by else f"sum({of})" for of in (FAILED, REQUESTS))
    return f"({failed} or 0 * {requests}) / ({requests} > 0)"


ROUTE = Variable(
    name="route",
    label="Route",
    description="Which routes, by their template.",
    metric=f"{DURATION}_count",
    of="http_route",
)

FIGURES = Row(
    title="Now",
    panels=(
        Figure(
            title="Requests",
            description="Requests answered per second, on the chosen routes.",
            unit="reqps",
            decimals=1,
            width=4,
            queries=(Query(expr=f"sum({REQUESTS})"),),
        ),
        Figure(
            title="Failing",
            description="Share of the requests answered 5xx. The goal is under 0.1 %; a refusal is an answer, not a"
            " failure.",
            unit="percentunit",
            decimals=2,
            width=4,
            steps=upper(0.001, 0.01),
            queries=(Query(expr=failing()),),
        ),
        Figure(
            title="Duration, p99",
            description="99 of 100 requests on the chosen routes were answered within this time.",
            unit="s",
            width=4,
            steps=upper(0.25, 1),
            queries=(Query(expr=quantile(0.99, BUCKETS)),),
        ),
        Figure(
            title="Under way",
            description="Requests that are being answered at this moment.",
            unit="short",
            width=4,
            queries=(Query(expr=f"sum(http_server_active_requests{{{OF}}})"),),
        ),
        Figure(
            title="Connections",
            description="Open client connections, HTTP and WebSocket.",
            unit="short",
            width=4,
            queries=(Query(expr=f"sum(flash_sale_active_connections{{{OF}}})"),),
        ),
        Figure(
            title="Processes",
            description="Processes of the service that answered the last scrape.",
            unit="short",
            width=4,
            steps=lower(1, 2),
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
            description="Requests answered per second, by class of status. 4xx are refusals and mistakes of clients.",
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
            description="Share of each route's requests answered 5xx, against the goal of 0.1 %.",
            unit="percentunit",
            width=8,
            minimum=0,
            room=0.01,
            steps=((None, GOOD), (0.001, BAD)),
            limits=True,
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
                    expr=f"sum by (le) (increase({DURATION}_bucket{{{ON}}}{WINDOW}))",
                    legend="{{le}}",
                    exemplar=True,
                ),
            ),
        ),
        Graph(
            title="Duration of POST /orders",
            description="Of all answers, refusals too. A diamond is one request: it leads to its trace.",
            unit="s",
            width=12,
            height=9,
            minimum=0,
            queries=quantiles(
                f'rate({DURATION}_bucket{{{OF},http_route="/orders",http_request_method="POST"}}{WINDOW})'
            ),
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
                    link="/d/flash-sale-service?${__url_time_range}&var-route=${__value.raw}",
                ),
                Column(source="A", title="Requests", unit="reqps", decimals=2),
                Column(source="B", title="Failing", unit="percentunit", decimals=2),
                Column(source="C", title="p50", unit="s"),
                Column(source="D", title="p99", unit="s"),
            ),
        ),
    ),
)

BUDGETS = {"availability": 0.001, "latency": 0.01, "settlement": 0.01}
"""What each objective of `monitoring/slo.yaml` allows to go wrong."""

OBJECTIVES = Row(
    title="Objectives",
    panels=tuple(
        Graph(
            title=f"Budget burnt, {told}",
            description=f"How many times faster than allowed the budget of 30 days was used up over {told}. The lines"
            " are where alerts begin: 1, 6 and 14.4 times.",
            unit="suffix:x",
            width=12,
            height=7,
            minimum=0,
            room=16,
            steps=((None, GOOD), (1, "yellow"), (6, WARN), (14.4, BAD)),
            limits=True,
            queries=tuple(
                Query(expr=f'max(slo:bad_events:ratio_rate{window}{{slo="{name}"}}) / {budget}', legend=name)
                for name, budget in BUDGETS.items()
            ),
        )
        for window, told in (("5m", "the last 5 minutes"), ("1h", "the last hour"))
    ),
)

SERVICE = Dashboard(
    uid="flash-sale-service",
    title="Flash sale: Service",
    description="Requests, errors and durations by route; how full the processes are; the order workers.",
    variables=(INSTANCE, ROUTE),
    annotations=(ALERTS,),
    rows=(FIGURES, RED, OBJECTIVES, SATURATION, WORKERS, EVENTS, LIVE),
)
