"""Alerts of the sale itself: the ledger, the queue, the order workers, the money."""

from monitoring.rules.model import Alert, Group, Timescale


def sale_groups(t: Timescale) -> tuple[Group, ...]:
    """Return the alerts about what is sold, and about those who work it off."""
    return (
        Group(name="ledger_alerts", rules=(*_ledger(t), *_store(t))),
        Group(name="order_alerts", rules=(*_queue(t), *_workers(t), *_money(t), *_webhook(t))),
    )


def _ledger(t: Timescale) -> tuple[Alert, ...]:
    levels = ("levels", "held", "sold")
    return (
        Alert(
            name="Oversold",
            severity="page",
            expr="\nor ".join(f"min by (product_id) (flash_sale_inventory_{level}) < 0" for level in levels),
            summary="{{ $labels.product_id }} is oversold.",
            description="Stock, held or sold of {{ $labels.product_id }} is {{ $value }}: below 0.",
        ),
        Alert(
            name="LedgerDrift",
            severity="page",
            expr="max by (product_id) (abs(flash_sale_drift)) > 0",
            summary="The books of {{ $labels.product_id }} do not add up.",
            description="{{ $value }} units of {{ $labels.product_id }} cannot be explained: "
            "initial + restocked is not stock + held + sold.",
        ),
        Alert(
            name="DataSetAside",
            severity="page",
            expr="max(flash_sale_damaged_entries) > 0",
            summary="{{ $value }} foreign or damaged things were found in the store and set aside.",
            description="Somebody else writes to the store, or it lost data: flash-sale audit names each.",
        ),
        Alert(
            name="SoldOut",
            severity="info",
            expr="min by (product_id) (flash_sale_inventory_levels) == 0\n"
            "and max by (product_id) (flash_sale_inventory_held + flash_sale_inventory_sold) > 0\n"
            f"and max by (product_id) (max_over_time(flash_sale_inventory_levels[{t.window('1h')}])) > 0",
            summary="{{ $labels.product_id }} is sold out.",
            description="No unit of {{ $labels.product_id }} is left to sell; units held by orders may come back. "
            "It is told for an hour.",
        ),
    )


def _store(t: Timescale) -> tuple[Alert, ...]:
    down = f"min(flash_sale_snapshot_age_seconds) > {t.limit('5s')}"
    return (
        Alert(
            name="StoreDown",
            severity="page",
            expr=down,
            hold=t.hold("10s"),
            summary="The store takes no orders.",
            description="No API process has written to it and read it for {{ $value | humanizeDuration }}.",
        ),
        Alert(
            name="StoreNearlyFull",
            severity="page",
            expr="max(flash_sale_store_memory_bytes) / (max(flash_sale_store_memory_limit_bytes) > 0) > 0.8",
            hold=t.hold("15s"),
            summary="The store has used {{ $value | humanizePercentage }} of its memory.",
            description="With all of it used it takes no order: give it more (maxmemory), or forget old orders sooner.",
        ),
        Alert(
            name="SnapshotStale",
            severity="ticket",
            expr=f"max by (instance, worker) (flash_sale_snapshot_age_seconds) > {t.limit('10s')} unless on () {down}",
            hold=t.hold("15s"),
            summary="{{ $labels.worker }} of {{ $labels.instance }} cannot read the store; others can.",
            description="It last read the ledger {{ $value | humanizeDuration }} ago.",
        ),
        Alert(
            name="LedgerSeriesMissing",
            severity="page",
            expr=f"absent(flash_sale_queue_length) and on () min(flash_sale_snapshot_age_seconds) < {t.limit('5s')}",
            hold=t.hold("1m"),
            summary="The store answers, and nobody exports the ledger's series.",
            description="Every alert about stock, queue and orders is blind until they are back.",
        ),
    )


