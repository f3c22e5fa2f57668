"""What is broken, how, and which alert must see it."""

import signal
from collections.abc import Callable
from dataclasses import dataclass

from monitoring.drill.drill_stack import DrillStack, Mode

Action = Callable[[DrillStack], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One fault.

    Attributes:
        alerts: Which must fire, and must end when the fault does; a burn-rate alert with its window.
        fault: What is done, for the table.
        begin: Does it.
        end: Undoes it.
        also: Which may fire as well, since the fault is theirs, too. No other may.
        load: What goes on meanwhile.
        within: Seconds in which the alerts fire.
        over: Seconds in which they end after the fault does.
        slow_to_resolve: They look far back and end late; the next fault is not kept waiting for it.
    """

    alerts: tuple[str, ...]
    fault: str
    begin: Action
    end: Action = DrillStack.heal
    also: frozenset[str] = frozenset()
    load: Mode = "nothing"
    within: float = 45
    over: float = 90
    slow_to_resolve: bool = False


LATE = frozenset(("OldestOrderTooOld", "QueueBacklog", "SettlementBudgetBurns"))
UNPAID = frozenset(("OrdersFailing", "DeadLetters", "PaymentsFailing"))


def _fault(name: str, **strike: float | str) -> Action:
    return lambda drilled: drilled.fault(name, **strike)


def _stop(*parts: str) -> Action:
    return lambda drilled: drilled.stack.stop(*parts)


def _start(*parts: str) -> Action:
    return lambda drilled: drilled.stack.start(*parts)


def _one_dead_letter(*faults: str) -> Action:
    def action(drilled: DrillStack) -> None:
        for fault in faults:
            drilled.fault(fault)
        drilled.buy("lamp")

    return action


def _sell_out(drilled: DrillStack) -> None:
    drilled.offer("mug", 3)
    drilled.buy("mug", 3)


def _heal_and_drop(drilled: DrillStack) -> None:
    drilled.load.mode = "nothing"
    drilled.heal()
    drilled.drop_dead_letters()


LEDGER = (
    Scenario(
        alerts=("SoldOut",),
        fault="three of three mugs are bought",
        begin=_sell_out,
        end=lambda drilled: drilled.offer("mug", 5),
    ),
    Scenario(
        alerts=("DataSetAside",),
        fault="an entry in the queue that names no order",
        begin=DrillStack.add_foreign_entry,
        end=DrillStack.forget_damage,
    ),
    Scenario(alerts=("LedgerDrift",), fault="fault ledger_drift", begin=_fault("ledger_drift")),
    Scenario(alerts=("Oversold",), fault="fault oversell", begin=_fault("oversell")),
    Scenario(
        alerts=("SnapshotStale",),
        fault="fault store_outage in one of three API processes",
        begin=_fault("store_outage", worker="api-1"),
    ),
    Scenario(
        alerts=("StoreDown",),
        fault="fault store_outage everywhere",
        begin=_fault("store_outage"),
        also=frozenset(("LedgerSeriesMissing",)),
    ),
    Scenario(
        alerts=("StoreNearlyFull",),
        fault="the store's maxmemory is lowered until nine tenths of it are used",
        begin=DrillStack.crowd_store,
        end=DrillStack.widen_store,
    ),
    Scenario(
        alerts=("LedgerSeriesMissing",),
        fault="a fleet that is not scraped holds the lease",
        begin=DrillStack.take_lease,
        end=DrillStack.return_lease,
    ),
)
QUEUE = (
    Scenario(
        alerts=("OldestOrderTooOld",),
        fault="fault payment_delay: one charge in fifty takes 15 s",
        begin=_fault("payment_delay", seconds=15, share=0.02),
        also=LATE,
        load="orders",
    ),
    Scenario(
        alerts=("QueueBacklog", "SettlementBudgetBurns 1h"),
        fault="fault payment_delay: nine charges in ten take 8 s",
        begin=_fault("payment_delay", seconds=8, share=0.9),
        also=LATE | {"WorkerStalled"},
        load="orders",
        slow_to_resolve=True,
    ),
    Scenario(
        alerts=("WorkerStalled",),
        fault="fault payment_stall",
        begin=_fault("payment_stall"),
        also=LATE,
        load="orders",
    ),
    Scenario(
        alerts=("OrderWorkersGone",),
        fault="the order worker is stopped",
        begin=_stop("worker"),
        end=_start("worker"),
        also=frozenset(("TargetMissing",)),
    ),
)
MONEY = (
    Scenario(  # first, since it looks far back for payments that were taken
        alerts=("PaymentsDeclined",),
        fault="fault payment_declines: every charge",
        begin=_fault("payment_declines", share=1.0),
        end=_heal_and_drop,
        also=UNPAID | LATE,
        load="orders",
        slow_to_resolve=True,
    ),
    Scenario(
        alerts=("DeadLetters",),
        fault="fault payment_outage, one order",
        begin=_one_dead_letter("payment_outage"),
        end=_heal_and_drop,
    ),
    Scenario(
        alerts=("RefundsFailing",),
        fault="faults payment_outage and refunds_rejected, one order",
        begin=_one_dead_letter("payment_outage", "refunds_rejected"),
        end=_heal_and_drop,
        also=UNPAID,
        slow_to_resolve=True,
    ),
    Scenario(
        alerts=("TelemetryFaulty",),
        fault="fault telemetry_misuse, one order",
        begin=_one_dead_letter("telemetry_misuse"),
        slow_to_resolve=True,
    ),
    Scenario(
        alerts=("OrdersFailing",),
        fault="fault payment_declines: half of the charges",
        begin=_fault("payment_declines", share=0.5),
        end=_heal_and_drop,
        also=UNPAID | LATE,
        load="orders",
    ),
    Scenario(
        alerts=("PaymentsFailing",),
        fault="fault payment_outage: half of the charges",
        begin=_fault("payment_outage", share=0.5),
        end=_heal_and_drop,
        also=UNPAID | LATE,
        load="orders",
    ),
)
EVENTS = (
    Scenario(
        alerts=("WebhookBehind", "WebhookEventsMissed"),
        fault="the merchant's endpoint answers 503, for longer than events are kept",
        begin=DrillStack.refuse_webhooks,
        end=DrillStack.take_webhooks,
        load="orders",
        within=60,
        slow_to_resolve=True,
    ),
)
WATCH = (
    Scenario(
        alerts=("PrometheusFaulty",),
        fault="a file of rules that cannot be read, and SIGHUP",
        begin=DrillStack.break_rules,
        end=DrillStack.mend_rules,
    ),
    Scenario(
        alerts=("AlertsNotDelivered",),
        fault="the receiver of Alertmanager answers 400",
        begin=lambda drilled: setattr(drilled.receiver, "refuses", True),
        end=lambda drilled: setattr(drilled.receiver, "refuses", False),
        also=frozenset(("Watchdog",)),
        within=90,
    ),
    Scenario(alerts=("Watchdog",), fault="Prometheus is stopped", begin=_stop("prometheus"), end=_start("prometheus")),
    Scenario(alerts=("FrontDown",), fault="the front is stopped", begin=_stop("front"), end=_start("front")),
    Scenario(alerts=("TargetMissing",), fault="an API replica is stopped", begin=_stop("api-2"), end=_start("api-2")),
    Scenario(
        alerts=("ProcessRestarting",),
        fault="one of two API processes is killed three times",
        begin=lambda drilled: drilled.kill_again("api-2", "api-1", times=3),
        end=lambda _: None,
        also=frozenset(("ProcessUnreachable", "SnapshotStale", "LedgerSeriesMissing")),
        over=150,
        slow_to_resolve=True,
    ),
    Scenario(
        alerts=("ProcessUnreachable",),
        fault="one of two API processes hangs (SIGSTOP)",
        begin=lambda drilled: drilled.signal("api-2", "api-1", signal.SIGSTOP),
        end=lambda drilled: drilled.signal("api-2", "api-1", signal.SIGCONT),
        also=frozenset(("SnapshotStale", "TargetMissing", "FrontDown", "LedgerSeriesMissing")),
    ),
    Scenario(
        alerts=("MonitoringTargetMissing", "TelemetryNotDelivered"),
        fault="the collector is stopped",
        begin=_stop("otel-collector"),
        end=_start("otel-collector"),
        load="requests",
        within=90,
        slow_to_resolve=True,
    ),
    Scenario(
        alerts=("CollectorQueueFilling", "CollectorDropping"),
        fault="Jaeger is stopped; the collector's queue holds 1500 spans",
        begin=_stop("jaeger"),
        end=_start("jaeger"),
        also=frozenset(("MonitoringTargetMissing", "TelemetryNotDelivered")),
        load="requests",
        within=150,
        slow_to_resolve=True,
    ),
)
BUDGETS = (
    Scenario(
        alerts=("AvailabilityBudgetBurns 1h",),
        fault="fault api_errors: half of the requests",
        begin=_fault("api_errors", share=0.5),
        load="requests",
        slow_to_resolve=True,
    ),
)
LATENCY = (
    Scenario(
        alerts=("LatencyBudgetBurns 1h",),
        fault="fault api_delay: requests take 1 s longer",
        begin=_fault("api_delay", seconds=1),
        load="requests",
        slow_to_resolve=True,
    ),
)
SCENARIOS = (*LATENCY, *QUEUE, *LEDGER, *MONEY, *EVENTS, *WATCH, *BUDGETS)
"""What burns a budget by shares of all events comes first: a share of few is soon a large one."""
