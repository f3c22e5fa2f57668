"""Who is asking: the admin's token, and a shopper's bearer token (RFC 6750) where `AUTH_JWT_*` is set.

Both are coroutines although they await nothing: FastAPI runs a plain function in a thread.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import jwt
from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from service.api.admin_log import AdminLog, fingerprint
from service.problems import Problem
from service.settings import JwtSettings

REPLAYED = "Idempotency-Replayed"
MAX_SUBJECT_LENGTH = 255
MAX_TOKEN_LENGTH = 8192
MAX_REASON_LENGTH = 200
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="flash-sale"'}


def unauthorized(detail: str) -> Problem:
    """Make the answer to who shows no token, or a wrong one: 401 with the challenge that RFC 6750 asks for."""
    return Problem("unauthorized", detail, headers=_CHALLENGE)


def is_token(token: SecretStr, given: str) -> bool:
    """Return whether this is the token; how long that takes does not tell how much of it is right."""
    return secrets.compare_digest(given.encode(), token.get_secret_value().encode())


admin_scheme = HTTPBearer(auto_error=False, scheme_name="admin", description="ADMIN_TOKEN")
shopper_scheme = HTTPBearer(auto_error=False, scheme_name="shopper", description="a JWT, where AUTH_JWT_* is set")


async def require_admin(
    request: Request, response: Response, given: Annotated[HTTPAuthorizationCredentials | None, Depends(admin_scheme)]
) -> AsyncIterator[None]:
    """Let the admin pass, and note what came of it.

    Raises:
        Problem: 401 without the right token, 403 when no token is set and so nobody is admin.
    """
    who = _let_in(request, given)
    async with _noted(request.app.state.context.admin_log, request, response, who):
        yield


async def require_admin_to_follow(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(admin_scheme)]
) -> None:
    """Let the admin pass to what programs ask for all the time: that is no act, and would hide those that are.

    Raises:
        Problem: as `require_admin`.
    """
    _let_in(request, given)


def _let_in(request: Request, given: HTTPAuthorizationCredentials | None) -> str:
    context = request.app.state.context
    log: AdminLog = context.admin_log
    try:
        return _admin(context.settings.admin_token, given)
    except Problem as refused:
        log.turned_away(request, refused.code)
        raise


@asynccontextmanager
async def _noted(log: AdminLog, request: Request, response: Response, who: str) -> AsyncIterator[None]:
    """Write down what came of an admin's request."""
    try:
        yield
    except RequestValidationError:
        log.done(request, who, "invalid")
        raise
    except Exception as error:
        log.done(request, who, error.code if isinstance(error, Problem) else type(error).__name__)
        raise
    log.done(request, who, "replayed" if REPLAYED in response.headers else "done")


def _admin(token: SecretStr | None, given: HTTPAuthorizationCredentials | None) -> str:
    """Return the name of who shows the right token."""
    if token is None:
        raise Problem("admin_disabled", "Set ADMIN_TOKEN to use the admin routes.")
    if given is None:
        raise unauthorized("This route needs `Authorization: Bearer <ADMIN_TOKEN>`.")
    if not is_token(token, given.credentials):
        raise unauthorized("The admin token is not right.")
    return fingerprint(token)


async def shopper(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(shopper_scheme)]
) -> str | None:
    """Return the token's subject; None where shoppers need no token.

    Raises:
        Problem: 401 without a valid token.
    """
    settings: JwtSettings = request.app.state.context.settings.auth_jwt
    if not settings.enabled:
        return None
    if given is None:
        raise unauthorized("This route needs a bearer token.")
    if len(given.credentials) > MAX_TOKEN_LENGTH:
        raise unauthorized("The token is too long.")
    try:
        subject = str(_claims(given.credentials, settings)["sub"])
    except jwt.InvalidTokenError as error:
        raise unauthorized(f"The token is not valid: {str(error)[:MAX_REASON_LENGTH]}.") from None
    except Exception:  # noqa: BLE001 - a stranger's bytes went through JSON, base64 and a signature: none of it is a 500
        raise unauthorized("The token is not valid.") from None
    if not 0 < len(subject) <= MAX_SUBJECT_LENGTH or any("\ud800" <= letter <= "\udfff" for letter in subject):
        raise unauthorized("The token's subject cannot name a user.")
    return subject


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for orders: the admin, who sees all; a shopper by token; or, with neither, anybody."""

    admin: bool
    subject: str | None

    def may_see(self, user_id: str) -> bool:
        """Return whether this user's orders may be seen, or cancelled."""
        return self.subject is None or self.subject == user_id


async def asker(
    request: Request,
    response: Response,
    admin: Annotated[HTTPAuthorizationCredentials | None, Depends(admin_scheme)],
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(shopper_scheme)],
) -> AsyncIterator[Asker]:
    """Tell the admin's token from a shopper's, and note what the admin changes.

    Raises:
        Problem: 401 without a valid token where shoppers need one.
    """
    context = request.app.state.context
    token = context.settings.admin_token
    if token is None or admin is None or not is_token(token, admin.credentials):
        yield Asker(admin=False, subject=await shopper(request, given))
    elif request.method == "GET":
        yield Asker(admin=True, subject=None)
    else:
        async with _noted(context.admin_log, request, response, fingerprint(token)):
            yield Asker(admin=True, subject=None)


def _claims(token: str, settings: JwtSettings) -> dict[str, Any]:
    key = settings.secret or settings.public_key
    claims: dict[str, Any] = jwt.decode(
        token,
        key.get_secret_value() if key else "",
        algorithms=settings.algorithms,
        audience=settings.audience,
        issuer=settings.issuer,
        options={"require": ["sub", "exp"], "verify_aud": settings.audience is not None},
        leeway=5,
    )
    return claims


Admin = Depends(require_admin)
FollowingAdmin = Depends(require_admin_to_follow)
Shopper = Annotated[str | None, Depends(shopper)]
AskerOf = Annotated[Asker, Depends(asker)]
