"""What is recorded, beside the ratios of the objectives.

The ledger's series are the same figures whichever process exports them, and the exporter moves: for one scrape the old
series and the new one may both be there. So the largest is recorded, not the sum: a sum would jump to twice its value
and back, and increase() would take that for a counter that was reset. See docs/decisions/alerts-ledger-series.md.
"""

from monitoring.rules.model import Group, Record, Timescale


def recording_groups(t: Timescale) -> tuple[Group, ...]:
    """Return the groups of recording.yml."""
    minute = t.window("1m")
    return (
        Group(
            name="ledger",
            rules=(
                Record(record="status:flash_sale_orders_total:max", expr="max by (status) (flash_sale_orders_total)"),
                Record(
                    record="reason:flash_sale_rejections_total:max",
                    expr="max by (reason) (flash_sale_rejections_total)",
                ),
                Record(
                    record="status:flash_sale_orders_total:rate1m",
                    expr=f"rate(status:flash_sale_orders_total:max[{minute}])",
                ),
                Record(
                    record="reason:flash_sale_rejections_total:rate1m",
                    expr=f"rate(reason:flash_sale_rejections_total:max[{minute}])",
                ),
            ),
        ),
        Group(
            name="requests",
            rules=(
                Record(
                    record="route_method_status:http_server_request_duration_seconds_count:rate1m",
                    expr="sum by (http_route, http_request_method, http_response_status_code) "
                    f"(rate(http_server_request_duration_seconds_count[{minute}]))",
                ),
                Record(
                    record="result:flash_sale_payment_charges_total:rate1m",
                    expr=f"sum by (result) (rate(flash_sale_payment_charges_total[{minute}]))",
                ),
            ),
        ),
    )
