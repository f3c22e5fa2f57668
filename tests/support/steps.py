"""Which processes run a step of the ledger, as the store sees them."""

import hashlib
import time
from contextlib import suppress

import redis

from service.ledger.ledger import ledger_scripts
from tests.support.stores import RedisServer


def who_runs(server: RedisServer, step: str, seconds: float) -> set[str]:
    """Return the names of the clients that run a step in the next `seconds`; who leaves in that time is left out."""
    digest = hashlib.sha1(ledger_scripts()[step].encode(), usedforsecurity=False).hexdigest()
    addresses: set[str] = set()
    with server.sync_client() as client:
        with server.sync_client() as listener, listener.monitor() as monitor:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                with suppress(redis.TimeoutError):
                    heard = monitor.next_command()
                    if heard["client_type"] == "tcp" and digest in heard["command"]:
                        addresses.add(f"{heard['client_address']}:{heard['client_port']}")
        return {entry["name"] for entry in client.client_list() if entry["addr"] in addresses}


def the_one_that_runs(server: RedisServer, step: str, seconds: float) -> str:
    """Return the one client that runs a step in the next `seconds`; nothing while there are more, or none."""
    found = who_runs(server, step, seconds)
    return found.pop() if len(found) == 1 else ""
