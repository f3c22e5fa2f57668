"""A line of log for each act of an admin: who, what, from where, with what outcome. It holds no secret.

Who is told by a fingerprint of the token, `printf %s TOKEN | sha256sum | cut -c1-8`, which does not tell the token.
"""

import hashlib
import logging
from typing import Final

import structlog
from fastapi import Request
from pydantic import SecretStr

NAME: Final = "service.api.admin_log"
FINGERPRINT_LENGTH: Final = 8


def fingerprint(token: SecretStr) -> str:
    """Return a name for a token."""
    return hashlib.sha256(token.get_secret_value().encode()).hexdigest()[:FINGERPRINT_LENGTH]


class AdminLog:
    """Writes the lines, whatever `LOG_LEVEL` is."""

    def __init__(self) -> None:
        logging.getLogger(NAME).setLevel(logging.INFO)
        self._log = structlog.get_logger(NAME)

    def done(self, request: Request, who: str, outcome: str) -> None:
        """Note what an admin did or tried."""
        self._log.info("admin act", who=who, **_what(request), outcome=outcome)

    def turned_away(self, request: Request, outcome: str) -> None:
        """Note that somebody was no admin; an event of its own, so that a flood of them drops no line of the others."""
        self._log.warning("admin turned away", **_what(request), outcome=outcome)


def _what(request: Request) -> dict[str, str]:
    client = request.client.host if request.client else ""
    return {"act": f"{request.method} {request.url.path}", "client": client}
