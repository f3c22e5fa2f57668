"""A payment gateway over HTTP that keeps books of its own: what was captured, and what was given back.

`BankProcess` is one in a process of its own, whose moods and books are reached over HTTP, too.
"""

import asyncio
import signal
import sys
from collections import Counter
from random import Random
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.counts import count
from tests.support.processes import send_signal
from tests.support.program import Program
from tests.support.waiting import free_port

PAYMENT_REQUIRED, CONFLICT, NOT_FOUND, UNAVAILABLE = 402, 409, 404, 503


def _broken() -> Response:
    count("injected")
    return JSONResponse({}, UNAVAILABLE)


class Bank:
    """Captures once a key. Its moods are attributes that a test may change at any time.

    Attributes:
        held: The share of charges whose answer is held back for up to `hold_seconds`, the money captured.
        declined: The share of orders that are declined, always the same ones.
        late: The share of charges that are captured and answered after `late_seconds`, when nobody listens any more.
        pace: Seconds that each charge takes, one after the other, whether or not somebody still waits for it.
        down: Nothing is captured and every answer is 503.
        lossy: Charges are captured, and every answer is 503.
        fickle: The first charge of a key is captured and answered 503; every other is answered 402.
        gate: While it is cleared, charges wait before anything is captured.
        parts: What was given back of orders that stand, by the key of the refund.
        late_gate: While it is cleared, charges are captured and their answers wait.
    """

    def __init__(self, seed: int = 0, *, held: float = 0.0, hold_seconds: float = 0.3, declined: float = 0.0) -> None:
        self.held = held
        self.hold_seconds = hold_seconds
        self.declined = declined
        self.pace, self._turn = 0.0, asyncio.Lock()
        self.late, self.late_seconds = 0.0, 2.0
        self.down = self.lossy = self.fickle = False
        self.gate, self.late_gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.late_gate.set()
        self.captured: dict[str, dict[str, Any]] = {}
        self.refunded: Counter[str] = Counter()
        self.parts: dict[str, int] = {}
        self.asked: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._seed = seed
        self._random = Random(f"{seed}/bank")
        self._under_way: set[str] = set()

    @property
    def waiting(self) -> int:
        """Charges under way now."""
        return len(self._under_way)

    def kept(self) -> Counter[str]:
        """How many charges of each order were captured and not given back."""
        return Counter(body["order_id"] for key, body in self.captured.items() if not self.refunded[key])

    async def charge(self, request: Request) -> Response:
        """Take the money, once a key."""
        key = request.headers["idempotency-key"]
        try:
            body = await request.json()
        except ClientDisconnect:  # it was killed while it asked
            return Response()
        self.asked[key] += 1
        if self.down:
            return _broken()
        if key in self._under_way:
            return JSONResponse({}, CONFLICT)
        self._under_way.add(key)
        try:
            await self.gate.wait()
            if self.pace:
                async with self._turn:
                    await asyncio.sleep(self.pace)  # the fault itself
            return await self._capture(key, body)
        finally:
            self._under_way.discard(key)

    async def _capture(self, key: str, body: dict[str, Any]) -> Response:
        if Random(f"{self._seed}/{body['user_id']}").random() < self.declined:
            return JSONResponse({"status": "declined", "reason": "no_money"}, PAYMENT_REQUIRED)
        if self.captured.setdefault(key, body) != body:
            self.wrong.append(f"{key} was charged for {self.captured[key]} and then for {body}")
        await self.late_gate.wait()
        if self.fickle and self.asked[key] > 1:
            return JSONResponse({"status": "declined", "reason": "limit_exceeded"}, PAYMENT_REQUIRED)
        if self.lossy or self.fickle:
            return _broken()
        if self._random.random() < self.late:
            await asyncio.sleep(self.late_seconds)  # the fault itself
        if self._random.random() < self.held:
            await asyncio.sleep(self._random.random() * self.hold_seconds)  # a slow gateway, not a test that waits
        return JSONResponse({"status": "captured", "payment_id": f"pay-{key}"})

    async def refund(self, request: Request) -> Response:
        """Give the money back; 404 when none was taken."""
        try:
            body = await request.json()
        except ClientDisconnect:
            return Response()
        if self.down or self.lossy:
            return _broken()
        key = body["charge_key"]
        if key not in self.captured:
            return JSONResponse({}, NOT_FOUND)
        part = request.headers["idempotency-key"]
        if part != f"refund-{key}":
            if self.parts.setdefault(part, body["amount"]) != body["amount"]:
                self.wrong.append(f"{part} gave back {self.parts[part]} and then {body['amount']}")
            return JSONResponse({"status": "refunded"})
        self.refunded[key] += 1
        return JSONResponse({"status": "refunded"})

    async def change(self, request: Request) -> Response:
        """Change moods: a JSON object of attributes."""
        for name, value in (await request.json()).items():
            setattr(self, name, value)
        return JSONResponse({})

    async def books(self, _: Request) -> Response:
        """Return what there is to be counted."""
        books = {"captured": self.captured, "refunded": self.refunded, "asked": self.asked, "wrong": self.wrong}
        return JSONResponse(books | {"parts": self.parts})

    async def charges(self, request: Request) -> Response:
        """List what was captured, two a page, whatever is asked for."""
        after = int(request.query_params["after"] or 0)
        listed = [
            {
                "order_id": body["order_id"],
                "charge_key": key,
                "payment_id": f"pay-{key}",
                "amount": body["amount"],
                "currency": body["currency"],
                "refunded": bool(self.refunded[key]),
            }
            for key, body in self.captured.items()
        ]
        cursor = str(after + 2) if after + 2 < len(listed) else None
        return JSONResponse({"charges": listed[after : after + 2], "cursor": cursor})

    def app(self) -> Starlette:
        """Make the application."""
        posts = {"/charges": self.charge, "/refunds": self.refund, "/moods": self.change}
        routes = [Route(path, answer, methods=["POST"]) for path, answer in posts.items()]
        return Starlette(routes=[*routes, Route("/books", self.books), Route("/charges", self.charges)])


class BankProcess:
    """A gateway in a process of its own."""

    def __init__(self, seed: int) -> None:
        """Start it."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._program = Program.python("-m", "tests.faults.bank", str(port), str(seed))
        self._program.wait_for_line("Uvicorn running", 30)

    async def change(self, **moods: float) -> None:
        """Change its moods."""
        async with httpx.AsyncClient(timeout=15) as client:
            (await client.post(f"{self.url}/moods", json=moods)).raise_for_status()

    async def books(self) -> Bank:
        """Return a copy of its books, to be counted here."""
        async with httpx.AsyncClient(timeout=15) as client:
            found = (await client.get(f"{self.url}/books")).json()
        bank = Bank()
        bank.captured, bank.wrong, bank.parts = found["captured"], found["wrong"], found["parts"]
        bank.refunded, bank.asked = Counter(found["refunded"]), Counter(found["asked"])
        return bank

    async def hang(self, seconds: float) -> None:
        """Stop it for a while: who asks has no answer, and what it has begun it does later."""
        send_signal(self._program.pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)  # the fault itself
        send_signal(self._program.pid, signal.SIGCONT)

    def end(self) -> None:
        """End it."""
        self._program.end()


if __name__ == "__main__":
    uvicorn.run(Bank(int(sys.argv[2])).app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
