"""From the text of an environment variable to a value; what cannot be used raises ValueError with the reason.

A message does not repeat a value that may hold a password.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

MAX_SHOWN = 64
MAX_DIGITS = 18
MAX_SOCKET_DIRECTORY = 80
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_FIELD_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]*")


def one_of(*values: str) -> Callable[[str], str]:
    """Parse one of a few words, written in any case of letters."""

    def parse(text: str) -> str:
        if text.lower() not in values:
            raise ValueError(f"{text[:MAX_SHOWN]!r} is not one of {', '.join(values)}")
        return text.lower()

    return parse


def some_of(*values: str) -> Callable[[str], tuple[str, ...]]:
    """Parse some of a few words, with commas between them."""
    one = one_of(*values)
    return lambda text: tuple(one(part) for part in parts(text))


def parts(text: str) -> tuple[str, ...]:
    """Parse a list with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def boolean(text: str) -> bool:
    """Parse ``true`` or ``false``, in any case of letters."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text[:MAX_SHOWN]!r} is neither true nor false")
    return text.lower() == "true"


def number(low: float, high: float) -> Callable[[str], float]:
    """Parse a finite number within bounds."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{text[:MAX_SHOWN]!r} is not a number") from None
        if not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"{text[:MAX_SHOWN]!r} is not between {low} and {high}")
        return value

    return parse


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Parse a whole number within bounds."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS) or not low <= int(text) <= high:
            raise ValueError(f"{text[:MAX_SHOWN]!r} is not a whole number between {low} and {high}")
        return int(text)

    return parse


def http_url(text: str) -> str:
    """Parse an absolute http or https URL."""
    complaint = "not an absolute http or https URL"  # the value may hold a password: it is not repeated
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        valid = valid and text.isprintable() and " " not in text
    except ValueError:
        raise ValueError(complaint) from None
    if not valid:
        raise ValueError(complaint)
    return text


def headers(text: str) -> dict[str, str]:
    """Parse ``name=value`` pairs, percent-encoded; a complaint shows nothing of them, for they may hold a secret."""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = pair.partition("=")
        name, value = unquote(name).strip().lower(), unquote(value).strip()
        if not equals or not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value) or name in found:
            raise ValueError("not a list of name=value pairs, each name once")
        found[name] = value
    return found


def socket_directory(text: str) -> Path:
    """Parse a directory whose path is short enough for a socket in it: the kernel takes about a hundred bytes."""
    if len(os.fsencode(text)) > MAX_SOCKET_DIRECTORY:
        raise ValueError(f"the path is longer than {MAX_SOCKET_DIRECTORY} bytes, which leaves no room for a socket")
    return Path(text)


def resource_attributes(text: str) -> dict[str, str]:
    """Parse ``key=value`` pairs, percent-encoded."""
    attributes = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ValueError("not a list of key=value pairs")
        attributes[key.strip()] = unquote(value.strip())
    return attributes


_T = TypeVar("_T")


class SettingsError(ValueError):
    """A variable holds a value that cannot be used; the message is one line and names the variable."""


class Environment:
    """Reads one variable at a time and puts its name in front of a complaint."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str | None:
        """Return what a variable holds; None when it is unset or empty."""
        return self._environ.get(name, "").strip() or None

    def read(self, name: str, parse: Callable[[str], _T], default: _T) -> _T:
        """Return what a variable says, or the default when it is unset or empty.

        Raises:
            SettingsError: it holds a value that cannot be used.
        """
        text = self.text(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from None
