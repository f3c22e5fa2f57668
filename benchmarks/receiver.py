"""A live OTLP receiver that takes all and keeps nothing: `python -m benchmarks.receiver PORT`.

It answers as a collector does and counts requests and bytes by path; `GET /counts` tells them. It does not read the
spans: it runs on the load's core, and what it would cost there belongs to nobody's bill.
"""

import sys
from collections import Counter

from aiohttp import web

MAX_BODY_BYTES = 64 * 1024 * 1024


def make_app() -> web.Application:
    """Return the receiver as an application."""
    counts: Counter[str] = Counter()

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        signal = request.path.rpartition("/")[2]
        counts[f"{signal}_requests"] += 1
        counts[f"{signal}_bytes"] += len(body)
        return web.Response(content_type="application/x-protobuf")

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(counts)

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/counts", tell)
    for signal in ("traces", "metrics", "logs"):
        app.router.add_post(f"/v1/{signal}", receive)
    return app


def main() -> None:
    """Serve until it is ended."""
    web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
