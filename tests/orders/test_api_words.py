"""What a merchant and a shopper say with an order: a reference, and what it is paid with."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support import RedisServer
from tests.support.shop import Shop, open_shop, problem


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


async def test_a_reference_is_given_back_and_a_token_is_not(shop: Shop) -> None:
    """On either way through the service; another reference under the same key is another request."""
    words = {"reference": "basket é 4711", "payment_token": "tok-planted"}
    plain = await shop.order("k", **words)
    chunked = {"product_id": "lamp", "user_id": "ada", "quantity": 1, **words}
    headers = {"content-type": "application/json"}
    slow = await shop.client.post("/orders", content=_parts(json.dumps(chunked)), headers=headers)
    assert [plain.status_code, slow.status_code] == [202, 202]
    for answer in (plain, slow):
        order = await shop.client.get(answer.headers["location"])
        assert order.json()["reference"] == words["reference"]
        assert "tok-planted" not in answer.text + order.text
    problem(await shop.order("k", **{**words, "reference": "other"}), 422, "idempotency_conflict")
    assert (await shop.order("k", **words)).status_code == 200
    assert all("tok-planted" not in f"{span.name} {span.attributes} {span.events}" for span in shop.seen.spans())


async def _parts(text: str) -> AsyncIterator[bytes]:
    yield text[:5].encode()
    yield text[5:].encode()


WORDS: list[tuple[str, list[Any]]] = [
    ("reference", ["", "x" * 129, "a\nb", "\0", 1, [], "\ud800"]),
    ("payment_token", ["", "x" * 513, 1, {}, "\ud800"]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WORDS for value in values])
async def test_words_that_are_handed_on_are_bounded(shop: Shop, name: str, value: Any) -> None:
    """They are opaque, not endless, and a token is not repeated in what is said of it."""
    body = {"product_id": "lamp", "user_id": "ada", "quantity": 1, name: value}
    answer = problem(
        await shop.client.post("/orders", content=json.dumps(body), headers={"content-type": "application/json"}),
        422,
        "invalid",
    )
    assert [(one["location"], one["pointer"]) for one in answer["errors"]] == [("body", f"#/{name}")]
    assert "x" * 129 not in json.dumps(answer)
