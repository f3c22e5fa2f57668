"""What is to be done by the clock is done by one process of a fleet, whichever that is."""

from tests.support import RedisServer, eventually
from tests.support.service import Fleet
from tests.support.steps import the_one_that_runs

WATCHED_SECONDS = 3.0
"""A process looks each two seconds where no order is under way."""


def test_one_process_looks_and_another_goes_on(valkey_server: RedisServer) -> None:
    """Not each of them: a look costs the store the same whether anything is due or not."""
    with Fleet(valkey_server.url, api=2, workers=1) as fleet:

        def one_of_them() -> str:
            return the_one_that_runs(valkey_server, "due", WATCHED_SECONDS)

        who = eventually(one_of_them, 20, "one process looks")
        fleet.wait_for_restart(who, fleet.kill(who))
        eventually(one_of_them, 20, "one process looks again")
