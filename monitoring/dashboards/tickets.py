"""What the Sale dashboard tells of sales by ticket."""

from monitoring.dashboards.ledger import now
from monitoring.dashboards.model import Query
from monitoring.dashboards.panels import Graph

OF = '{product_id=~"$product"}'


def _of_products(metric: str) -> str:
    """Return the series of products that are sold by ticket; a 0 where none is."""
    return f"{now(metric + OF, 'product_id')} or on () vector(0)"


TICKETS = Graph(
    title="Tickets",
    description="Of products that are sold by ticket: tickets given, and those of them that have had their turn.",
    unit="short",
    width=5,
    minimum=0,
    fill=0,
    queries=(
        Query(expr=_of_products("flash_sale_tickets_given"), legend="{{product_id}} given"),
        Query(expr=_of_products("flash_sale_tickets_admitted"), legend="{{product_id}} had their turn"),
    ),
)
