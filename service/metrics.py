"""Every instrument of this service; `service.monitoring.ledger_metrics` reads those of the ledger.

Those have scope `fleet`: no crash, restart or replica can make them wrong. Of a process alone: scope `process`.
"""

from service.ledger.feed import EVENT_TYPES
from service.ledger.orders import COUNTED
from telemetry import CounterSpec, GaugeSpec, HistogramSpec

REASONS = (
    *("invalid", "unsupported_media_type", "payload_too_large", "unauthorized", "idempotency_conflict"),
    *("unknown_product", "sale_not_open", "sale_closed", "sale_paused", "limit_exceeded", "sold_out"),
    *("ticket_required", "ticket_invalid", "not_your_turn", "rate_limited", "overloaded"),
    *("store_unavailable", "internal_error", "other"),
)
"""Why an order was refused: the `code` of the answer."""

_WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 300.0, 900.0)

ORDERS = CounterSpec(
    name="flash_sale.orders",
    unit="{order}",
    description="Orders that reached each status; pending counts the orders accepted.",
    attributes={"status": tuple(COUNTED)},
    scope="fleet",
)
PLACED = CounterSpec(
    name="flash_sale.orders.placed",
    unit="{order}",
    description="Orders accepted, by how their product was sold: with a ticket, or open to all without one.",
    attributes={"admission": ("open", "ticket")},
    scope="fleet",
)
REVENUE = GaugeSpec(
    name="flash_sale.revenue.minor_units",
    unit="{minor_unit}",
    description="What confirmed orders cost less what was refunded, in minor units of the currency.",
    attributes={"currency": None},
    scope="fleet",
)
QUEUE_LENGTH = GaugeSpec(
    name="flash_sale.queue.length",
    unit="{order}",
    description="Orders waiting or being processed.",
    scope="fleet",
)
THROUGHPUT = GaugeSpec(
    name="flash_sale.throughput",
    unit="{order}",
    description="Orders settled (confirmed or failed) per second over the last 10 s.",
    scope="fleet",
)
ERROR_RATE = GaugeSpec(
    name="flash_sale.error_rate",
    unit="{percent}",
    description="Percent of the orders settled over the last 60 s that failed; 0 when none was settled.",
    scope="fleet",
)
PROCESSING_TIME = GaugeSpec(
    name="flash_sale.processing_time_avg",
    unit="{millisecond}",
    description="Mean milliseconds from accepted to settled over the last 60 s; 0 when none was settled.",
    scope="fleet",
)
INVENTORY = GaugeSpec(
    name="flash_sale.inventory.levels",
    unit="{unit}",
    description="Units left to sell.",
    attributes={"product_id": None},
    scope="fleet",
)
HELD = GaugeSpec(
    name="flash_sale.inventory.held",
    unit="{unit}",
    description="Units held by orders that are not settled.",
    attributes={"product_id": None},
    scope="fleet",
)
SOLD = GaugeSpec(
    name="flash_sale.inventory.sold",
    unit="{unit}",
    description="Units sold.",
    attributes={"product_id": None},
    scope="fleet",
)
OPEN = GaugeSpec(
    name="flash_sale.inventory.open",
    unit="{product}",
    description="Whether the sale's window is open: 1, or 0.",
    attributes={"product_id": None},
    scope="fleet",
)
TICKETS_GIVEN = GaugeSpec(
    name="flash_sale.tickets.given",
    unit="{ticket}",
    description="Tickets given for the present lots of all products that are sold by ticket, late ones too.",
    scope="fleet",
)
TICKETS_ADMITTED = GaugeSpec(
    name="flash_sale.tickets.admitted",
    unit="{ticket}",
    description="How many of them have had their turn to order; none before a product's lot is drawn.",
    scope="fleet",
)
DRIFT = GaugeSpec(
    name="flash_sale.drift",
    unit="{unit}",
    description="Units that the ledger cannot explain: initial + restocked - stock - held - sold. 0, or it is broken.",
    attributes={"product_id": None},
    scope="fleet",
)
OLDEST_AGE = GaugeSpec(
    name="flash_sale.queue.oldest_age",
    unit="s",
    description="Age of the oldest order that is not settled; 0 when there is none.",
    scope="fleet",
)
DAMAGED = GaugeSpec(
    name="flash_sale.damaged_entries",
    unit="{entry}",
    description="What was found foreign or damaged in the store and set aside; `flash-sale audit` names each.",
    scope="fleet",
)
LOST = CounterSpec(
    name="flash_sale.orders.lost",
    unit="{order}",
    description="Orders acknowledged that are gone, as `flash-sale audit --against ... --refund` found and booked.",
    scope="fleet",
)
MISSING_SHARDS = GaugeSpec(
    name="flash_sale.missing_shards",
    unit="{shard}",
    description="Shards of the store that did not answer: gauges lack them, counters have what they last said.",
    scope="fleet",
)
DEAD_LETTERS = GaugeSpec(
    name="flash_sale.dead_letters",
    unit="{order}",
    description="Orders given up and not yet requeued or dropped.",
    scope="fleet",
)
PREDICTED_WAIT = GaugeSpec(
    name="flash_sale.queue.predicted_wait",
    unit="s",
    description="Orders in the queue over the workers' pace, 0 while none is known. Those in hand count, unlike in a "
    "buyer's estimate: workers that took everything and hang leave no line.",
    scope="fleet",
)
LIVE_WORKERS = GaugeSpec(
    name="flash_sale.workers",
    unit="{worker}",
    description="Order workers whose heartbeat is at most WORKER_SILENCE_SECONDS old.",
    scope="fleet",
)
ETA_ERROR = GaugeSpec(
    name="flash_sale.eta.error",
    unit="s",
    description="Predicted minus actual wait, mean over orders begun in the last 60 s; 0 when none had a prediction.",
    scope="fleet",
)
REJECTIONS = CounterSpec(
    name="flash_sale.rejections",
    unit="{order}",
    description="Orders refused, by the code of the answer.",
    attributes={"reason": REASONS},
    scope="fleet",
)
EVENTS = CounterSpec(
    name="flash_sale.events",
    unit="{event}",
    description="Changes of orders, by the type of the event that tells of them; a refund of a part is one, too.",
    attributes={"type": tuple(EVENT_TYPES.values())},
    scope="fleet",
)
ORDER_WAIT = HistogramSpec(
    name="flash_sale.order.wait",
    unit="s",
    description="Time from accepted to the first attempt.",
    buckets=_WAIT_BUCKETS,
)
ORDER_PROCESSING = HistogramSpec(
    name="flash_sale.order.processing",
    unit="s",
    description="Time from the first attempt to settled.",
    buckets=_WAIT_BUCKETS,
)
ORDER_DURATION = HistogramSpec(
    name="flash_sale.order.duration",
    unit="s",
    description="Time from accepted to settled.",
    buckets=_WAIT_BUCKETS,
)
WORKER_PROGRESS_AGE = GaugeSpec(
    name="flash_sale.worker.progress_age",
    unit="s",
    description="Time since this order worker last ended an attempt at an order, or found that it had nothing to do.",
)
CHARGES = CounterSpec(
    name="flash_sale.payment.charges",
    unit="{charge}",
    description="Charges asked of the payment gateway, by its answer; failed is a defect in the gateway's client.",
    attributes={"result": ("captured", "declined", "unavailable", "rejected", "failed")},
)
ACTIVE_CONNECTIONS = GaugeSpec(
    name="flash_sale.active_connections",
    unit="{connection}",
    description="Open client connections, HTTP and WebSocket.",
)
HTTP_REFUSED = CounterSpec(
    name="flash_sale.http.refused",
    unit="{request}",
    description="Requests refused, and connections ended, by the HTTP server before the application saw a request, by "
    "the code of the answer; evicted: a silent connection that made room for a new one.",
    attributes={
        "reason": (
            *("bad_request", "request_timeout", "uri_too_long", "headers_too_large", "not_implemented"),
            *("overloaded", "version_not_supported", "host_refused", "evicted"),
        )
    },
)
WATCHERS = GaugeSpec(
    name="flash_sale.websocket.connections",
    unit="{connection}",
    description="Open WebSockets of /monitoring.",
)
EVENT_STREAMS = GaugeSpec(
    name="flash_sale.event_streams",
    unit="{stream}",
    description="Open streams of server-sent events, by route: of those who follow all orders, and one order each.",
    attributes={"route": ("/events", "/orders/{order_id}/events")},
)
FRAMES = CounterSpec(
    name="flash_sale.websocket.frames",
    unit="{frame}",
    description="Snapshots for those who watch: sent, or dropped because a client read too slowly.",
    attributes={"result": ("sent", "dropped")},
)
WATCHERS_REFUSED = CounterSpec(
    name="flash_sale.websocket.refused",
    unit="{connection}",
    description="WebSockets refused: the page's origin, no token, or as many as MONITORING_MAX_CLIENTS.",
    attributes={"reason": ("origin", "token", "full")},
)
SNAPSHOT_AGE = GaugeSpec(
    name="flash_sale.snapshot.age",
    unit="s",
    description="Time since the store last took a write and was read; the ledger's series are left out meanwhile.",
)
STORE_MEMORY = GaugeSpec(
    name="flash_sale.store.memory",
    unit="By",
    description="Memory that the store uses of its limit; of a cluster, that of the fullest primary.",
    scope="fleet",
)
STORE_MEMORY_LIMIT = GaugeSpec(
    name="flash_sale.store.memory.limit",
    unit="By",
    description="Memory that the store may use (maxmemory), beyond which it takes no order; 0 where it has no limit.",
    scope="fleet",
)
PAYMENTS_REFUNDED = CounterSpec(
    name="flash_sale.payment.refunds",
    unit="{payment}",
    description="Payments given back because their order could not be confirmed any more, by result.",
    attributes={"result": ("refunded", "failed")},
)

