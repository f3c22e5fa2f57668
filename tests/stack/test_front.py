"""The published port in front of both replicas, as deploy/front/nginx.conf has it."""

import json
from functools import partial
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.stack.conftest import started
from tests.stack.sale import LAMP, Sale
from tests.support import cannot_run, eventually

PARTS = ("redis", "api-1", "api-2", "front")


def accepted(client: httpx.Client, key: str) -> bool:
    """Send an order with its key; nginx does not repeat a POST that may have run when its replica dies."""
    order = {"product_id": "lamp", "user_id": "ada", "quantity": 1}
    answer = client.post("/orders", json=order, headers={"Idempotency-Key": key})
    assert answer.status_code in {httpx.codes.ACCEPTED, httpx.codes.OK, httpx.codes.BAD_GATEWAY}, answer.text
    return answer.status_code != httpx.codes.BAD_GATEWAY


@pytest.mark.timeout(300)
def test_the_published_port_leads_to_both_replicas_and_past_one_that_is_gone(tmp_path: Path) -> None:
    """Orders and the live page's socket go through; the figures of one replica do not."""
    with started(tmp_path, parts=PARTS) as stack, Sale(stack) as sale:
        if "front" in stack.left_out:
            cannot_run(stack.left_out["front"])
        sale.offer("lamp", LAMP)
        url = stack.url("front")
        with httpx.Client(base_url=url, timeout=20) as client:
            for gone in ("api-1", "api-2"):
                stack.kill(gone)
                for number in range(10):
                    key = f"{gone}-{number}"
                    eventually(partial(accepted, client, key), 15, f"{key} is accepted")
                stack.start(gone)
            assert client.get("/metrics").status_code == httpx.codes.NOT_FOUND
        with connect(f"{url.replace('http', 'ws')}/monitoring", proxy=None) as socket:
            assert json.loads(socket.recv(30))["type"] == "snapshot"