def _queue(t: Timescale) -> tuple[Alert, ...]:
    return (
        Alert(
            name="QueueBacklog",
            severity="page",
            expr=f"max(flash_sale_queue_predicted_wait_seconds) > {t.limit('30s')}\n"
            "and max(flash_sale_queue_length) > 50",
            hold=t.hold("30s"),
            summary="An order accepted now waits {{ $value | humanizeDuration }}.",
            description="The queue is longer than the workers can settle in 30 s at their present pace.",
        ),
        Alert(
            name="OldestOrderTooOld",
            severity="page",
            expr=f"max(flash_sale_queue_oldest_age_seconds) > {t.limit('60s')}",
            hold=t.hold("15s"),
            summary="The oldest order that is not settled is {{ $value | humanizeDuration }} old.",
            description="A buyer was told pending for that long. One order that hangs is enough for this alert.",
        ),
        Alert(
            name="DeadLetters",
            severity="ticket",
            expr="max(flash_sale_dead_letters) > 0",
            summary="{{ $value }} orders were given up and wait for a decision.",
            description="Their stock is released, their payments are given back; requeue them or drop them.",
        ),
        Alert(
            name="OrdersFailing",
            severity="page",
            expr="max(flash_sale_error_rate) > 10 and max(flash_sale_throughput) > 1",
            hold=t.hold("30s"),
            summary='{{ $value | printf "%.0f" }} % of the orders settled in the last minute failed.',
            description="Declined payments count, and orders that were given up.",
        ),
    )


def _workers(t: Timescale) -> tuple[Alert, ...]:
    return (
        Alert(
            name="WorkerStalled",
            severity="page",
            expr=f"max by (instance, worker) (flash_sale_worker_progress_age_seconds) > {t.limit('20s')}\n"
            "and on () max(flash_sale_queue_length) > 0",
            hold=t.hold("15s"),
            summary="{{ $labels.worker }} of {{ $labels.instance }} is alive and does not get on.",
            description="It has ended no attempt at an order for {{ $value | humanizeDuration }}, and orders wait.",
        ),
        Alert(
            name="OrderWorkersGone",
            severity="page",
            expr="max(flash_sale_workers) == 0",
            hold=t.hold("15s"),
            summary="No order worker is alive.",
            description="Orders are accepted and nobody settles them; reservations end after RESERVATION_TTL_SECONDS.",
        ),
    )


def _money(t: Timescale) -> tuple[Alert, ...]:
    minute, charges = t.window("1m"), "flash_sale_payment_charges_total"
    bad, declined = f'{charges}{{result!~"captured|declined"}}', f'{charges}{{result="declined"}}'
    return (
        Alert(
            name="PaymentsFailing",
            severity="page",
            expr=f"sum(rate({bad}[{minute}])) / sum(rate({charges}[{minute}])) > 0.2\n"
            f"and sum(increase({bad}[{minute}])) > 5",
            hold=t.hold("30s"),
            summary="{{ $value | humanizePercentage }} of the charges got no answer from the payment gateway.",
            description="Declined payments do not count. The orders are tried again; in the end they are dead letters.",
        ),
        Alert(
            name="PaymentsDeclined",
            severity="page",
            expr=f"sum(rate({declined}[{t.window('10m')}])) / sum(rate({charges}[{t.window('10m')}])) > 0.9\n"
            f"and sum(increase({declined}[{t.window('10m')}])) > 10",
            hold=t.hold("30s"),
            summary="{{ $value | humanizePercentage }} of the payments of the last minutes were declined.",
            description="Banks decline some, never nearly all: the gateway's account, or its fraud filter.",
        ),
        Alert(
            name="RefundsFailing",
            severity="ticket",
            expr=f'sum(increase(flash_sale_payment_refunds_total{{result="failed"}}[{t.window("5m")}])) > 0',
            summary="Payments could not be given back.",
            description='It refused {{ $value | printf "%.0f" }} refunds in 5 minutes; it is not asked again.',
        ),
    )


def _webhook(t: Timescale) -> tuple[Alert, ...]:
    window = t.window("5m")
    gone, given_up = "flash_sale_webhook_expired_total", 'flash_sale_webhook_deliveries_total{result="given_up"}'
    return (
        Alert(
            name="WebhookBehind",
            severity="ticket",
            expr=f"max(flash_sale_webhook_lag_seconds) > {t.limit('2m')}",
            hold=t.hold("30s"),
            summary="The webhook's endpoint was not told of a change that is {{ $value | humanizeDuration }} old.",
            description="It is down, slow, or refuses an event. The sale goes on; events wait in the store for a time.",
        ),
        Alert(
            name="WebhookEventsMissed",
            severity="page",
            expr=f"increase(max({gone})[{window}:{t.window('15s')}]) > 0\nor sum(increase({given_up}[{window}])) > 0",
            summary="Changes of orders will never be told to the webhook's endpoint.",
            description='{{ $value | printf "%.0f" }} in 5 minutes: too old to be kept, or refused again and again.',
        ),
    )
