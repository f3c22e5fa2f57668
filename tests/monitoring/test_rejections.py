"""Refusals of the ledger and of processes: each counts once, whoever sends it again, and outlives who decided it."""

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisDown
from redis.exceptions import TimeoutError as RedisSilent

from service.ledger.ledger import ledger_scripts
from service.monitoring.rejections import Rejections
from service.store import Shards, connect
from tests.conftest import MakeServer
from tests.orders.sale import Sale, ShardsTwice, outcomes


async def test_the_ledger_counts_what_it_refuses(store: Redis) -> None:
    """In the script that refuses; what is accepted or told again is no refusal."""
    sale = await Sale.open(store)
    await sale.product(stock=5, limit=4)
    await sale.place(
        *(sale.request(user_id="a", quantity=4, key="k"), sale.request(user_id="a", quantity=4, key="k")),
        *(sale.request(user_id="a", quantity=3, key="k"), sale.request(user_id="a")),
        *(sale.request(user_id="b", quantity=2), sale.request(user_id="c", quantity=2), sale.request("ghost")),
    )
    assert (await sale.snapshot()).rejections == {
        "idempotency_conflict": 1,
        "limit_exceeded": 1,
        "sold_out": 2,
        "unknown_product": 1,
    }


async def test_a_refusal_that_is_sent_again_stays_a_refusal(store: Redis) -> None:
    """Though the stock came back between the two: what was counted is what is answered."""

    class Restocked(ShardsTwice):
        async def run(self, step: str, shard: int, *args: Any, **rest: Any) -> Any:
            replies = []
            for _ in range(2):
                replies.append(await Shards.run(self, step, shard, *args, **rest))
                await sale.catalogue.restock("phone", 10)
            assert [reply[0] for reply in replies[0]] == [reply[0] for reply in replies[1]]
            return replies[1]

    sale = await Sale.open(store)
    await sale.product(stock=1)
    again = Sale(Restocked(store, ledger_scripts()))
    requests = [again.request(user_id="a", quantity=2), again.request(user_id="b"), again.request(user_id="c")]
    assert outcomes(await again.ledger.place(0, requests)) == ["sold_out", "accepted", "sold_out"]
    assert (await sale.snapshot()).rejections == {"sold_out": 2}
    assert len((await sale.dump()).orders) == 1


async def test_what_a_process_refuses_survives_a_store_that_is_away(make_server: MakeServer) -> None:
    """It is kept, sent again under the same number, and counts once, though nobody knows what arrived."""
    server = make_server("valkey", aof=True)
    async with connect(server.url, name="test", timeout_seconds=0.2) as client:
        sale = await Sale.open(client)
        rejections = Rejections(sale.ledger, "api-0")
        rejections.count("invalid")
        await rejections.flush()
        server.pause()
        for _ in range(3):
            rejections.count("rate_limited")
            with pytest.raises(RedisSilent):
                await rejections.flush()
        server.resume()
        await rejections.flush()
        assert (await sale.snapshot()).rejections == {"invalid": 1, "rate_limited": 3}
        server.kill9()
        rejections.count("invalid")
        with pytest.raises(RedisDown):
            await rejections.flush()
        server.restart()
        await rejections.flush()
        assert (await sale.snapshot()).rejections == {"invalid": 2, "rate_limited": 3}


async def test_two_processes_of_one_name_are_two(store: Redis) -> None:
    """A slot is used again by the next process, whose numbers begin anew."""
    sale = await Sale.open(store)
    for _ in range(2):
        rejections = Rejections(sale.ledger, "api-0")
        rejections.count("invalid")
        await rejections.flush()
    assert (await sale.snapshot()).rejections == {"invalid": 2}
