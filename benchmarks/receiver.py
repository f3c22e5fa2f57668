"""A live OTLP receiver that takes all and keeps nothing: `python -m benchmarks.receiver PORT`.

It answers as a collector does and counts requests and bytes by path; `GET /counts` tells them. It does not read the
spans: it runs on the load's core, and what it would cost there belongs to nobody's bill.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from service.truth.otlp import otlp_receiver


def make_app() -> web.Application:
    """Return the receiver as an application."""
    counts: Counter[str] = Counter()

    async def receive(signal: str, body: bytes, _: Mapping[str, str]) -> int:
        counts[f"{signal}_requests"] += 1
        counts[f"{signal}_bytes"] += len(body)
        return HTTPStatus.OK

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(counts)

    app = otlp_receiver(receive)
    app.router.add_get("/counts", tell)
    return app


def main() -> None:
    """Serve until it is ended."""
    web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
