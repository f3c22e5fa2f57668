"""How a webhook is signed (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)."""

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode

PREFIX = "whsec_"
MIN_BYTES, MAX_BYTES = 24, 64
"""Of a key, as the specification has it."""


def keys_of(secret: str) -> list[bytes]:
    """Read the keys of a secret: one, or several with spaces between, of which receivers may know any.

    Raises:
        ValueError: It is none.
    """
    keys = [_key(word) for word in secret.split()]
    if not keys:
        raise ValueError(f"must be {PREFIX} and a key in base64")
    return keys


def _key(word: str) -> bytes:
    try:
        text = word.removeprefix(PREFIX)
        key = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not word.startswith(PREFIX) or not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(f"must be {PREFIX} and {MIN_BYTES} to {MAX_BYTES} bytes in base64")
    return key


def sign(keys: list[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that say who sends a body, and when; a signature for each key."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
