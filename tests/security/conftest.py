"""One service for the tests of what a client may send; it needs no more than one API process.

`make attacks` writes what each test sent and was answered, and the seeds of those that draw lots, into a document.
"""

import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security import wire
from tests.support.figures import as_table, write_counts
from tests.support.service import ADMIN, Fleet

SHIRT = {"name": "A shirt", "price": 1000, "currency": "EUR", "stock": 1_000_000, "per_user_limit": None}
CLIENT_SECONDS = 1.0

COLUMNS = ("connections", "sent", "2xx", "4xx", "5xx", "beside")

_cases: Counter[str] = Counter()
_counts: dict[str, Counter[str]] = defaultdict(Counter)
_seeds: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Add what one test sends and is answered to the figures of `make attacks`."""
    wire.SEEN.clear()
    yield
    name = _name(request)
    _counts[name] += wire.SEEN
    _cases[name] += 1


def _name(request: pytest.FixtureRequest) -> str:
    return f"{request.node.path.name}::{request.node.originalname}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """Print the figures when they are asked for, and put them into a document when all tests have passed."""
    if not (document := os.environ.get("ATTACK_COUNTS")):
        return
    made = attack_table()
    terminalreporter.write_line(made)
    if exitstatus == 0:
        write_counts(Path(document), "attacks", made)


def attack_table() -> str:
    """Return what was sent and answered, as Markdown, for each test that has sent anything."""
    rows = []
    for name, seen in _counts.items():
        if seen:
            module, _, test = name.partition("::")
            attack = test.removeprefix("test_").replace("_", " ")
            figures = (seen[column] for column in COLUMNS)
            rows.append((attack, f"`{module}`", _cases[name], *figures, str(_seeds.get(name, ""))))
    return as_table(("attack", "test", "cases", *COLUMNS, "seed"), rows, words=2)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Print the seed of the test and return its chance; `ATTACK_SEED` repeats one."""
    seed = int(os.environ.get("ATTACK_SEED") or random.SystemRandom().randrange(2**32))
    print(f"ATTACK_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    _seeds[_name(request)] = seed
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
