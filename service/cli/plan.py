"""`flash-sale plan`: what a sale of a size needs, computed from measured costs."""

import json
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.streams import write_line

if TYPE_CHECKING:
    from service.capacity import Costs, Demand, Plan

MAX_ORDERS = 1e9


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number of anything")
    return value


def plan(
    orders_per_second: Annotated[
        float, typer.Option(min=1, max=MAX_ORDERS, callback=_finite, help="accepted orders, at the height of the sale")
    ],
    products: Annotated[int, typer.Option(min=1, max=1_000_000, help="how many are on sale")] = 100,
    hottest_share: Annotated[
        float,
        typer.Option(min=0, max=1, callback=_finite, help="of the orders, for the most wanted product; 0: all alike"),
    ] = 0.0,
    payment_seconds: Annotated[
        float, typer.Option(min=0, max=60, callback=_finite, help="how long a payment takes")
    ] = 0.2,
    concurrency: Annotated[
        int, typer.Option(min=1, max=10_000, help="payments that a worker has under way, ORDER_CONCURRENCY")
    ] = 512,
    sale_minutes: Annotated[
        float, typer.Option(min=0.1, max=525_600, callback=_finite, help="how long it goes on like that")
    ] = 10,
    replicas: Annotated[int, typer.Option(min=0, max=5, help="of each store server")] = 1,
    busy: Annotated[
        float, typer.Option(min=0.1, max=1, callback=_finite, help="share of a core that a process may use")
    ] = 0.6,
    node_cores: Annotated[int, typer.Option(min=1, max=1024, help="cores of a node")] = 8,
    node_gib: Annotated[float, typer.Option(min=1, max=65_536, callback=_finite, help="its memory")] = 32,
    node_price: Annotated[float, typer.Option(min=0, max=1e9, callback=_finite, help="per hour, in any money")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Compute what a sale needs: processes, shards, nodes, money; and what gives way first.

    From costs that were measured (docs/scaling.md says how); nothing is looked at and nothing is started. Status 1 says
    that there is no such sale, and why.
    """
    from service.capacity import Demand, make_plan, measured_costs

    demand = Demand(
        orders_per_second=orders_per_second,
        products=products,
        hottest_share=hottest_share,
        payment_seconds=payment_seconds,
        concurrency=concurrency,
        sale_minutes=sale_minutes,
        replicas=replicas,
        busy=busy,
        node_cores=node_cores,
        node_gib=node_gib,
        node_price=node_price,
    )
    costs = measured_costs()
    made = make_plan(demand, costs)
    (_report_json if as_json else _report)(demand, made, costs)
    raise typer.Exit(1 if made.impossible else 0)


def _report_json(demand: "Demand", made: "Plan", costs: "Costs") -> None:
    told = {
        "demand": asdict(demand),
        "plan": {**asdict(made), "nodes": made.nodes},
        "measured": {"taken": costs.taken, **costs.machine},
    }
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


def _report(demand: "Demand", made: "Plan", costs: "Costs") -> None:
    if made.impossible:
        write_line(f"NOT POSSIBLE: {made.impossible}")
        write_line("")
    for label, figure, more in _lines(demand, made):
        write_line(f"{label:<17}{figure:>11}  {more}".rstrip())
    write_line("")
    write_line("what gives way first, at orders/s:")
    for limit in made.breaks:
        write_line(f"{limit.orders_per_second:>12,.0f}  {limit.what}")
        write_line(f"{'':>12}    then: {limit.then}")
    write_line("")
    write_line(f"measured {costs.taken[:10]} on {costs.machine['cpu']}")


def _lines(demand: "Demand", made: "Plan") -> list[tuple[str, str, str]]:
    return [
        ("orders/s", f"{demand.orders_per_second:,.0f}", f"{demand.products} products, {demand.sale_minutes:g} min"),
        ("API processes", f"{made.api_processes:,}", f"{demand.busy:.0%} of a core each"),
        ("order workers", f"{made.worker_processes:,}", f"payments of {demand.payment_seconds:g} s"),
        ("shards", f"{made.shards:,}", f"{made.store_servers:,} store servers"),
        ("nodes", f"{made.nodes:,}", f"{made.app_nodes} + {made.store_nodes} of the store"),
        ("price an hour", f"{made.price_per_hour:,.2f}", f"{made.price_per_million_orders:.3g} a million"),
        ("store memory", f"{made.store_gib:,.1f} GiB", "at its end"),
        ("AOF", f"{made.aof_mib_per_second:,.1f} MiB/s", ""),
        ("spans/s", f"{made.spans_per_second:,.0f}", f"{made.otlp_mib_per_second:,.1f} MiB/s, logs too"),
        ("series", f"{made.series:,}", ""),
        ("connections", f"{made.connections:,}", "to each store server"),
    ]
