"""The operator's view in a real Chromium: what is done there is asked for first, done once, and written down."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Route

from service.ledger.orders import Order
from tests.browser.conftest import OpenTab
from tests.browser.kit import HOSTILE, Tab
from tests.orders.sale import Sale
from tests.support import wait_until
from tests.support.service import ADMIN, ADMIN_TOKEN
from tests.support.shop import Shop, open_shop
from tests.support.stores import RedisServer

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API with ten lamps."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


async def enter(tab: Tab, shop: Shop, token: str = ADMIN_TOKEN) -> None:
    """Open the view and show the token."""
    await tab.page.goto(f"{shop.url}/operator")
    await tab.page.get_by_label("Admin token").fill(token)
    await tab.page.get_by_role("button", name="Enter").click()


async def confirm(tab: Tab, opens: str, yes: str) -> None:
    """Press a button of the page, and then the one that says yes."""
    await tab.page.get_by_role("button", name=opens, exact=True).click()
    await tab.page.get_by_role("dialog").get_by_role("button", name=yes, exact=True).click()


async def bought(shop: Shop, **order: Any) -> Order:
    """Buy and pay."""
    await shop.order(**order)
    sale = Sale(shop.service.shards)
    (begun,) = await sale.take()
    assert begun.order is not None
    await sale.settle(begun.order, payment_id="paid")
    return begun.order


def acts(captured: str) -> list[str]:
    """Return what the audit log has of admins, but for what prepared the test."""
    lines = [line for line in captured.splitlines() if "admin act" in line]
    return [line.split("act='")[1].split("'")[0] for line in lines if "act='PUT" not in line]


async def test_only_the_right_token_enters(shop: Shop, open_tab: OpenTab) -> None:
    """A wrong one is told so and forgotten; the right one lasts as long as its tab, until it is to be forgotten."""
    tab = await open_tab()
    await enter(tab, shop, "wrong")
    await tab.until_text("warning", "The admin token is not right")
    assert await tab.page.locator("#rooms").is_hidden()
    await enter(tab, shop)
    await tab.page.locator("#rooms").wait_for()
    await tab.page.reload()
    await tab.page.locator("#rooms").wait_for()
    await tab.page.get_by_role("button", name="Forget the token").click()
    await tab.page.reload()
    assert await tab.page.locator("#rooms").is_hidden()
    assert ADMIN_TOKEN not in json.dumps(await tab.page.evaluate("[{...localStorage}, {...sessionStorage}]"))


async def test_a_sale_is_paused_and_resumed_and_restocked(
    shop: Shop, open_tab: OpenTab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each after a question, which may be answered with no; each is a line of the audit log."""
    tab = await open_tab()
    await enter(tab, shop)
    await tab.page.get_by_role("button", name="Pause Lamp").click()
    await tab.page.get_by_role("button", name="Leave it").click()
    assert (await shop.product())["paused"] is False
    await confirm(tab, "Pause Lamp", "Pause the sale")
    await tab.until_text("spoken", "Lamp is paused.")
    assert (await shop.product())["paused"] is True
    await confirm(tab, "Resume Lamp", "Resume the sale")
    await tab.until_text("spoken", "Lamp is on sale again.")
    await tab.page.get_by_role("button", name="Restock Lamp").click()
    await tab.page.get_by_label("Units to add").fill("0")
    await tab.page.get_by_role("button", name="Add the units").click()
    await tab.until_text("ask-complaint", "whole number")
    await tab.page.get_by_label("Units to add").fill("7")
    await tab.page.get_by_role("button", name="Add the units").click()
    await tab.until_text("spoken", "Lamp has 17 units to sell.")
    assert acts(capsys.readouterr().out) == [
        *["PATCH /inventory/lamp"] * 2,
        "POST /inventory/lamp/restock",
    ]


