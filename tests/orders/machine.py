"""A store and a model of it, side by side: each step is done to both, and both must say and hold the same.

The scripts are the ledger's own but for the clock: they read the time from a key, so that a run repeats exactly.
"""

import asyncio
import copy
import operator
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.ledger.ledger import Entry, ledger_scripts
from service.ledger.once_only import OnceOnly
from service.ledger.order_list import OrderFilter
from service.ledger.orders import NewOrder
from service.ledger.refunds import Refund, refund_order
from service.store import connect
from tests.orders.feed_witness import FeedWitness, changes, states
from tests.orders.model import Model
from tests.orders.model_parts import ModelProduct
from tests.orders.sale import AT_ONCE, LONG, Sale, ShardsTwice
from tests.support import RedisServer

YEARS = timedelta(days=36500)

CLOCK = "local NOW = clock()"
NOW = "{fs:00}:test:now"
BEGINNING = 1_800_000_000_000
SENDINGS = st.sampled_from([(1, 0), (2, 0), (2, 1)])


def scripts() -> dict[str, str]:
    """Return the ledger's scripts with a clock that the test winds."""
    found = ledger_scripts()
    assert all(text.count(CLOCK) == 1 for text in found.values())
    wound = f"local NOW = tonumber(redis.call('GET', '{NOW}'))"
    return {name: text.replace(CLOCK, wound) for name, text in found.items()}


SCRIPTS = scripts()
T = TypeVar("T")


async def result_of(answer: Awaitable[T]) -> T:
    """Wait for what a client returns, which is no coroutine."""
    return await answer


