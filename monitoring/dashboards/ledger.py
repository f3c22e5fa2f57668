"""How the dashboards ask for what one process of all exports for the ledger.

Who exports moves between processes. While it moves, Prometheus may have the last sample of the old one and the first
of the new one at once, for up to one scrape: a sum shows twice the truth then, and `rate` of it a peak that never was.
The ledger is one, so the greatest sample is the newest count, and at rest they are equal: hence `max`, and rates over
a subquery of it. Series of processes (label `worker`) are added up as usual.
"""

SCRAPE_SECONDS = 5
"""How often Prometheus scrapes; the data source and `monitoring/prometheus/prometheus.yml` say the same."""


def now(metric: str, by: str = "") -> str:
    """Return the query for the present value of a series of the ledger, for each value of the label `by`."""
    return f"max by ({by}) ({metric})" if by else f"max({metric})"


def rate(metric: str, by: str = "") -> str:
    """Return the query for how fast a counter of the ledger grows, per second."""
    return f"rate({now(metric, by)}[$__rate_interval:{SCRAPE_SECONDS}s])"
