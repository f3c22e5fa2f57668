"""What the Sale dashboard tells of sales by ticket."""

from monitoring.dashboards.ledger import now
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
