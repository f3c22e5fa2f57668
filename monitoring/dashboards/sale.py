"""The Sale dashboard: what the manager of a sale looks at."""

from monitoring.dashboards.fleet import ALERTS, WINDOW, quantiles
from monitoring.dashboards.ledger import now, rate
from monitoring.dashboards.model import Annotation, Dashboard, Query, Row, Variable
from monitoring.dashboards.panels import BAD, GOOD, NEVER, WARN, Bars, Column, Figure, Graph, Table, lower, upper
from monitoring.dashboards.revenue import MONEY
from monitoring.dashboards.tickets import PLACED, TICKETS

OF = '{product_id=~"$product"}'
LEFT = now(f"flash_sale_inventory_levels{OF}", "product_id")
HELD = now(f"flash_sale_inventory_held{OF}", "product_id")
SOLD = now(f"flash_sale_inventory_sold{OF}", "product_id")
OPEN = now(f"flash_sale_inventory_open{OF}", "product_id")
LEAVING = f"(-deriv({LEFT}[1m:5s]) > 0)"

STATUSES = {
    "accepted": "blue",
    "confirmed": "green",
    "failed": "red",
    "expired": "orange",
    "cancelled": "purple",
    "refunded": "yellow",
}

PRODUCT = Variable(
    name="product",
    label="Product",
    description="Which products; orders and refusals are of all products.",
    metric="flash_sale_inventory_levels",
    of="product_id",
)

OPENED = Annotation(
    name="Sale opens",
    color="green",
    text="{{product_id}}",
    expr=f"""({OPEN} == 1) and on (product_id) ({now(f"flash_sale_inventory_open{OF} offset 10s", "product_id")} == 0)
             or ({OPEN} == 1) unless on (product_id) {
        now(f"max_over_time(flash_sale_inventory_open{OF}[10m] offset 10s)", "product_id")
    }""",
)
SOLD_OUT = Annotation(
    name="Sold out",
    color="red",
    text="{{product_id}}",
    expr=f"""({LEFT} == bool 0) and on (product_id) ({LEFT} == 0)
             and on (product_id) ({now(f"flash_sale_inventory_levels{OF} offset 10s", "product_id")} > 0)""",
)


FIGURES = Row(
    title="Now",
    panels=(
        Figure(
            title="Orders confirmed",
            description="Orders that were paid, since the store began.",
            unit="short",
            width=3,
            queries=(Query(expr=now('flash_sale_orders_total{status="confirmed"}')),),
        ),
        Figure(
            title="Orders accepted",
            description="Orders accepted per second; each holds its units from that moment on.",
            unit="suffix:/s",
            decimals=1,
            width=3,
            queries=(Query(expr=rate('flash_sale_orders_total{status="pending"}')),),
        ),
        Figure(
            title="Units left",
            description="Units of the chosen products that can still be sold.",
            unit="short",
            width=3,
            steps=lower(1, 10),
            queries=(Query(expr=f"sum({LEFT})"),),
        ),
        Figure(
            title="Share sold",
            description="Units sold, of all units of the chosen products.",
            unit="percentunit",
            decimals=1,
            width=3,
            minimum=0,
            maximum=1,
            queries=(Query(expr=f"sum({SOLD}) / (sum({SOLD}) + sum({HELD}) + sum({LEFT}))"),),
        ),
        Figure(
            title="Wait in the queue",
            description="Predicted for an order that is accepted now: the orders in the queue over the pace at which"
            " orders were last settled.",
            unit="s",
            width=3,
            steps=upper(5, 30),
            queries=(Query(expr=now("flash_sale_queue_predicted_wait_seconds")),),
        ),
        Figure(
            title="Failed payments",
            description="Share of the orders settled over the last 60 s that failed.",
            unit="percent",
            decimals=1,
            width=3,
            minimum=0,
            steps=upper(1, 5),
            queries=(Query(expr=now("flash_sale_error_rate")),),
        ),
        Figure(
            title="Dead letters",
            description="Orders given up after all attempts, until somebody requeues or drops them.",
            unit="short",
            width=3,
            steps=upper(1, 10),
            queries=(Query(expr=now("flash_sale_dead_letters")),),
        ),
        Figure(
            title="Unexplained units",
            description="Units that the books of the chosen products cannot explain. Anything but 0 means that the"
            " ledger is broken: stop the sale and run `flash-sale audit`.",
            unit="short",
            width=3,
            steps=NEVER,
            queries=(Query(expr=f"sum(abs({now(f'flash_sale_drift{OF}', 'product_id')}))"),),
        ),
    ),
)

ORDERS = Row(
    title="Orders and refusals",
    panels=(
        Graph(
            title="Orders",
            description="Orders per second that reached each status, all products.",
            unit="suffix:/s",
            width=9,
            minimum=0,
            colors=STATUSES,
            queries=(
                Query(expr=rate('flash_sale_orders_total{status="pending"}'), legend="accepted"),
                Query(expr=rate('flash_sale_orders_total{status!="pending"}', "status"), legend="{{status}}"),
            ),
        ),
        Graph(
            title="Refusals",
            description="Orders refused per second, by the code of the answer; reasons that never occurred are left"
            " out.",
            unit="suffix:/s",
            width=9,
            minimum=0,
            stacked=True,
            queries=(
                Query(
                    expr=f"""{rate("flash_sale_rejections_total", "reason")}
                             and on (reason) {now("flash_sale_rejections_total", "reason")} > 0""",
                    legend="{{reason}}",
                ),
            ),
        ),
        PLACED,
    ),
)

