"""The merchant's endpoint: one attempt at telling it of one event, with an end to everything that it may do to us."""

import asyncio
import time
from contextlib import suppress
from http import HTTPStatus

import httpx

from service.retry_after import parse_retry_after
from service.webhooks.attempts import MAX_CONNECTIONS, Attempt, Outcome
from service.webhooks.signing import sign

TIMEOUT_SECONDS = 15.0
"""Of a whole attempt; the specification recommends 15 to 30 s."""
READ_SECONDS = 1.0
MAX_BODY_BYTES = 64 * 1024
"""Of an answer, whose status is all that counts."""


class WebhookEndpoint:
    """Posts events to one URL. Redirects are not followed: the answer counts as it is."""

    def __init__(self, url: str, keys: list[bytes], *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._url = url
        self._keys = keys
        self._timeout = timeout
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
        self._client = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False, follow_redirects=False)

    async def post(self, event_id: str, body: bytes) -> Attempt:
        """Make one attempt, which takes no longer than the timeout."""
        headers = {
            **sign(self._keys, event_id, int(time.time()), body),
            "Content-Type": "application/json",
            "User-Agent": "flash-sale",
            "Accept-Encoding": "identity",
        }
        request = self._client.build_request("POST", self._url, content=body, headers=headers)
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # the last: a redirect to no address
            return Attempt(Outcome.FAILED, type(error).__name__)
        self._client.cookies.clear()  # it is nobody's session
        await _read(response)
        return _outcome(response)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _read(response: httpx.Response) -> None:
    """Read what is left of an answer, so that its connection can be used again; one that goes on is closed."""
    with suppress(httpx.HTTPError, OSError):
        try:
            async with asyncio.timeout(READ_SECONDS):
                read = 0
                async for chunk in response.aiter_raw():
                    read += len(chunk)
                    if read > MAX_BODY_BYTES:
                        break
        finally:
            await response.aclose()


def _outcome(response: httpx.Response) -> Attempt:
    if response.is_success:
        return Attempt(Outcome.DELIVERED)
    outcome = Outcome.GONE if response.status_code == HTTPStatus.GONE else Outcome.FAILED
    pause = parse_retry_after(response.headers.get("Retry-After"))
    return Attempt(outcome, f"it answered {response.status_code}", None if pause is None else pause.total_seconds())
