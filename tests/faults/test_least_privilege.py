"""The user of `docs/reliability.md` with the fewest rights runs a whole sale, and may do nothing else."""

import re
from pathlib import Path

import pytest
import redis

from service.ledger.audit import dump_ledger, violations
from tests.conftest import MakeServer
from tests.faults.kit import Auditor, buy, metric, put_product, sale, statuses
from tests.support.http import http_client
from tests.support.stores import Kind

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def rights(prefix: str) -> list[str]:
    """Read the rule as it is written down, for keys behind a prefix."""
    found = re.search(r"^ACL SETUSER flash-sale (.*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert found
    return found[1].replace(">PASSWORD", ">secret").replace("'", "").replace("~", f"~{prefix}").split()


@pytest.mark.parametrize(("kind", "prefix"), [("valkey", ""), ("redis", "shop-2:")])
async def test_a_sale_with_the_fewest_rights(make_server: MakeServer, kind: Kind, prefix: str) -> None:
    """From start to audit, in its own keys alone; the store's log of refused commands stays empty."""
    store = make_server(kind)
    admin = store.sync_client()
    admin.execute_command("ACL", "SETUSER", "flash-sale", *rights(prefix))  # type: ignore[no-untyped-call]
    url = store.url.replace("redis://", "redis://flash-sale:secret@")
    env = {"STORE_PREFIX": prefix}
    async with Auditor.of(url, prefix) as auditor, sale(url, env=env, api_env=env) as (api, _):
        await put_product(api.url, stock=100)
        await buy(api.url, 5)
        assert statuses(await auditor.at_rest()) == {"confirmed": 5}
        async with http_client(api.url) as client:
            for path in ("/readyz", "/monitoring/health", "/monitoring/metrics", "/orders/queue", "/inventory"):
                assert (await client.get(path)).status_code == 200, path
        assert (await metric(api.url, "flash_sale_orders_total", "status"))["confirmed"] == 5
        assert violations(await dump_ledger(auditor.shards)) == []
        refused = admin.acl_log()
        assert [entry["object"] for entry in refused if entry["object"] != "config|get"] == []
    shop = redis.Redis.from_url(url)
    for command in (["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "SET", "maxmemory", "1"], ["GET", "others"], ["SHUTDOWN"]):
        with pytest.raises(redis.exceptions.NoPermissionError):
            shop.execute_command(*command)  # type: ignore[no-untyped-call]
