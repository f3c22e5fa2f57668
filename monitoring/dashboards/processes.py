"""How full the processes of the service are, the order workers, the live page: three rows of the Service dashboard."""

from monitoring.dashboards.fleet import OF, PROCESS, WINDOW, quantile
from monitoring.dashboards.ledger import now
from monitoring.dashboards.model import Query, Row
from monitoring.dashboards.panels import BAD, GOOD, Bars, Graph, upper

SATURATION = Row(
    title="Saturation",
    panels=(
        Graph(
            title="CPU of each process",
            room=1,
            description="Share of one core. A Python process cannot use more than one: near 1 it is full, and more"
            " processes (WORKERS) are the remedy.",
            unit="percentunit",
            width=8,
            minimum=0,
            steps=((None, GOOD), (0.9, BAD)),
            limits=True,
            queries=(Query(expr=f'rate(process_cpu_seconds_total{{{OF},worker!=""}}{WINDOW})', legend=PROCESS),),
        ),
        Graph(
            title="Memory of each process",
            description="Resident memory; API processes of a replica and order workers alike.",
            unit="bytes",
            width=8,
            minimum=0,
            fill=0,
            queries=(Query(expr=f'process_resident_memory_bytes{{{OF},worker!=""}}', legend=PROCESS),),
        ),
        Graph(
            title="Requests under way",
            description="By process. An API process refuses orders with 503 `overloaded` beyond MAX_IN_FLIGHT of them.",
            unit="short",
            width=8,
            minimum=0,
            queries=(Query(expr=f"sum by (instance, worker) (http_server_active_requests{{{OF}}})", legend=PROCESS),),
        ),
        Graph(
            title="Connections of each process",
            description="Open client connections, HTTP and WebSocket.",
            unit="short",
            width=8,
            minimum=0,
            queries=(Query(expr=f"flash_sale_active_connections{{{OF}}}", legend=PROCESS),),
        ),
        Graph(
            title="Age of the snapshot",
            room=5,
            description="Time since each process last read the ledger, normally about a second. It grows while the"
            " store does not answer.",
            unit="s",
            width=8,
            minimum=0,
            steps=((None, GOOD), (5, BAD)),
            limits=True,
            queries=(Query(expr=f"flash_sale_snapshot_age_seconds{{{OF}}}", legend=PROCESS),),
        ),
        Bars(
            title="Open files",
            description="Descriptors in use, of those that the system allows; each connection takes one.",
            unit="percentunit",
            decimals=1,
            width=8,
            minimum=0,
            maximum=1,
            steps=upper(0.7, 0.9),
            queries=(Query(expr=f'process_open_fds{{{OF},worker!=""}} / process_max_fds{{{OF}}}', legend=PROCESS),),
        ),
        Graph(
            title="Memory of the store",
            description="Used, and how much it may use (maxmemory; 0: no limit). A full store takes no order.",
            unit="bytes",
            width=8,
            minimum=0,
            queries=(
                Query(expr=now("flash_sale_store_memory_bytes"), legend="used"),
                Query(expr=now("flash_sale_store_memory_limit_bytes"), legend="limit"),
            ),
        ),
        Graph(
            title="Refused by the HTTP server",
            description="Requests per second that were refused before the application saw them, and connections that"
            " made room for others (evicted).",
            unit="suffix:/s",
            width=8,
            minimum=0,
            stacked=True,
            queries=(
                Query(
                    expr=f"sum by (reason) (rate(flash_sale_http_refused_total{{{OF}}}{WINDOW}))", legend="{{reason}}"
                ),
            ),
        ),
        Graph(
            title="What the store lacks",
            description="Shards that do not answer, and orders that were accepted and that `flash-sale audit --against`"
            " has booked as lost, ever.",
            unit="short",
            width=8,
            minimum=0,
            queries=(
                Query(expr=now("flash_sale_missing_shards"), legend="shards that do not answer"),
                Query(expr=now("flash_sale_orders_lost_total"), legend="orders lost"),
            ),
        ),
    ),
)

