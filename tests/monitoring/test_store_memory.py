"""The store's room: a metric, a word of health before it is full, and what readiness says once it is."""

import re
from collections.abc import Iterator

import httpx
import pytest

from service.store.client import connect
from service.store.memory import StoreMemory, fullest, memory_info
from tests.conftest import MakeServer
from tests.support import RedisServer, eventually, free_port
from tests.support.service import Fleet

LIMIT = 64 * 1024 * 1024


@pytest.fixture
def server(make_server: MakeServer) -> RedisServer:
    """Return a store with a limit."""
    return make_server("valkey", maxmemory=str(LIMIT))


@pytest.fixture
def client(server: RedisServer) -> Iterator[httpx.Client]:
    """Yield a client of a service on it."""
    with Fleet(server.url) as fleet, fleet.client() as client:
        yield client


def exported(client: httpx.Client, name: str) -> list[float]:
    """Return every sample of a metric."""
    return [float(value) for value in re.findall(rf"^{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)]


def limit(client: httpx.Client) -> int | None:
    """Return the limit that health tells."""
    bound: int | None = client.get("/monitoring/health").json()["store_memory"]["limit_bytes"]
    return bound


def told(client: httpx.Client, status: str, reason: str | None) -> bool:
    """Whether health says this."""
    health = client.get("/monitoring/health").json()
    return (health["status"], health["store_reason"]) == (status, reason)


def test_a_store_that_fills_is_told_before_it_is_full(server: RedisServer, client: httpx.Client) -> None:
    eventually(lambda: exported(client, "flash_sale_store_memory_limit_bytes") == [LIMIT], 15, "the limit is told")
    with server.sync_client() as store:
        used = int(store.info("memory")["used_memory"])
        (found,) = exported(client, "flash_sale_store_memory_bytes")
        assert found == pytest.approx(used, rel=0.3)
        assert limit(client) == LIMIT
        assert told(client, "ok", None)

        def nearly_full() -> bool:  # what is used goes up and down with the clients
            store.config_set("maxmemory", int(store.info("memory")["used_memory"] / 0.95))
            return told(client, "degraded", "nearly_full")

        eventually(nearly_full, 15, "it is nearly full")
        assert client.get("/readyz").status_code == httpx.codes.OK

        store.config_set("maxmemory", 1)
        eventually(lambda: told(client, "degraded", "out_of_memory"), 15, "it is full")
        refused = client.get("/readyz")
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        assert refused.json()["detail"] == "The store takes no orders: out_of_memory."
        eventually(lambda: limit(client) == 1, 15, "health says how full")

        store.config_set("maxmemory", 0)
        eventually(lambda: told(client, "ok", None), 15, "it has room again")
        eventually(lambda: limit(client) is None, 15, "health says that there is no limit")
        eventually(lambda: exported(client, "flash_sale_store_memory_limit_bytes") == [0], 15, "and so does the metric")


async def test_a_cluster_is_as_full_as_its_fullest_primary(make_server: MakeServer) -> None:
    """Each primary is asked, whichever of them are there."""
    server = make_server("valkey", cluster_enabled="yes", cluster_port=str(free_port()), maxmemory=str(LIMIT))
    with server.sync_client() as node:
        node.cluster("addslotsrange", 0, 16383)
        eventually(lambda: node.cluster("info")["cluster_state"] == "ok", 10, "the cluster is whole")
    async with connect(server.url.replace("redis://", "redis+cluster://"), name="test") as client:
        (info,) = await memory_info(client)
    assert StoreMemory.of(info).limit_bytes == LIMIT
    buffers = {"used_memory": "900", "mem_not_counted_for_evict": "200", "maxmemory": "1000"}
    full = {"used_memory": "80", "maxmemory": "100"}
    assert fullest([buffers, full]) == StoreMemory(80, 100)
    assert fullest([buffers, {"used_memory": "5000", "maxmemory": "0"}]) == StoreMemory(700, 1000)
