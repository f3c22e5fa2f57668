"""The pages for people: live figures, a shop, the operator's view, the API's documentation.

`/shop` is there to try a sale by hand, `/operator` for what a merchant does during a sale, with the admin token. Plain
files beside this module, read once when the application is made. A page gets what it must know of the settings as
`data-` attributes, escaped. The policy lets it load its own files and nothing else, and lets no text become markup or
script; `/docs` and `/redoc` load Swagger UI and Redoc besides, which are installed with the service (by fastapi-
offline), so that they work where there is no internet. Everything is revalidated by its ETag, so that a new version is
seen at once and an old one costs a 304.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Self

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from service.api.conditional import is_known
from service.problems import Problem
from service.settings import Settings

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGES = {
    "/": "live.html",
    "/shop": "shop.html",
    "/operator": "operator.html",
    "/docs": "docs.html",
    "/redoc": "redoc.html",
}
DOCS_PAGES = ("docs.html", "redoc.html")
INSTALLED = ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js")


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is sent."""

    content: bytes
    media_type: str
    etag: str
    policy: str

    @classmethod
    def of(cls, content: bytes, suffix: str, policy: str = POLICY) -> Self:
        """Return the file with its tag."""
        return cls(content, MEDIA_TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"', policy)

    def answer(self, request: Request) -> Response:
        """Return the file, or 304 to whoever has it already."""
        headers = {"Content-Security-Policy": self.policy, "Cache-Control": "no-cache", "ETag": self.etag}
        if is_known(request, self.etag):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def create_router(settings: Settings) -> APIRouter:
    """Return the routes of the pages; they are no part of the API and so not in its document."""
    found = _read(settings)
    router = APIRouter(include_in_schema=False)

    def sender(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def read_page(request: Request) -> Response:
            return found[name].answer(request)

        return read_page

    async def read_file(request: Request, name: str) -> Response:
        if name in INSTALLED:
            return _installed(name).answer(request)
        if name not in found or name.endswith(".html"):
            raise Problem("not_found")
        return found[name].answer(request)

    async def to_the_pages() -> Response:
        return RedirectResponse(f"{settings.root_path}/", status_code=308, headers={"Cache-Control": "no-cache"})

    if settings.root_path:  # the pages' addresses are relative: without the slash they would leave the prefix
        router.add_api_route(settings.root_path, to_the_pages, methods=["GET", "HEAD"])
    for path, name in PAGES.items():
        router.add_api_route(path, sender(name), methods=["GET", "HEAD"])
    router.add_api_route("/page/{name}", read_file, methods=["GET", "HEAD"])
    return router


@cache
def _installed(name: str) -> PageFile:
    """Return a file of Swagger UI's or Redoc's. They are large and seldom asked for, so read when they are."""
    content = files("fastapi_offline").joinpath("static", name).read_bytes()
    return PageFile.of(content, name[name.rfind(".") :])


def _read(settings: Settings) -> Mapping[str, PageFile]:
    values = {
        "jaeger-url": settings.jaeger_url or "",
        "watch-token": "yes" if settings.monitoring_token else "",
        "shopper-tokens": "yes" if settings.auth_jwt.enabled else "",
        "key-seconds": f"{settings.idempotency_ttl_seconds:g}",
    }
    found = {}
    for source in files("service.api").joinpath("page").iterdir():
        suffix = source.name[source.name.rfind(".") :]
        if suffix in MEDIA_TYPES:
            content = source.read_bytes()
            filled = _filled(content, values) if suffix == ".html" else content
            found[source.name] = PageFile.of(filled, suffix, DOCS_POLICY if source.name in DOCS_PAGES else POLICY)
    return found


def _filled(content: bytes, values: Mapping[str, str]) -> bytes:
    text = content.decode()
    for name, value in values.items():
        text = text.replace(f'data-{name}=""', f'data-{name}="{escape(value)}"')
    return text.encode()
