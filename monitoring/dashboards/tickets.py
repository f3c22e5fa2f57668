"""What the Sale dashboard tells of sales by ticket."""

from monitoring.dashboards.ledger import now, rate
from monitoring.dashboards.model import Query
from monitoring.dashboards.panels import Graph

TICKETS = Graph(
    title="Tickets",
    description="Of all products that are sold by ticket: tickets given, and those of them that have had their turn.",
    unit="short",
    width=5,
    minimum=0,
    fill=0,
    queries=(
        Query(expr=now("flash_sale_tickets_given"), legend="given"),
        Query(expr=now("flash_sale_tickets_admitted"), legend="had their turn"),
    ),
)

PLACED = Graph(
    title="Orders by admission",
    description="Orders accepted per second, of products that are sold by ticket and of those that are open to all.",
    unit="suffix:/s",
    width=6,
    minimum=0,
    stacked=True,
    colors={"open": "blue", "ticket": "purple"},
    queries=(Query(expr=rate("flash_sale_orders_placed_total", "admission"), legend="{{admission}}"),),
)
