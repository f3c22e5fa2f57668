"""The ledger against a plain model of it: any steps, in any order, each perhaps sent twice, on both servers.

Workers crash by being forgotten: what they had stays in their pending lists until somebody reclaims it. The test winds
the ledger's clock: a step takes a millisecond, a reservation or a delay ends with it or in an hour, and hours may pass.
"""

import secrets
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from service.ledger.dead_letters import Requeued
from service.ledger.ledger import Entry, Retry, Settlement
from service.ledger.orders import NewOrder, Status
from tests.orders.machine import SENDINGS, SaleMachine, result_of
from tests.orders.sale import AT_ONCE, LONG, outcomes
from tests.support import RedisServer

CONSUMERS = st.sampled_from(["w1", "w2", "w3"])
NUMBERS = st.integers(0, 999)
SELDOM = st.sampled_from([False, False, False, True])
FATES = st.sampled_from(["confirmed", "failed", "due", "due", "later", "forgotten"])
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["plain"] * 5 + ["limited"] * 3 + ["tomorrow", "yesterday", "ghost"]),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from([1, 1, 1, 2, 3]),
        st.sampled_from(["", "", "", "", "k1", "k2"]),
    ),
    min_size=1,
    max_size=4,
)


class LedgerMachine(SaleMachine):
    """What shoppers, workers, the clock and the organiser may do."""

    # The shopper

    @rule(wishes=REQUESTS, due=SELDOM, sending=SENDINGS)
    def place(self, wishes: list[tuple[str, str, int, str]], due: bool, sending: tuple[int, int]) -> None:
        """New requests, some with an idempotency key."""
        first = len(self.requests)
        names = (f"00{number:028x}" for number in range(first, first + len(wishes)))
        self.ask([self.sale.request(*wish[:3], key=wish[3], order_id=next(names)) for wish in wishes], due, sending)

    @precondition(lambda self: bool(getattr(self, "requests", None)))
    @rule(number=NUMBERS, due=st.booleans(), sending=SENDINGS)
    def place_again(self, number: int, due: bool, sending: tuple[int, int]) -> None:
        """A request from long ago once more, as it was."""
        self.ask([self.requests[number % len(self.requests)]], due, sending)

    def ask(self, requests: list[NewOrder], due: bool, sending: tuple[int, int]) -> None:
        """Place a list."""
        self.requests += requests
        shop = self.sale.under(reservation=AT_ONCE if due else LONG)

        async def place() -> list[str]:
            return outcomes(await shop.ledger.place(0, requests))

        self.told(sending, lambda: self.model.place(requests, due), place, same=True)

    @precondition(SaleMachine.some_order)
    @rule(number=NUMBERS, user=st.sampled_from(["ann", "bob"]), sending=SENDINGS)
    def cancel(self, number: int, user: str, sending: tuple[int, int]) -> None:
        """Any order, by anybody."""
        name = self.order(number, "pending")

        async def cancel() -> str:
            return (await self.sale.ledger.cancel(name, user))[0]

        self.told(sending, lambda: self.model.cancel(name, user), cancel)

    # The worker

    @rule(consumer=CONSUMERS, most=st.integers(1, 4))
    def deliver(self, consumer: str, most: int) -> None:
        """Orders are delivered in the order in which they came; whether the worker lives to see them is open."""
        self.read(consumer, most)

    def read(self, consumer: str, most: int) -> None:
        """Let a consumer read the queue."""
        entries = self.runner.run(self.sale.deliver(consumer, most))
        expected, self.model.undelivered = self.model.undelivered[:most], self.model.undelivered[most:]
        assert [entry.order_id for entry in entries] == expected
        self.entries += entries
        for entry in entries:
            order = self.model.orders[entry.order_id]
            order.entry, order.owner = entry.entry_id, consumer

    @precondition(lambda self: hasattr(self, "model") and bool(self.model.undelivered or self.model.delayed))
    @rule(consumer=CONSUMERS, fates=st.lists(FATES, min_size=3, max_size=3), sending=SENDINGS)
    def serve(self, consumer: str, fates: list[str], sending: tuple[int, int]) -> None:
        """A worker does what workers do: takes orders, ends some, puts others aside, forgets the rest."""
        self.promote_due(sending)
        known = len(self.entries)
        self.read(consumer, len(fates))
        if taken := self.entries[known:]:
            self.take(taken, sending)
        for entry, fate in zip(taken, fates, strict=False):
            if fate in ("confirmed", "failed"):
                self.end(entry.order_id, fate, sending)
            elif fate != "forgotten":
                self.put_aside(entry.order_id, fate == "due", sending)

    @precondition(SaleMachine.some_entry)
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=4), sending=SENDINGS)
    def begin(self, numbers: list[int], sending: tuple[int, int]) -> None:
        """Any entries that ever were, whoever has them now."""
        chosen = {
            entry.entry_id: entry for entry in (self.entries[-1 - number % len(self.entries)] for number in numbers)
        }
        self.take(list(chosen.values()), sending)

    def take(self, entries: list[Entry], sending: tuple[int, int]) -> None:
        """Begin a list of entries."""
        self.calls += 1

        def step() -> list[str]:
            return [self.model.begin(e.order_id, e.entry_id, self.allowed, self.calls) for e in entries]

        async def begin() -> list[str]:
            return [one.result for one in await self.sale.under(attempts=self.allowed).begin(*entries)]

        self.told(sending, step, begin)

    @precondition(SaleMachine.some_order)
    @rule(number=NUMBERS, good=st.booleans(), late=SELDOM, sending=SENDINGS)
    def settle(self, number: int, good: bool, late: bool, sending: tuple[int, int]) -> None:
        """A settlement of any order, whether or not anybody began it, and perhaps on an earlier generation of it."""
        name = self.order(number, "processing")
        self.end(name, "confirmed" if good else "failed", sending, max(self.model.orders[name].generation - late, 0))

    def end(self, name: str, fate: str, sending: tuple[int, int], generation: int | None = None) -> None:
        """Settle an order."""
        settlement = (
            Settlement(name, Status.CONFIRMED, generation=generation)
            if fate == "confirmed"
            else Settlement(name, Status.FAILED, generation=generation)
        )

        async def settle() -> str:
            return (await self.sale.ledger.settle(0, [settlement]))[0].result

        self.told(sending, lambda: self.model.settle(name, settlement.status, generation), settle)

    @precondition(SaleMachine.some_order)
    @rule(number=NUMBERS, due=st.booleans(), sending=SENDINGS)
    def defer(self, number: int, due: bool, sending: tuple[int, int]) -> None:
        """Put any order aside."""
        self.put_aside(self.order(number, "processing"), due, sending)

    def put_aside(self, name: str, due: bool, sending: tuple[int, int]) -> None:
        """Defer an order."""
        retry = Retry(name, AT_ONCE if due else LONG, "later")

        async def defer() -> str:
            return (await self.sale.under(attempts=self.allowed).ledger.defer(0, [retry]))[0]

        self.told(sending, lambda: self.model.defer(name, due, self.allowed), defer)

    @rule(consumer=CONSUMERS, leaver=CONSUMERS, sending=SENDINGS)
    def relieve(self, consumer: str, leaver: str, sending: tuple[int, int]) -> None:
        """A consumer goes in order; all others are silent: whatever anybody holds becomes this consumer's."""
        leave = self.sale.ledger.leave
        self.told(sending, lambda: len(self.model.pending_entries(leaver)), lambda: leave(0, leaver))

        def step() -> dict[str, str]:
            for order in self.model.orders.values():
                order.owner = consumer if order.entry else ""
            return self.model.pending_entries()

        async def reclaim() -> dict[str, str]:
            taken = await self.sale.ledger.reclaim(0, consumer, AT_ONCE, 1000)
            return {entry.entry_id: entry.order_id for entry in taken}

        self.told(sending, step, reclaim)

    # The clock

    @rule(sending=SENDINGS)
    def tick(self, sending: tuple[int, int]) -> None:
        """Reservations end, orders come back."""
        self.expire(sending)
        self.promote_due(sending)

    def expire(self, sending: tuple[int, int]) -> None:
        """Reservations end."""

        async def expire() -> list[str]:
            return sorted(await self.sale.ledger.expire(0))

        self.told(sending, self.model.expire, expire)

    @rule(hours=st.sampled_from([0] * 9 + [2]))
    def time_passes(self, hours: int) -> None:
        """Whatever lasts an hour is over; not often, so that orders live to meet others."""
        if hours:
            self.model.wait()
            self.wait(hours * LONG // timedelta(milliseconds=1))

    @rule(sending=SENDINGS)
    def forget(self, sending: tuple[int, int]) -> None:
        """Orders that ended are forgotten, and their figures stay."""
        keep_nothing = self.sale.under(retention=AT_ONCE).ledger
        self.told(sending, self.model.forget, lambda: keep_nothing.forget(0))

    def promote_due(self, sending: tuple[int, int]) -> None:
        """Orders come back; those that were due at one moment stand as the store says."""
        before = len(self.model.undelivered)
        self.told(sending, self.model.promote, lambda: self.sale.ledger.promote(0))
        back = self.model.undelivered[before:]
        if len(back) > 1:
            tail: Any = self.runner.run(result_of(self.client.xrevrange("{fs:00}:queue", count=len(back))))
            actual = [fields["o"] for _, fields in reversed(tail)]
            assert sorted(actual) == sorted(back)
            self.model.undelivered[before:] = actual

    # The organiser

    @rule(put=st.booleans(), units=st.integers(-6, 9), limit=st.sampled_from([None, 2, 4]), sending=SENDINGS)
    def organise(self, put: bool, units: int, limit: int | None, sending: tuple[int, int]) -> None:
        """A product is put anew, or units come and go."""
        if put:
            self.put(max(units, 0), limit, sending)
        else:
            self.restock("plain", units, sending)

    def restock(self, product: str, units: int, sending: tuple[int, int]) -> None:
        """Units come and go."""

        async def restock() -> str:
            return (await self.sale.catalogue.restock(product, units))[0]

        self.told(sending, lambda: self.model.restock(product, units), restock, same=True)

    def put(self, stock: int, limit: int | None, sending: tuple[int, int]) -> None:
        """A product is put anew: its stock is what is left from now on."""

        def step() -> str:
            product = self.model.products["limited"]
            product.limit = limit
            return self.model.restock("limited", stock - product.stock)

        async def put() -> str:
            return (await self.sale.product("limited", stock=stock, limit=limit))[0]

        self.told(sending, step, put, same=True)

    @precondition(SaleMachine.some_order)
    @rule(number=NUMBERS, fate=st.sampled_from(["requeue", "requeue due", "drop"]), sending=SENDINGS)
    def look_after(self, number: int, fate: str, sending: tuple[int, int]) -> None:
        """Requeue a dead letter, or off the list with it; sometimes for an order that is none."""
        letters = sorted(self.model.dead) if number % 4 else []
        name = letters[number % len(letters)] if letters else self.order(number)
        due = fate == "requeue due"

        async def requeue() -> Requeued:
            return (await self.sale.dead_letters.requeue([name], AT_ONCE if due else LONG))[name]

        async def drop() -> bool:
            return (await self.sale.dead_letters.drop([name]))[name]

        if fate == "drop":
            self.told(sending, lambda: self.model.drop(name), drop)
        else:
            self.told(sending, lambda: self.model.requeue(name, due), requeue, same=True)


def test_the_ledger_does_what_the_model_does(store_server: RedisServer, pytestconfig: pytest.Config) -> None:
    """A few thousand steps; `--hypothesis-seed` repeats a run."""
    forced = pytestconfig.getoption("hypothesis_seed", None)
    number = int(forced) if forced and str(forced).isdigit() else secrets.randbits(32)
    print(f"--hypothesis-seed={number}")  # noqa: T201 - shown when the test fails

    @seed(number)
    class Machine(LedgerMachine):
        server = store_server

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            database=None,
            print_blob=True,
            phases=(Phase.generate, Phase.shrink),
        ),
    )