class SaleMachine(RuleBasedStateMachine):
    """Does each step to the model and to the store and compares what both say and hold."""

    server: RedisServer

    @initialize(allowed=st.sampled_from([1, 1, 2, 3]))
    def open_the_sale(self, allowed: int) -> None:
        """Begin with four products, an empty queue and no orders."""
        self.server.flush()
        self.runner = asyncio.Runner()
        self.client = connect(self.server.url, name="machine")
        self.shards = ShardsTwice(self.client, SCRIPTS)
        self.sale = Sale(self.shards)
        self.witness = FeedWitness(self.sale)
        self.requests: list[NewOrder] = []
        self.entries: list[Entry] = []
        self.calls = self.asked = 0
        self.now = BEGINNING
        self.allowed = allowed
        self.model = Model(
            {
                "limited": ModelProduct(6, limit=4),
                "plain": ModelProduct(12),
                "tomorrow": ModelProduct(5, refuses="sale_not_open"),
                "yesterday": ModelProduct(5, refuses="sale_closed"),
            }
        )
        self.runner.run(self._open())

    async def _open(self) -> None:
        await self.client.set(NOW, self.now)
        await self.shards.prepare()
        now = (await self.sale.snapshot()).taken_at
        windows: dict[str, tuple[datetime, datetime | None]] = {
            "tomorrow": (now + YEARS, None),
            "yesterday": (now - 2 * LONG, now - LONG),
        }
        for name, product in self.model.products.items():
            opens, closes = windows.get(name, (None, None))
            await self.sale.product(name, stock=product.stock, limit=product.limit, opens=opens, closes=closes)

    async def _listed(self) -> list[str]:
        """Read the list of all orders, from its oldest on, a few at a time."""
        return [order.order_id async for page in self.sale.order_list.pages(OrderFilter(), 7) for order in page]

    def teardown(self) -> None:
        """Close what the run opened."""
        if hasattr(self, "runner"):
            self.runner.run(self.witness.hear_again())
            self.runner.run(self.client.aclose())
            self.runner.close()

    def wait(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now += milliseconds
        self.runner.run(result_of(self.client.set(NOW, self.now)))

    def told(
        self,
        sending: tuple[int, int],
        step: Callable[[], Any],
        call: Callable[[], Awaitable[Any]],
        *,
        same: bool = False,
    ) -> Any:
        """Do a step to the model and to the store, which may hear it twice; `same`: the second answer is the first."""
        self.wait(1)
        self.shards.times, self.shards.kept = sending
        earlier = states(self.model)
        answers = [step()]
        if self.shards.times == 2:
            before = copy.deepcopy(self.model)
            answers.append(answers[0] if same else step())
            assert self.model == before, "the model itself must not care"
        answer = self.runner.run(_awaited(call))
        self.shards.times = 1
        assert answer == answers[self.shards.kept]
        self.runner.run(self.witness.compare(changes(earlier, states(self.model))))
        return answer

    @rule(key=st.sampled_from(["a", "b", "c"]), units=st.integers(-3, 5), sending=SENDINGS)
    def restock_once(self, key: str, units: int, sending: tuple[int, int]) -> None:
        """Units come and go by a request with an idempotency key, which may be one that was used."""

        async def restock() -> tuple[str, bool]:
            once = OnceOnly(f"digest-{key}", str(units), LONG)
            changed = await self.sale.catalogue.change("restock", "plain", {"units": units}, once=once)
            return changed.change, changed.replayed

        self.told(sending, lambda: self.model.restock_once(key, "plain", units), restock, same=True)

    @rule(
        number=st.integers(0, 999),
        key=st.sampled_from(["a", "b", "", "", "", ""]),
        units=st.sampled_from([None, 1, 1, 2]),
        returns=st.booleans(),
        sending=SENDINGS,
    )
    def refund(self, number: int, key: str, units: int | None, returns: bool, sending: tuple[int, int]) -> None:
        """Units of any order are given back, by a request whose key may be one that was used."""
        if not self.model.orders:
            return
        name = self.order(number, "confirmed")
        self.asked += 1
        key = key or f"once-{self.asked}"

        async def refund() -> tuple[str, bool]:
            once = OnceOnly(f"refund-{key}", f"{name} {units} {returns}", LONG)
            wanted = Refund(order_id=name, quantity=units, return_to_stock=returns)
            answer = await refund_order(self.shards, wanted, once)
            return answer.result, answer.replayed

        self.told(sending, lambda: self.model.refund_once(key, name, units, returns=returns), refund, same=True)

    @rule()
    def give_back(self) -> None:
        """The money of the refunds of confirmed orders goes back."""

        def step() -> list[str]:
            parts = {key for key in self.model.refunds if "." in key}
            self.model.refunds -= parts
            return sorted(parts)

        async def give() -> list[str]:
            owed = [one for one in await self.sale.ledger.refunds(0, AT_ONCE, 1000) if one.part]
            await self.sale.ledger.refunds(0, AT_ONCE, 0, owed)
            return sorted(one.key for one in owed)

        self.told((1, 0), step, give)

    @rule(total=st.integers(0, 20), sending=SENDINGS)
    def put_total(self, total: int, sending: tuple[int, int]) -> None:
        """It is said how many units are on sale in all."""

        async def put() -> str:
            return (await self.sale.catalogue.patch("plain", total=total))[0]

        self.told(sending, lambda: self.model.put_total("plain", total), put, same=True)

    def order(self, number: int, *likely: str) -> str:
        """Pick an order that was accepted, more often than not one that stands as the step expects."""
        fitting = [name for name, order in self.model.orders.items() if order.status in likely and number % 4]
        orders = fitting or list(self.model.orders)
        return orders[number % len(orders)]

    def some_order(self) -> bool:
        """Say whether there is one."""
        return bool(getattr(self, "model", None) and self.model.orders)

    def some_entry(self) -> bool:
        """Say whether an entry was ever delivered."""
        return bool(getattr(self, "entries", None))

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        """Orders, units, places and totals are the same, and the store's own invariants hold."""
        if not hasattr(self, "model"):
            return
        dump, model = self.runner.run(self.sale.dump()), self.model
        assert {o.order_id: (o.status, o.attempts, o.generation) for o in dump.orders.values()} == {
            name: (o.status, o.attempts, o.generation) for name, o in model.orders.items()
        }
        units = operator.attrgetter("stock", "held", "sold", "restocked", "archived")
        assert {n: (units(p), p.per_user_limit) for n, p in dump.products.items()} == {
            n: (units(p), p.limit) for n, p in model.products.items()
        }
        figures = dump.snapshot
        assert figures.archived == model.archived
        held = len(model.pending_entries())
        assert (figures.queue_length, figures.processing) == (model.live(), held + len(model.delayed))
        assert figures.dead_letters == len(model.dead)
        assert dump.dead == model.dead
        assert {reason: n for reason, n in figures.rejections.items() if n} == model.refused
        assert set(self.runner.run(result_of(self.client.zrange("{fs:00}:refunds", 0, -1)))) == model.refunds
        assert sorted(self.runner.run(self._listed())) == sorted(model.orders)
        totals = {str(name): number for name, number in figures.orders.items()} | {"requeued": figures.requeued}
        assert totals == {name: model.totals[name] for name in totals}


async def _awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()
