"""Blanking secrets in what is logged or exported: by the name of the field, parameter or key that holds them."""

import re
from urllib.parse import unquote_plus

REDACTED = "[redacted]"
REDACTED_PARAMETER = "REDACTED"  # as OpenTelemetry's conventions for `url.query` have it

_SECRET_NAME = re.compile(
    r"authorization|token|passw|passphrase|secret|cookie|credential|signature|(api|private|access|auth|sign)[-_.]?key",
    re.IGNORECASE,
)
_SECRET_PARAMETER = re.compile(
    r"sess(ion)?[-_.]?id|session|jwt|^(auth|code|hmac|key|otp|pass|pin|pw|pwd|sas|sid|sig)$", re.IGNORECASE
)
"""What else holds a secret as a parameter of a URL, but not as a field of a log line."""
_USERINFO = re.compile(r"(?<=://)[^/?#\s@]*@")
_BEARER = re.compile(r"\b(bearer|basic)\s+[^\s,;\"']+", re.IGNORECASE)
_QUERY = re.compile(r"\?[^\s?\"'<>]+=[^\s\"'<>]*")
_PAIR = re.compile(  # possessive, and from the beginning of a word on: a long one is looked at once
    r"(?<![\w.\[\]-])(?P<name>[\w.\[\]-]++)(?P<between>[\"']?\s?[=:]\s?[\"']|=)(?P<value>[^\s\"'&,;)}\]]++)"
)


def is_secret(name: str) -> bool:
    """Return whether a field of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def redact_query(query: str) -> str:
    """Return a URL's query with the values of the parameters that hold a secret blanked."""
    if "=" not in query:
        return query
    return "&".join([_redact_parameter(part) for part in query.split("&")])


def _redact_parameter(part: str) -> str:
    name, equals, value = part.partition("=")
    plain = unquote_plus(name).strip()
    if equals and value and (is_secret(plain) or _SECRET_PARAMETER.search(plain)):
        return f"{name}={REDACTED_PARAMETER}"
    return part


def redact_url(url: str) -> str:
    """Return a URL without credentials and without the secrets of its query."""
    if "://" in url:
        url = _USERINFO.sub(f"{REDACTED_PARAMETER}@", url)
    base, mark, query = url.partition("?")
    return f"{base}?{redact_query(query)}" if mark else url


def redact_text(text: str) -> str:
    """Return a text without credentials of URLs, bearer tokens, and secrets in queries or pairs of name and value."""
    if "://" in text:
        text = _USERINFO.sub(f"{REDACTED}@", text)
    if "?" in text:
        text = _QUERY.sub(lambda found: f"?{redact_query(found.group()[1:])}", text)
    if "=" in text or ":" in text:
        text = _PAIR.sub(_redact_pair, text)
    return _BEARER.sub(rf"\1 {REDACTED}", text)


def _redact_pair(found: re.Match[str]) -> str:
    if not is_secret(found["name"]) or found["value"] in (REDACTED, REDACTED_PARAMETER):
        return found.group()
    return f"{found['name']}{found['between']}{REDACTED}"
