"""`flash-sale crowd`: simulated shoppers against a running service."""

from datetime import timedelta
from typing import Annotated, Any

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("crowd")(crowd)


def crowd(
    url: Annotated[str, typer.Option(help="where the API is", envvar="CROWD_URL")] = "http://localhost:8000",
    rate: Annotated[float, typer.Option(min=0, help="orders per second, at random times; 0: as fast as they can")] = 20,
    duration: Annotated[
        float | None, typer.Option(min=0.001, help="seconds; with neither this nor --orders: 30")
    ] = None,
    orders: Annotated[int | None, typer.Option(min=1, help="how many orders in all")] = None,
    users: Annotated[int, typer.Option(min=1, help="how many different shoppers")] = 1000,
    product: Annotated[
        list[str] | None,
        typer.Option(help="ID or ID=WEIGHT, may be repeated; without it, everything whose sale is open"),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=10_000, help="requests under way at one time")] = 64,
    idempotency: Annotated[float, typer.Option(min=0, max=1, help="share sent with an Idempotency-Key")] = 0.5,
    retry: Annotated[float, typer.Option(min=0, max=1, help="share sent twice with the same key")] = 0.05,
    cancel: Annotated[float, typer.Option(min=0, max=1, help="share cancelled again")] = 0.0,
    token: Annotated[str | None, typer.Option(help="bearer token of the shoppers", envvar="CROWD_TOKEN")] = None,
    watch: Annotated[int, typer.Option(min=0, help="follow so many accepted orders until they are settled")] = 0,
    seed: Annotated[int | None, typer.Option(help="the same seed gives the same shoppers")] = None,
    json: Annotated[bool, typer.Option("--json", help="the summary as JSON")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="first put the demo catalogue on sale, in a store that has no products")
    ] = False,
    truth: Annotated[bool, typer.Option("--truth", help="compare clients, ledger, /metrics and spans")] = False,
    target: Annotated[
        list[str] | None,
        typer.Option(help="with --truth: a URL of /metrics, may be repeated; without it, that of --url"),
    ] = None,
    receive: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="with --truth: receive spans on this port and count them, too"),
    ] = None,
) -> None:
    """Send a crowd of simulated shoppers to a running service and say exactly what they met.

    Latency counts from the moment an order was due, so a service that stalls cannot hide it. Exit status 1 means that
    the service broke a promise: two orders for one key, or an accepted order that is gone.

    --demo puts its products into the store itself (REDIS_URL, or the embedded store in DATA_DIR).

    --truth reads that store and every --target before and after, and ends with status 1 when two of them differ by one.
    Nobody else may use the service meanwhile: start it with CROWD=0. For --receive it sends every span:
    OTEL_TRACES_SAMPLER=always_on, OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:PORT.
    """
    from pydantic import ValidationError

    from service.cli.extras import require_crowd

    require_crowd()
    from service.crowd.command import crowd_command
    from service.crowd.plan import CrowdPlan

    given: dict[str, Any] = {"seed": seed} if seed is not None else {}
    if duration is None and orders is None:
        duration = 30
    try:
        plan = CrowdPlan(
            base_url=url,
            rate=rate,
            duration=timedelta(seconds=duration) if duration else None,
            orders=orders,
            users=users,
            mix=_mix(product) if product else None,
            concurrency=concurrency,
            idempotency_share=idempotency,
            retry_share=min(retry, idempotency),
            cancel_share=cancel,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            **given,
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise typer.BadParameter(f"{_OPTIONS.get(place, place)}: {first['msg']}") from None
    if demo:
        from service.cli.ledger import offer_demo

        offer_demo()
    if truth:
        from service.cli.truth import truth_command

        raise typer.Exit(truth_command(plan, target or [], receive, as_json=json))
    raise typer.Exit(crowd_command(plan, as_json=json, watch=watch))


_OPTIONS = {"base_url": "--url", "mix": "--product"}
"""What the fields of a plan are called here, where it is another word."""


def _mix(products: list[str]) -> dict[str, float]:
    mix = {}
    for entry in products:
        name, _, weight = entry.partition("=")
        try:
            mix[name] = float(weight or 1)
        except ValueError:
            raise typer.BadParameter(f"--product {entry}: {weight!r} is not a number") from None
    return mix
