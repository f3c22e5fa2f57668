"""What the Sale dashboard tells of money."""

from monitoring.dashboards.ledger import now
from monitoring.dashboards.model import Query, Row
from monitoring.dashboards.panels import Figure, Graph

REVENUE = now("flash_sale_revenue_minor_units", "currency")

MONEY = Row(
    title="Revenue",
    panels=(
        Figure(
            title="Revenue",
            description="What confirmed orders cost less what was refunded, all products, by currency; in its minor"
            " units, so cents where it has cents.",
            unit="short",
            width=6,
            height=8,
            queries=(Query(expr=REVENUE, legend="{{currency}}"),),
        ),
        Graph(
            title="Revenue over time",
            description="The same over the time shown: minor units of each currency. It falls where more is refunded"
            " than is confirmed.",
            unit="short",
            width=18,
            queries=(Query(expr=REVENUE, legend="{{currency}}"),),
        ),
    ),
)
