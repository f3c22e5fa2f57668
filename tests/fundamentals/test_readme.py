"""The README is true: its commands are run as they stand."""

import json
import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Program, eventually, free_port
from tests.support.processes import run
from tests.support.service import ADMIN_TOKEN

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS: list[str] = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def command(start: str) -> str:
    """Return the README's one command that begins so."""
    (found,) = (block for block in COMMANDS if block.startswith(start))
    return found


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Start the README's first command on a free port and a store of its own."""
    chosen = free_port()
    env = {"PORT": str(chosen), "DATA_DIR": str(tmp_path_factory.mktemp("data")), "ADMIN_TOKEN": ADMIN_TOKEN}
    program = Program(shlex.split(command("make run")), env=env, when_parent_dies=signal.SIGTERM)
    try:
        program.wait_for_output("Ctrl-C stops everything", 120)
        eventually(
            lambda: shell(chosen, "curl -sf http://localhost:8000/readyz", check=False), 30, "the service is ready"
        )
        yield chosen
    finally:
        program.end()


def shell(port: int, text: str, *, check: bool = True) -> str:
    """Run a command of the README against the port that the test chose."""
    env = {**os.environ, "ADMIN_TOKEN": ADMIN_TOKEN}
    return run(["bash", "-c", text.replace("localhost:8000", f"localhost:{port}")], check=check, env=env).stdout


def test_the_first_curl_places_an_order_and_the_second_sees_it_confirmed(port: int) -> None:
    order = json.loads(shell(port, command("curl -s http://localhost:8000/orders")))
    assert (order["status"], order["product_id"], order["quantity"]) == ("pending", "sticker-pack", 2)
    listing = command("curl -s 'http://localhost:8000/orders?")

    def confirmed() -> bool:
        orders = json.loads(shell(port, listing))["orders"]
        return [o["status"] for o in orders if o["order_id"] == order["order_id"]] == ["confirmed"]

    eventually(confirmed, 20, "the order is confirmed")
    again = json.loads(shell(port, command("curl -s http://localhost:8000/orders")))
    assert again == order


def test_a_product_of_ones_own_is_put_on_sale(port: int) -> None:
    product = json.loads(shell(port, command("curl -s -X PUT http://localhost:8000/inventory/lamp")))
    assert (product["product_id"], product["stock"], product["per_user_limit"]) == ("lamp", 100, 2)


def test_the_third_curl_shows_the_seven_metrics_of_the_sale(port: int) -> None:
    text = shell(port, command("curl -s http://localhost:8000/metrics"))
    names = {re.split(r"[{ ]", line)[0] for line in text.splitlines()}
    assert names >= {
        "flash_sale_orders_total",
        "flash_sale_queue_length",
        "flash_sale_throughput",
        "flash_sale_error_rate",
        "flash_sale_active_connections",
        "flash_sale_processing_time_avg",
        "flash_sale_inventory_levels",
    }


def test_the_example_answer_has_the_fields_of_a_real_one(port: int) -> None:
    example = json.loads(re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0])
    body = {"product_id": "sticker-pack", "user_id": "grace", "quantity": 1}
    text = f"curl -s http://localhost:8000/orders -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
    assert json.loads(shell(port, text)).keys() == example.keys()


def test_every_target_of_make_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`(?:STACK=require )?make (\w[\w-]*)", README)) | {"run", "test"}
    listed = run(["make", "help"], check=True).stdout
    assert named - {"help"} <= {line.split()[0] for line in listed.splitlines()}
