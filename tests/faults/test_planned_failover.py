"""A planned failover behind one address: open connections still lead to the old primary, which is a replica now."""

import asyncio
from time import perf_counter

import pytest

from tests.conftest import MakeServer
from tests.faults.kit import Auditor, Load, assert_kept, buy, crowd_plan, put_product, sale, statuses
from tests.faults.proxy import Proxy
from tests.support import RedisServer, wait_until
from tests.support.counts import injected
from tests.support.http import http_client
from tests.support.stores import Kind

BACK_WITHIN_SECONDS = 5.0


async def replica_of(make_server: MakeServer, kind: Kind, primary: RedisServer) -> RedisServer:
    """Start a replica and wait until it is in step."""
    replica = make_server(kind, aof=True)
    replica.sync_client().replicaof("127.0.0.1", str(primary.port))

    def in_step() -> bool:
        return bool(primary.sync_client().info("replication").get("slave0", {}).get("state") == "online")

    await wait_until(in_step, 30, "the replica is in step")
    return replica


async def fail_over(primary: RedisServer, replica: RedisServer) -> None:
    """Let the primary hand over to its replica, without losing a write."""
    primary.sync_client().execute_command("FAILOVER", "TO", "127.0.0.1", str(replica.port))  # type: ignore[no-untyped-call]
    await wait_until(lambda: replica.sync_client().info("replication")["role"] == "master", 15, "it is the primary")


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_planned_failover_behind_one_address(make_server: MakeServer, kind: Kind, seed: int) -> None:
    """Orders and the worker go on within seconds; no order is lost; nobody has to start anything anew."""
    primary = make_server(kind, aof=True)
    replica = await replica_of(make_server, kind, primary)
    async with Proxy.before(primary.url) as proxy, sale(proxy.url, api=2) as (api, _):
        await put_product(api.url, stock=1_000_000)
        async with Load(crowd_plan(api.url, seed, rate=100)) as load:
            await load.more(100)
            await fail_over(primary, replica)
            proxy.lead_to(replica.url)
            injected()
            began = perf_counter()
            await load.more(50, 15)
            assert perf_counter() - began < BACK_WITHIN_SECONDS, "orders go on"
            await load.more(100)
        async with Auditor.of(replica.url) as auditor:
            dump = await auditor.at_rest(15)
            assert_kept(dump, load.report)
            began = perf_counter()
            await buy(api.url, 20)
            await auditor.at_rest(15)
            assert perf_counter() - began < BACK_WITHIN_SECONDS, "the worker goes on"
            assert statuses(await auditor.dump()).keys() == {"confirmed"}
        async with http_client(api.url) as client:
            answers = await asyncio.gather(*(client.get("/readyz") for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
