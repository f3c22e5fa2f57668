"""One service for the tests of what a client may send; it needs no more than one API process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import ADMIN, Fleet

SHIRT = {"name": "A shirt", "price": 1000, "currency": "EUR", "stock": 1_000_000, "per_user_limit": None}
CLIENT_SECONDS = 1.0


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A service whose clients have a second for everything; nobody works, and yet no order waits too long."""
    env = {"CLIENT_TIMEOUT_SECONDS": str(CLIENT_SECONDS), "KEEP_ALIVE_SECONDS": "30", "MAX_WAIT_SECONDS": "0"}
    store: Path = tmp_path_factory.mktemp("security")
    with Fleet(store, workers=0, env=env) as fleet, fleet.client() as client:
        client.put("/inventory/shirt", json=SHIRT, headers=ADMIN).raise_for_status()
        yield fleet
