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
    filled = re.findall(r"(\w+)\[\w+\] = P \.\. ", SOURCES[name])
    keys_by_name |= {f"unpack({word}" for word in filled}
    keyless = {"TIME", "SCAN", "XGROUP", "XINFO"}
    for command, key in called:
        spelt_out = re.match(r"P \.\. |\w+_key\(", key)
        assert command in keyless or spelt_out or key in keys_by_name, (command, key)


NEEDS = {name: re.findall(r"^-- Needs: +(.+)$", text, re.MULTILINE) for name, text in SOURCES.items()}


def whole(name: str) -> set[str]:
    """Return a script or part and all parts that it needs, those of its parts included."""
    return {name}.union(*(whole(f"_{part}.lua") for part in ", ".join(NEEDS[name]).split(", ") if part))


def words(text: str) -> set[str]:
    """Return the names in Lua code that may be those of a part: no fields, texts, comments, nothing of its own."""
    code = re.sub(r"--.*|'[^'\n]*'", "", text)
    forms = (r"local ([\w, ]+)", r"function[ \w.]*\(([\w, ]*)\)", r"\bfor ([\w, ]+?) (?:in|=)")
    own = {name.strip() for form in forms for found in re.findall(form, code) for name in found.split(",")}
    return set(re.findall(r"(?<![\w.])[A-Za-z_]\w*(?!\w)(?!\s*=[^=])", code)) - own


def defined(text: str) -> set[str]:
    """Return the names that a part gives to what stands behind it."""
    found = re.findall(r"^local (?:function (\w+)|([\w, ]+?)(?: =|$))", text, re.MULTILINE)
    return {name.strip() for one in found for name in ",".join(one).split(",") if name.strip()}


HOMES = {name: part for part, text in SOURCES.items() if part.startswith("_") for name in defined(text)}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_script_has_the_parts_whose_names_it_uses_and_needs_no_other(name: str) -> None:
    """Else it fails where it is run, and each call pays for what is not used."""
    used = {HOMES[word] for word in words(SOURCES[name]) if word in HOMES} - {name}
    assert used <= whole(name)
    for part in ", ".join(NEEDS[name]).split(", "):
        assert not part or used & whole(f"_{part}.lua") - {"_shard.lua"} or part == "shard"


def test_a_script_is_its_text_behind_what_it_needs() -> None:
    """Each part once, behind those that it needs itself; no name is given twice."""
    scripts = ledger_scripts()
    assert {f"{name}.lua" for name in scripts} == set(STEPS)
    assert len(set(scripts.values())) == len(scripts)
    for name, text in scripts.items():
        parts = whole(f"{name}.lua")
        places = {part: text.index(SOURCES[part]) for part in parts}
        assert re.sub(r"return \(function\(\)\n|end\)\(\)\n", "", text) == "".join(
            SOURCES[part] for part in sorted(parts, key=lambda part: places[part])
        )
        for part, place in places.items():
            assert all(places[needed] <= place for needed in whole(part))
    assert sum(len(defined(text)) for part, text in SOURCES.items() if part.startswith("_")) == len(HOMES)


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