WORKERS = Row(
    title="Order workers",
    panels=(
        Graph(
            title="Orders settled by each worker",
            description="Orders per second whose processing ended in this worker.",
            unit="suffix:/s",
            width=8,
            minimum=0,
            stacked=True,
            queries=(Query(expr=f"rate(flash_sale_order_processing_seconds_count{{{OF}}}{WINDOW})", legend=PROCESS),),
        ),
        Graph(
            title="Processing in each worker, p95",
            description="Time from the first attempt to settled: payment and booking.",
            unit="s",
            width=8,
            minimum=0,
            queries=(
                Query(
                    expr=quantile(
                        0.95,
                        f"rate(flash_sale_order_processing_seconds_bucket{{{OF}}}{WINDOW})",
                        "instance, worker, le",
                    ),
                    legend=PROCESS,
                    exemplar=True,
                ),
            ),
        ),
        Graph(
            title="Since the last progress",
            description="Time since each worker last ended an attempt at an order or found nothing to do. A worker"
            " that is alive and hangs shows here.",
            unit="s",
            width=8,
            minimum=0,
            steps=((None, GOOD), (30, BAD)),
            limits=True,
            queries=(Query(expr=f"flash_sale_worker_progress_age_seconds{{{OF}}}", legend=PROCESS),),
        ),
        Graph(
            title="Workers alive",
            description="Order workers whose heartbeat is at most WORKER_SILENCE_SECONDS old.",
            unit="short",
            width=12,
            minimum=0,
            queries=(Query(expr=now("flash_sale_workers"), legend="workers"),),
        ),
        Graph(
            title="Restarts and refunds",
            description="Processes begun again within the last 5 minutes, and payments given back per minute because"
            " their order could not be confirmed any more.",
            unit="short",
            width=12,
            minimum=0,
            queries=(
                Query(
                    expr=f'sum by (worker) (changes(process_start_time_seconds{{{OF},worker!=""}}[5m]))',
                    legend="restarts {{worker}}",
                ),
                Query(
                    expr=f"60 * sum by (result) (rate(flash_sale_payment_refunds_total{{{OF}}}{WINDOW}))",
                    legend="refunds {{result}}",
                ),
            ),
        ),
    ),
)

LIVE = Row(
    title="Live page",
    panels=(
        Graph(
            title="Watchers",
            description="Open WebSockets of the live page, by process. More than MONITORING_MAX_CLIENTS are refused.",
            unit="short",
            width=6,
            height=7,
            minimum=0,
            queries=(Query(expr=f"flash_sale_websocket_connections{{{OF}}}", legend=PROCESS),),
        ),
        Graph(
            title="Event streams",
            description="Open streams of server-sent events, of all processes: those who follow all orders, and those"
            " who follow one each.",
            unit="short",
            width=6,
            height=7,
            minimum=0,
            queries=(Query(expr=f"sum by (route) (flash_sale_event_streams{{{OF}}})", legend="{{route}}"),),
        ),
        Graph(
            title="Snapshots sent and dropped",
            description="Per second, to all watchers. One that reads too slowly misses some; the others do not wait"
            " for it.",
            unit="suffix:/s",
            width=6,
            height=7,
            minimum=0,
            colors={"sent": "green", "dropped": "red"},
            queries=(
                Query(
                    expr=f"sum by (result) (rate(flash_sale_websocket_frames_total{{{OF}}}{WINDOW}))",
                    legend="{{result}}",
                ),
            ),
        ),
        Graph(
            title="Watchers refused",
            description="Per second, by reason: the page's origin, no token, or too many already.",
            unit="suffix:/s",
            width=6,
            height=7,
            minimum=0,
            queries=(
                Query(
                    expr=f"sum by (reason) (rate(flash_sale_websocket_refused_total{{{OF}}}{WINDOW}))",
                    legend="{{reason}}",
                ),
            ),
        ),
    ),
)
