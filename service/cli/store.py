"""The store that a command looks into, and what it says when that is not there."""

import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import typer

from service.cli.errors import OperatorError

if TYPE_CHECKING:
    from service.settings import Settings
    from service.store import Shards

T = TypeVar("T")

READ_SECONDS = 30.0
"""How long one answer may take: an audit reads every order."""


async def in_store(
    work: "Callable[[Shards, Settings], Awaitable[T]]", *, create: bool = False, prepare: bool = True
) -> T:
    """Do something in the store that the settings name.

    Args:
        work: What to do.
        create: Whether a store that was never used becomes one of ours.
        prepare: Whether it is made ready first, which refuses another form; else it is taken as it is.

    Raises:
        OperatorError: There is no such store, it was never used, or it does not answer.
    """
    async with _opened(create=create, prepare=prepare) as (shards, settings):
        return await work(shards, settings)


@asynccontextmanager
async def _opened(*, create: bool, prepare: bool) -> "AsyncIterator[tuple[Shards, Settings]]":
    from service.processes.fleet import store_name, store_of
    from service.processes.startup import StoreUnreachableError, open_shards
    from service.settings import Settings
    from service.store import CLIENT_ERRORS, StoreUnusedError, plain_words
    from service.store.disk import holds_data
    from telemetry import configure_logging

    settings = Settings.from_env(os.environ)
    configure_logging(level="ERROR", stream=sys.stderr, json=settings.log_format == "json")
    patient = settings.model_copy(update={"store_timeout_seconds": READ_SECONDS})
    with ExitStack() as stack:
        url, store = store_of(settings, stack)
        if store is not None:
            if not create and not holds_data(settings.data_dir):
                raise not_there(settings)
            store.start()
        try:
            opening = open_shards(patient, url, name="flash-sale-cli", wait_seconds=0, create=create, prepare=prepare)
            async with opening as shards:
                yield shards, settings
        except StoreUnusedError:
            raise not_there(settings) from None
        except StoreUnreachableError:
            raise
        except CLIENT_ERRORS as error:
            raise OperatorError(f"{store_name(settings)}: the store does not answer: {plain_words(error)}") from None


def not_there(settings: "Settings") -> OperatorError:
    """Return what to say of a place that no service has ever sold from."""
    from service.processes.fleet import store_name

    return OperatorError(
        f"no service has ever used the store {store_name(settings)}: set DATA_DIR or REDIS_URL as the service has it"
    )


def check_order_ids(order_ids: Sequence[str]) -> None:
    """Refuse what is no order id, before a store is even looked for.

    Raises:
        typer.BadParameter: One is none.
    """
    from service.ledger.orders import ORDER_ID, shard_of_order
    from service.settings import Settings

    several = Settings.from_env(os.environ).store_shards > 1  # which may have any numbers
    for order_id in order_ids:
        if not re.fullmatch(ORDER_ID, order_id) or (shard_of_order(order_id) and not several):
            raise typer.BadParameter(f"{order_id!r} is not an order id")


def time_text(moment: datetime | None) -> str:
    """Return a time as tables show it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else "-"
