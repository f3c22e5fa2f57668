"""What an order worker answers over HTTP: its metrics, and whether it is alive and ready."""

from fastapi import FastAPI, Request, Response

from service.store import STORE_ERRORS, Shards
from telemetry import Telemetry


def create_worker_app(telemetry: Telemetry, shards: Shards) -> FastAPI:
    """Builds the application; nothing in it is instrumented."""
    app = FastAPI(title="flash-sale worker", openapi_url=None, telemetry={"tracing": False, "metrics": False})

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        body, content_type = await telemetry.exposition_of_all(request.headers.get("accept"))
        return Response(body, media_type=content_type)

    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def ready() -> Response:
        try:
            await shards.client.ping()
        except STORE_ERRORS:
            return Response('{"status":"store_unavailable"}', 503, media_type="application/json")
        return Response('{"status":"ready"}', media_type="application/json")

    return app
