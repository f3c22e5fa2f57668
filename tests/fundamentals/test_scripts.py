"""Scripts: each says what it takes and returns, and a server that forgot them is told again."""

import asyncio
import re
from importlib.resources import files

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from service.ledger.ledger import ledger_scripts
from service.store import Shards, connect, keys
from tests.conftest import MakeServer
from tests.orders.sale import LONG, Sale

FOLDER = files("service.ledger.scripts")
SOURCES = {item.name: item.read_text() for item in FOLDER.iterdir() if item.name.endswith(".lua")}
STEPS = sorted(name for name in SOURCES if not name.startswith("_"))
SHARED = "".join(SOURCES[name] for name in sorted(SOURCES) if name.startswith("_"))


@pytest.mark.parametrize("name", STEPS)
def test_a_script_has_a_header(name: str) -> None:
    """What it does, then its keys, its arguments if it has any, and what it returns, in this order."""
    header = re.match(r"(?:--.*\n)+", SOURCES[name])
    assert header is not None
    expected = ["Keys", "Args", "Returns"] if "ARGV" in SOURCES[name] else ["Keys", "Returns"]
    assert re.findall(r"^-- (Keys|Args|Returns): ", header[0], re.MULTILINE) == expected
    assert not header[0].startswith("-- Keys"), "the header begins with what the script is for"


@pytest.mark.parametrize("name", STEPS)
def test_a_script_names_no_key_outside_its_shard(name: str) -> None:
    """Every key begins with `P`, the prefix; a name of its own would be in another slot of a cluster."""
    assert "KEYS" not in SOURCES[name]
    called = re.findall(r"redis\.p?call\('([A-Z]+)', ([^,)]+)", SOURCES[name])
    named = re.findall(r"local ([\w, ]+) = (?:P \.\. |\w+_key\()", SHARED + SOURCES[name])
    keys_by_name = {word for names in named for word in names.split(", ")}
    keyless = {"TIME", "SCAN", "XGROUP", "XINFO"}
    for command, key in called:
        spelt_out = re.match(r"P \.\. |\w+_key\(", key)
        assert command in keyless or spelt_out or key in keys_by_name, (command, key)


def test_a_script_is_its_text_behind_what_all_share() -> None:
    """What begins with `_` comes first, in the order of the names."""
    scripts = ledger_scripts()
    shared = "".join(text for name, text in sorted(SOURCES.items()) if name.startswith("_"))
    assert {f"{name}.lua" for name in scripts} == set(STEPS)
    assert scripts["place"] == shared + SOURCES["place.lua"]
    assert len(set(scripts.values())) == len(scripts)


async def test_the_digest_is_the_servers(store: Redis) -> None:
    """What is called by EVALSHA is what the server computed for the same text."""
    for text in ledger_scripts().values():
        assert await store.script_load(text) == store.register_script(text).sha


async def test_a_server_that_forgot_its_scripts_is_told_again(store: Redis) -> None:
    """SCRIPT FLUSH between any two calls goes unnoticed, also under many at once, and nothing is done twice."""
    sale = await Sale.open(store)
    await store.script_flush()
    await sale.product(stock=100)
    for flush in range(3):
        await store.script_flush()
        await asyncio.gather(*[sale.buy(user_id=f"u{flush}-{number}") for number in range(10)])
        await store.script_flush()
        for begun in await sale.take():
            await store.script_flush()
            assert begun.order is not None
            assert (await sale.settle(begun.order)).result == "settled"
    assert await sale.units() == (70, 0, 30)
    await sale.dump()


async def test_a_restarted_server_is_told_again(make_server: MakeServer) -> None:
    """Orders survive a crash by the append-only file, scripts do not; the next call on the same client loads them."""
    server = make_server("valkey", aof=True)
    async with connect(server.url, name="test") as client:
        sale = await Sale.open(client)
        await sale.product()
        order = await sale.buy()
        server.kill9()
        server.start()
        assert await sale.order(order) == order
        assert [begun.result for begun in await sale.take()] == ["begun"]
        await sale.dump()


async def test_a_mistake_in_a_script_is_an_error_and_not_a_reload(store: Redis) -> None:
    """Only NOSCRIPT is answered by loading; what a script itself raises reaches the caller."""
    shards = Shards(store, {"broken": "return redis.error_reply('ERR it is broken')"})
    with pytest.raises(ResponseError, match="it is broken"):
        await shards.run("broken", 0)


async def test_two_versions_run_side_by_side(store: Redis) -> None:
    """Scripts are called by digest, so another text under the same name is another script."""
    sale = await Sale.open(store)
    scripts = ledger_scripts()
    newer = {name: text + "\n-- the next version" for name, text in scripts.items()}
    other = Sale(Shards(store, newer))
    await sale.product(stock=4)
    for turn in (sale, other, sale, other):
        await turn.buy()
    digests = [store.register_script(texts["place"]).sha for texts in (scripts, newer)]
    assert await store.script_exists(*digests) == [True, True]
    assert await sale.units() == (0, 4, 0)
    await other.dump()


async def test_a_group_is_made_once_and_again_when_it_is_lost(store: Redis) -> None:
    """Making it twice is no error and loses no entry."""
    sale = await Sale.open(store)
    await sale.product()
    order = await sale.buy()
    await sale.shards.ensure_group(0)
    await store.xgroup_destroy(keys.queue(0), keys.GROUP)
    await sale.shards.ensure_group(0)
    assert [entry.order_id for entry in await sale.deliver()] == [order.order_id]
    assert await sale.ledger.reclaim(0, "w2", LONG, 10) == []
