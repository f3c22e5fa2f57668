"""`python -m service.metrics_page` writes docs/metrics.md anew: `make docs`."""

import sys

from service.metrics import SPECS
from telemetry.self_metrics import SELF_SPECS, instrument_table

INTRODUCTION = """# Metrics

What `GET /metrics` shows. This page is made from the declarations in `service/metrics.py` by `make docs`.

At any instant a plain `sum()` over all targets is right. Series of a process carry `worker` (`api-0`, `order-0`, ...);
the slots are used again, so a process that took over looks like a counter that was reset. Series of the ledger are
read from the store once a second and exported by one fleet of processes at a time. While the store does not answer
they are left out: never a false 0, never a stale value.

When another fleet takes over the ledger's series they go on under another `instance`, from the figure where they were.
So ask how the fleet's figure grew, not for the sum of what each series grew by. In Prometheus take the largest of a
ledger series, `increase(max by (status) (flash_sale_orders_total)[1h:])`: until its next scrape of a target that does
not answer, Prometheus keeps that target's last sample beside the new exporter's, and a sum would show both. Series
with `worker` are summed.

## The sale

"""
INTERCEPTOR = """
## Requests

Recorded by the interceptor, after the stable HTTP conventions of OpenTelemetry; no handler records anything.

| name | type | labels | exported by | meaning |
|---|---|---|---|---|
| `http_server_request_duration_seconds` | histogram | `http_request_method`, `http_route`, \
`http_response_status_code` | every process (`worker`) | Duration of requests, by route template. |
| `http_server_active_requests` | gauge | `http_request_method` | every process (`worker`) | Requests under way. |

## The telemetry itself

"""
END = """
`otel_sdk_*` are the OpenTelemetry SDK's own (spans queued, exported, dropped), `process_*` those of prometheus_client.
"""


def metrics_page() -> str:
    """Return the whole of docs/metrics.md."""
    return INTRODUCTION + instrument_table(SPECS) + INTERCEPTOR + instrument_table(SELF_SPECS) + END


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
