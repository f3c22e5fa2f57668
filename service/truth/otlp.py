"""An application that takes exports by OTLP over HTTP, as a collector does: one for all who look at them here."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

SIGNALS = ("traces", "metrics", "logs")
MAX_BODY_BYTES = 64 * 1024 * 1024

OnExport = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""What is done with an export: given its signal, the protobuf message and the request's headers (names in lower case),
returns the HTTP status of the answer."""


def otlp_receiver(on_export: OnExport) -> web.Application:
    """Return an application that hands each export to `on_export`; the empty answer means that all was taken.

    A compressed body is handed over as it was before the compression.
    """

    async def receive(request: web.Request) -> web.Response:
        signal = request.path.rpartition("/")[2]
        headers = {name.lower(): value for name, value in request.headers.items()}
        status = await on_export(signal, await request.read(), headers)
        return web.Response(status=status, content_type="application/x-protobuf")

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    for signal in SIGNALS:
        app.router.add_post(f"/v1/{signal}", receive)
    return app
