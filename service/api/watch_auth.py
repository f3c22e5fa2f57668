"""Who may watch: the checks of a WebSocket before its handshake, and of the token of `/monitoring/*`.

Without `MONITORING_TOKEN` the figures are open to everybody who can reach the service. A page of another origin is
refused all the same: a browser would open the connection for any page that its user visits. A client that is no
browser sends no `Origin`.
"""

from base64 import urlsafe_b64decode
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.datastructures import Headers

from service.api.auth import is_token, unauthorized
from service.problems import Problem
from service.settings import Settings

SUBPROTOCOL = "flash-sale.monitoring"
BEARER = "bearer."
RETRY_SECONDS = 5
_PORTS = {"http": 80, "https": 443}

Reason = Literal["origin", "token", "full"]

watcher_scheme = HTTPBearer(auto_error=False, scheme_name="watcher", description="MONITORING_TOKEN, where it is set")


async def require_watcher(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(watcher_scheme)]
) -> None:
    """Let pass who has the token, or everybody where there is none.

    Raises:
        Problem: 401 without the right token.
    """
    settings: Settings = request.app.state.context.settings
    if not _is_right(settings.monitoring_token, given.credentials if given else None):
        raise _unauthorized()


WatcherAuth = Depends(require_watcher)


def reject_reason(
    settings: Settings, headers: Headers, subprotocols: list[str], watching: int
) -> tuple[Reason, Problem] | None:
    """Why a WebSocket is not let in; None if it is.

    Args:
        settings: The service's settings.
        headers: Of the handshake.
        subprotocols: Which it offers; a browser, which cannot send `Authorization`, puts its token there.
        watching: How many there are already.
    """
    if not _may_come_from(headers, settings.monitoring_origins):
        return "origin", Problem("origin_refused", "MONITORING_ORIGINS does not name the page's origin.")
    if not _is_right(settings.monitoring_token, _token(headers, subprotocols)):
        return "token", _unauthorized()
    if watching >= settings.monitoring_max_clients:
        wait = {"Retry-After": str(RETRY_SECONDS)}
        return "full", Problem("overloaded", "As many watch as MONITORING_MAX_CLIENTS allows.", headers=wait)
    return None


def _unauthorized() -> Problem:
    return unauthorized("The figures need `Authorization: Bearer <MONITORING_TOKEN>`.")


def _is_right(token: SecretStr | None, given: str | None) -> bool:
    return token is None or (given is not None and is_token(token, given))


def _token(headers: Headers, subprotocols: list[str]) -> str | None:
    """From `Authorization`, or from a subprotocol `bearer.<token in base64url without padding>`."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    for offered in subprotocols:
        if offered.startswith(BEARER):
            text = offered.removeprefix(BEARER)
            try:
                return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except ValueError:
                return None
    return None


def _may_come_from(headers: Headers, allowed: tuple[str, ...]) -> bool:
    origins = headers.getlist("origin")
    if not origins:
        return True
    origin = origins[0].lower()
    if len(origins) > 1:
        return False
    return "*" in allowed or origin in allowed or _is_same(origin, headers.get("host", "").lower())


def _is_same(origin: str, host: str) -> bool:
    """Whether the page came from this service: by name and port, for a proxy in between may have ended the TLS."""
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        port = page.port or _PORTS.get(page.scheme)
        return page.hostname is not None and (page.hostname, port) == (here.hostname, here.port or _PORTS[page.scheme])
    except (ValueError, KeyError):
        return False