STOCK = Row(
    title="Stock",
    panels=(
        Graph(
            title="Stock left",
            description="Units left to sell, of all units of the product.",
            unit="percentunit",
            width=6,
            minimum=0,
            maximum=1,
            fill=0,
            queries=(Query(expr=f"{LEFT} / ({LEFT} + {HELD} + {SOLD})", legend="{{product_id}}"),),
        ),
        Bars(
            title="Sold or held",
            description="Units that somebody has ordered and not lost again, of all units of the product.",
            unit="percentunit",
            width=4,
            minimum=0,
            maximum=1,
            steps=((None, "blue"), (0.8, WARN), (1, GOOD)),
            queries=(Query(expr=f"1 - {LEFT} / ({LEFT} + {HELD} + {SOLD})", legend="{{product_id}}"),),
        ),
        TICKETS,
        Table(
            title="Products",
            description="Units of each product. Time to sold out: units left, divided by how fast they went over the"
            " last minute; empty while none go.",
            unit="short",
            width=9,
            sort="Sold",
            queries=(Query(expr=LEFT), Query(expr=HELD), Query(expr=SOLD), Query(expr=f"({LEFT} > 0) / {LEAVING}")),
            columns=(
                Column(
                    source="product_id",
                    title="Product",
                    link="/d/flash-sale-sale?${__url_time_range}&var-product=${__value.raw}",
                ),
                Column(source="A", title="Left", unit="short"),
                Column(source="B", title="Held", unit="short"),
                Column(source="C", title="Sold", unit="short"),
                Column(source="D", title="Time to sold out", unit="s"),
            ),
        ),
    ),
)

QUEUE = Row(
    title="Queue and waiting",
    panels=(
        Graph(
            title="In and out",
            description="Orders accepted and orders settled per second. While more come than go, the queue grows.",
            unit="suffix:/s",
            width=8,
            minimum=0,
            colors={"accepted": "blue", "settled": "green"},
            queries=(
                Query(expr=rate('flash_sale_orders_total{status="pending"}'), legend="accepted"),
                Query(expr=now("flash_sale_throughput"), legend="settled"),
            ),
        ),
        Graph(
            title="Orders in the queue",
            description="Orders waiting or being processed, and those given up as dead letters.",
            unit="short",
            width=8,
            minimum=0,
            colors={"in the queue": "blue", "dead letters": "red"},
            queries=(
                Query(expr=now("flash_sale_queue_length"), legend="in the queue"),
                Query(expr=now("flash_sale_dead_letters"), legend="dead letters"),
            ),
        ),
        Graph(
            title="Predicted wait and its error",
            description="The wait that follows from queue and pace, and by how much what buyers were told missed what"
            " they had (mean over the last 60 s; above 0: told more than they waited).",
            unit="s",
            width=8,
            colors={"predicted": "blue", "error": "orange"},
            queries=(
                Query(expr=now("flash_sale_queue_predicted_wait_seconds"), legend="predicted"),
                Query(expr=now("flash_sale_eta_error_seconds"), legend="error"),
            ),
        ),
        Graph(
            title="Wait of an order",
            description="Time from accepted to the first attempt, and the age of the oldest order that is not settled."
            " A diamond is one order: it leads to its trace.",
            unit="s",
            width=8,
            minimum=0,
            queries=(
                *quantiles(f"rate(flash_sale_order_wait_seconds_bucket{WINDOW})"),
                Query(expr=now("flash_sale_queue_oldest_age_seconds"), legend="oldest now"),
            ),
        ),
        Graph(
            title="From accepted to settled",
            description="All that a buyer waits for, against the goal of 5 s. A diamond leads to the trace of its"
            " order.",
            unit="s",
            width=8,
            minimum=0,
            steps=((None, GOOD), (5, BAD)),
            limits=True,
            queries=quantiles(f"rate(flash_sale_order_duration_seconds_bucket{WINDOW})"),
        ),
        Graph(
            title="Payments",
            description="Charges asked of the payment gateway per second, by its answer.",
            unit="suffix:/s",
            width=8,
            minimum=0,
            stacked=True,
            colors={"captured": "green", "declined": "orange", "unavailable": "red", "rejected": "purple"},
            queries=(
                Query(
                    expr=f"sum by (result) (rate(flash_sale_payment_charges_total{WINDOW}))",
                    legend="{{result}}",
                ),
            ),
        ),
    ),
)

SALE = Dashboard(
    uid="flash-sale-sale",
    title="Flash sale: Sale",
    description="Orders, stock, refusals, the queue and what buyers wait for. Read from the ledger.",
    variables=(PRODUCT,),
    annotations=(OPENED, SOLD_OUT, ALERTS),
    rows=(FIGURES, ORDERS, MONEY, STOCK, QUEUE),
)
