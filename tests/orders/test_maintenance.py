"""What is to be done by the clock is done by the first process of each kind, in whichever process that is."""

import hashlib
import time

from service.ledger.ledger import ledger_scripts
from tests.support import RedisServer, eventually
from tests.support.service import Fleet

EXPIRE = hashlib.sha1(ledger_scripts()["expire"].encode(), usedforsecurity=False).hexdigest()
WATCHED_SECONDS = 1.6  # three rounds


def caretakers(store: RedisServer) -> set[str]:
    """Return the names of the clients that look for reservations that are over."""
    with store.sync_client() as client:
        names = {entry["addr"]: entry["name"] for entry in client.client_list()}
        end = time.monotonic() + WATCHED_SECONDS
        with client.monitor() as monitor:
            seen = set()
            for command in monitor.listen():
                if EXPIRE in command["command"] and command["client_type"] == "tcp":
                    seen.add(f"{command['client_address']}:{command['client_port']}")
                if time.monotonic() > end:
                    return {names.get(address, "started meanwhile") for address in seen}
    raise AssertionError("the store closed the connection")


def test_one_process_of_each_kind_looks_and_the_next_of_its_name_goes_on(valkey_server: RedisServer) -> None:
    """Not each of them: a look costs the store the same whether anything is due or not."""
    with Fleet(valkey_server.url, api=3, workers=2) as fleet:
        eventually(lambda: caretakers(valkey_server) == {"api-0", "order-0"}, 20, "the first of each kind looks")
        fleet.wait_for_restart("api-0", fleet.kill("api-0"))
        eventually(lambda: caretakers(valkey_server) == {"api-0", "order-0"}, 20, "the new one looks")