async def test_an_order_is_found_and_refunded_once(
    shop: Shop, open_tab: OpenTab, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer that was lost is asked for again under the same key."""
    await shop.put("sofa", name="Sofa")
    order = await bought(shop, quantity=3, reference="basket-7")
    await shop.order(product_id="sofa", user_id="bob")
    tab = await open_tab()
    tab.away = True
    await enter(tab, shop)
    rows = tab.page.locator("#orders tr")
    await rows.nth(1).wait_for()
    await tab.page.get_by_label("User", exact=True).fill("ada")
    await tab.page.get_by_role("button", name="Search").click()
    await tab.page.locator(f"#orders tr:only-child[data-order='{order.order_id}']").wait_for()
    assert "basket-7" in (await rows.first.text_content() or "")

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await tab.page.route("**/refund", lose, times=1)
    await tab.page.get_by_role("button", name=f"Refund order {order.order_id}").click()
    await tab.page.get_by_label("Units to refund").fill("2")
    await tab.page.get_by_label("Reason").fill("two were broken")
    yes = tab.page.get_by_role("dialog").get_by_role("button", name="Refund", exact=True)
    await yes.click()
    await tab.until_text("ask-complaint", "does not answer")
    await yes.click()
    await tab.until_text("spoken", "2 of 3 units")
    assert "confirmed, 2 refunded" in (await rows.first.text_content() or "")
    read = (await shop.client.get(f"/orders/{order.order_id}")).json()
    assert (read["refunded_quantity"], read["reason"]) == (2, "two were broken")
    assert (await shop.product())["stock"] == 9
    assert acts(capsys.readouterr().out) == [f"POST /orders/{order.order_id}/refund"] * 2
    await tab.page.get_by_label("User", exact=True).fill("")
    await tab.page.get_by_label("Order", exact=True).fill("00" + "f" * 28)
    await tab.page.get_by_role("button", name="Search").click()
    await tab.page.locator("#no-orders").wait_for()


async def test_a_dead_letter_is_requeued(shop: Shop, open_tab: OpenTab, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes from the list, and its order is pending again."""
    sale = Sale(shop.service.shards)
    dead = await sale.dead_letter("lamp")
    tab = await open_tab()
    await enter(tab, shop)
    await tab.page.locator(f"#dead tr[data-order='{dead.order_id}']").wait_for()
    await confirm(tab, f"Requeue order {dead.order_id}", "Requeue")
    await tab.until_text("spoken", "is in the queue again")
    await tab.page.locator("#no-dead").wait_for()
    assert (await shop.client.get(f"/orders/{dead.order_id}")).json()["status"] == "pending"
    assert acts(capsys.readouterr().out) == [f"POST /dead-letters/{dead.order_id}/requeue"]


async def test_what_is_refused_is_told_and_may_be_mended(shop: Shop, open_tab: OpenTab) -> None:
    """In the question, which stays open."""
    order = await bought(shop, quantity=2)
    tab = await open_tab()
    await enter(tab, shop)
    await tab.page.get_by_role("button", name=f"Refund order {order.order_id}").click()
    await shop.client.post(f"/orders/{order.order_id}/refund", json={"quantity": 1}, headers=ADMIN)
    yes = tab.page.get_by_role("dialog").get_by_role("button", name="Refund", exact=True)
    await yes.click()
    await tab.until_text("ask-complaint", "1 of 2 units are refunded")
    await tab.page.get_by_label("Units to refund").fill("1")
    await yes.click()
    await tab.until_text("spoken", "are refunded")


async def test_many_orders_and_hostile_names_on_a_phone(shop: Shop, open_tab: OpenTab) -> None:
    """Orders come a page at a time; names are text; nothing is wider than the screen."""
    for number, name in enumerate(HOSTILE):
        await shop.put(f"hostile-{number}", name=name)
    for number in range(25):
        await shop.order(user_id=f"u{number}", quantity=1, product_id=f"hostile-{number % len(HOSTILE)}")
    tab = await open_tab(viewport={"width": 390, "height": 800})
    await enter(tab, shop)
    rows = tab.page.locator("#orders tr")
    await rows.nth(19).wait_for()
    await tab.page.get_by_role("button", name="More orders").click()

    async def all_there() -> bool:
        return await rows.count() == 25

    await wait_until(all_there, 10, "all orders are listed")
    assert await tab.page.locator("#more-orders").is_hidden()
    names = await tab.page.locator("#products .name").all_text_contents()
    assert set(HOSTILE) <= set(names)
    assert await tab.page.locator("main img, main script, main b").count() == 0
    assert await tab.width_beyond() == 0
