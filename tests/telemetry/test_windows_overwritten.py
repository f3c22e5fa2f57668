"""Keys of the windows that somebody overwrote: the next figures are there."""

import pytest
from redis.asyncio import Redis

from telemetry.windows.windows import SLOT_SECONDS
from tests.telemetry.test_windows import MINUTE, ORDERS, PREFIX, counts, process, serve


@pytest.mark.parametrize("value", ["type", "text"])
@pytest.mark.parametrize("name", ["now", "cleared", "latest", "errors", "lot:api-0", "window:{slot}"])
async def test_a_key_that_somebody_overwrote_is_begun_anew(store: Redis, name: str, value: str) -> None:
    """They are figures that end by themselves; those of the next second are there."""
    one = process(store)
    serve(one, 1)
    one.fail(method="GET", route="/", status=500, code="internal_error")
    await one.flush()
    key = PREFIX + name.format(slot=int((await store.time())[0]) // SLOT_SECONDS)
    if value == "text" and await store.type(key) == "hash":
        await store.hset(key, mapping=dict.fromkeys([*await store.hkeys(key), "other"], "not a figure"))
    else:
        await store.delete(key)
        await store.rpush(key, "of another type")
    serve(one, 2)
    await one.flush()
    serve(one, 3)
    await one.flush()
    assert counts(await one.read(MINUTE))[ORDERS] in {5, 6}
