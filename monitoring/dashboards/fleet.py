"""How the dashboards ask for what every process of the service exports (label `worker`), and the marks of alerts.

Such series are added up, or shown one by one as `PROCESS`; what one process exports for all is in `ledger.py`.
"""

from monitoring.dashboards.model import Annotation, Query, Variable

OF = 'instance=~"$instance"'
WINDOW = "[$__rate_interval]"
PROCESS = "{{instance}} {{worker}}"

INSTANCE = Variable(
    name="instance",
    label="Instance",
    description="Which targets of the service; each may have several processes.",
    metric='process_start_time_seconds{worker!=""}',
    of="instance",
)

ALERTS = Annotation(
    name="Alert",
    color="orange",
    text="{{alertname}}",
    expr="""max by (alertname) (ALERTS{alertstate="firing",severity!="none"})
            unless max by (alertname) (ALERTS{alertstate="firing",severity!="none"} offset 10s)""",
)


def quantile(share: float, buckets: str, by: str = "le") -> str:
    """Return the query for a quantile of a histogram's buckets."""
    return f"histogram_quantile({share}, sum by ({by}) ({buckets}))"


def quantiles(buckets: str) -> tuple[Query, ...]:
    """Return the queries for the usual quantiles of a histogram's buckets; the last shows exemplars, the slow ones."""
    return tuple(
        Query(expr=quantile(share, buckets), legend=f"p{share * 100:.0f}", exemplar=exemplar)
        for share, exemplar in ((0.5, False), (0.95, False), (0.99, True))
    )