WEBHOOK_DELIVERIES = CounterSpec(
    name="flash_sale.webhook.deliveries",
    unit="{attempt}",
    description="Attempts to tell the webhook's endpoint of an event: delivered, failed, or gone (410, it wants no "
    "more); given_up: an event that it went on refusing while it took others.",
    attributes={"result": ("delivered", "failed", "gone", "given_up")},
)
WEBHOOK_LAG = GaugeSpec(
    name="flash_sale.webhook.lag",
    unit="s",
    description="Age of the oldest change of an order that the webhook was not told of; left out without WEBHOOK_URL.",
    scope="fleet",
)
WEBHOOK_EXPIRED = CounterSpec(
    name="flash_sale.webhook.expired",
    unit="{event}",
    description="Changes of orders that were not kept until the webhook was told; left out without WEBHOOK_URL.",
    scope="fleet",
)
WINDOWS_DROPPED = CounterSpec(
    name="flash_sale.windows.dropped",
    unit="{request}",
    description="Requests missing in the windows because the store was away too long; they count in all else.",
)

SPECS = (
    *(ORDERS, REVENUE, QUEUE_LENGTH, THROUGHPUT, ERROR_RATE, ACTIVE_CONNECTIONS, PROCESSING_TIME, INVENTORY),
    *(HELD, SOLD, OPEN, DRIFT, OLDEST_AGE, DEAD_LETTERS, DAMAGED, LOST, ETA_ERROR, REJECTIONS, EVENTS),
    *(ORDER_WAIT, ORDER_PROCESSING, PREDICTED_WAIT, LIVE_WORKERS, ORDER_DURATION, WORKER_PROGRESS_AGE, CHARGES),
    *(HTTP_REFUSED, WATCHERS, FRAMES, WATCHERS_REFUSED, SNAPSHOT_AGE, PAYMENTS_REFUNDED, WINDOWS_DROPPED),
    *(STORE_MEMORY, STORE_MEMORY_LIMIT, MISSING_SHARDS, TICKETS_GIVEN, TICKETS_ADMITTED, PLACED, EVENT_STREAMS),
    *(WEBHOOK_DELIVERIES, WEBHOOK_LAG, WEBHOOK_EXPIRED),
)
