"""What happens to orders and who is told of it: a row of the Service dashboard."""

from monitoring.dashboards.fleet import OF, WINDOW
from monitoring.dashboards.ledger import now, rate
from monitoring.dashboards.model import Query, Row
from monitoring.dashboards.panels import BAD, GOOD, Graph

RESULTS = {"delivered": "green", "failed": "orange", "gone": "yellow", "given_up": "red", "expired": "purple"}

EVENTS = Row(
    title="Events",
    panels=(
        Graph(
            title="Events",
            description="Changes of orders per second, as `GET /events` and the webhook tell them.",
            unit="suffix:/s",
            width=8,
            height=7,
            minimum=0,
            stacked=True,
            queries=(Query(expr=rate("flash_sale_events_total", "type"), legend="{{type}}"),),
        ),
        Graph(
            title="Webhook: behind",
            description="Age of the oldest change that the endpoint was not told of. It grows while the endpoint is"
            " down, or refuses an event. Nothing without WEBHOOK_URL.",
            unit="s",
            width=8,
            height=7,
            minimum=0,
            steps=((None, GOOD), (120, BAD)),
            limits=True,
            queries=(Query(expr=now("flash_sale_webhook_lag_seconds"), legend="oldest"),),
        ),
        Graph(
            title="Webhook: attempts",
            description="Attempts at the endpoint per second, by what came of them, and changes that went before it was"
            " told of them (expired). Nothing without WEBHOOK_URL.",
            unit="suffix:/s",
            width=8,
            height=7,
            minimum=0,
            colors=RESULTS,
            queries=(
                Query(
                    expr=f"sum by (result) (rate(flash_sale_webhook_deliveries_total{{{OF}}}{WINDOW}))",
                    legend="{{result}}",
                ),
                Query(expr=rate("flash_sale_webhook_expired_total"), legend="expired"),
            ),
        ),
    ),
)
