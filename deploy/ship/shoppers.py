"""Shoppers of the container test: each order is sent with a key, and what became of it is kept."""

import json
import threading
import time
from itertools import count
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

SALE = "http://127.0.0.1:8000"
RATE_PAUSE = 0.05
TO_BE_SENT_AGAIN = (502, 503)
"""With an Idempotency-Key that is safe, and both say so: it may have run, or it was not taken."""
TRIES = 5


class StepFailed(AssertionError):  # noqa: N818 - says what is the case
    """A step saw something else than what is promised."""


class Shoppers:
    """Twenty orders a second, each sent again with its key until it is answered; in a thread of its own."""

    numbers = count()
    total = 0
    """Of all that were accepted so far."""

    def __init__(self) -> None:
        self.accepted = 0
        self.again: list[str] = []
        """What was answered to orders that were sent once more."""
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shoppers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def check(self) -> str:
        """See that each order was accepted, and return what to say of it.

        Raises:
            StepFailed: One was not, or none was sent.
        """
        if self.wrong or not self.accepted:
            raise StepFailed(f"{self.accepted} accepted, and {len(self.wrong)} not: {self.wrong[:3]}")
        twice = f", {len(self.again)} of them sent again ({self.again[0]})" if self.again else ""
        return f"{self.accepted} orders{twice}, none refused or lost"

    def _run(self) -> None:
        while not self._stop.wait(RATE_PAUSE):
            number = next(self.numbers)
            order = {"product_id": "lamp", "user_id": f"shopper-{number}", "quantity": 1}
            key = {"Idempotency-Key": f"ship-{number}"}
            for attempt in range(TRIES):
                self._stop.wait(attempt * RATE_PAUSE)
                status, body = call("POST", "/orders", order, key)
                if status not in TO_BE_SENT_AGAIN:
                    break
                self.again.append(f"{time.strftime('%X')}: {status} {body[:60]}")
            if status in {200, 202}:
                self.accepted += 1
                Shoppers.total += 1
            else:
                self.wrong.append(f"{status} {body[:200]}")


def call(method: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, str]:
    """Send one request; return its status, 0 when there is no answer, and its body."""
    data = json.dumps(body).encode()
    request = Request(SALE + path, data, {"Content-Type": "application/json", **headers}, method=method)  # noqa: S310
    try:
        with urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (URLError, OSError) as error:
        return 0, str(error)
