"""One service for the tests of what a client may send; it needs no more than one API process.

`make attacks` writes what each test sent and was answered, and the seeds of those that draw lots, into a document.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.counts import drawn
from tests.support.service import ADMIN, Fleet

SHIRT = {"name": "A shirt", "price": 1000, "currency": "EUR", "stock": 1_000_000, "per_user_limit": None}
CLIENT_SECONDS = 1.0


@pytest.fixture
def chance() -> random.Random:
    """Print the seed of the test and return its chance; `ATTACK_SEED` repeats one."""
    seed = int(os.environ.get("ATTACK_SEED") or random.SystemRandom().randrange(2**32))
    print(f"ATTACK_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    drawn(seed)
    return random.Random(seed)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A service whose clients have a second for everything; nobody works, and yet no order waits too long.

    What uvicorn reads by itself is set, and has no effect: whatever is tested here is tested under it.
    """
    env = {"CLIENT_TIMEOUT_SECONDS": str(CLIENT_SECONDS), "KEEP_ALIVE_SECONDS": "30", "MAX_WAIT_SECONDS": "0"}
    env |= {"UVICORN_HTTP": "h11", "WEB_CONCURRENCY": "x", "FORWARDED_ALLOW_IPS": "*"}
    store: Path = tmp_path_factory.mktemp("security")
    with Fleet(store, workers=0, env=env) as fleet, fleet.client() as client:
        client.put("/inventory/shirt", json=SHIRT, headers=ADMIN).raise_for_status()
        yield fleet
        assert [line for line in fleet.lines if line["level"] == "error"] == [], "no client makes us fail"
