"""What every admin write may carry: a key that makes it safe to send again, and the version that it means to change."""

import re
from datetime import timedelta
from typing import Annotated

from fastapi import Header, Response
from pydantic import BaseModel

from service.api.auth import REPLAYED
from service.api.errors import describe
from service.api.orders import IdempotencyKey
from service.ledger.once_only import OnceOnly
from service.ledger.products import Product
from service.store import keys

KEY_SCOPE = "admin"
"""There is one admin, whose keys never meet those of shoppers."""
_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="Changes the product only while its `ETag` is one of these; `*`: only if it exists.",
        pattern=rf"^(?:\*|{_TAG}(?:[ \t]*,[ \t]*{_TAG})*)$",
        max_length=1000,
    ),
]

WRITE_PROBLEMS = describe(
    *("bad_request", "unauthorized", "admin_disabled", "payload_too_large", "unsupported_media_type", "invalid"),
    *("idempotency_conflict", "store_unavailable"),
)


def once_only(key: IdempotencyKey, kept: timedelta, operation: str, body: BaseModel | None = None) -> OnceOnly | None:
    """Return the request under its idempotency key; None without a key.

    Args:
        key: The caller's.
        kept: How long the answer is kept.
        operation: What is done, and to what.
        body: The request's body; two are the same if they name the same fields with the same values.
    """
    if key is None:
        return None
    said = "" if body is None else body.model_dump_json(exclude_unset=True)
    return OnceOnly(keys.digest(KEY_SCOPE, key), keys.digest(operation, said), kept)


def revisions(if_match: IfMatch) -> str:
    """Return the revisions that a product may have, as the ledger wants them: '' for any.

    A weak tag matches nothing, as RFC 9110 has it.
    """
    if if_match is None or if_match == "*":
        return if_match or ""
    strong = [tag[1:-1] for tag in re.findall(_TAG, if_match) if not tag.startswith("W/")]
    return ",".join(strong) or '"'  # which is the revision of nothing


def etag(product: Product) -> str:
    """Return the entity tag of a product."""
    return f'"{product.revision}"'


def note_replay(response: Response, *, replayed: bool) -> None:
    """Say in the answer that the request was carried out earlier."""
    if replayed:
        response.headers[REPLAYED] = "true"
