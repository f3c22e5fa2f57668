"""Under which names the service may be asked for, so that no page of a stranger's reaches it in a visitor's browser.

A browser holds a page to its name, not to its address: whoever owns `evil.example` can let it mean 127.0.0.1 once the
page is loaded (DNS rebinding), and the page then reads a service on loopback as if it were its own. It sends its name
as `Host`. An address, `localhost`, and a name without a dot cannot be had by a stranger.
"""

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

ANY: Final = "*"
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.?")
_REMEMBERED: Final = 1000


def parse_host_names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas; `*.shop.example` stands for all below it, `*` for all there are.

    Raises:
        ValueError: One of them is none.
    """
    names = tuple(name.strip().lower() for name in text.split(","))
    for name in names:
        if name != ANY and not _NAME.fullmatch(name) and not _is_address(name):
            raise ValueError(f"{name[:255]!r} is not the name of a host such as shop.example or *.shop.example")
    return tuple(name.rstrip(".") for name in names)


class HostNames:
    """Tells whether a request's `Host` may be ours.

    Args:
        named: What the operator says: names, `*.` and a name, or `*`. Empty: it depends on `loopback`.
        loopback: Whether we listen on this machine alone: nobody else has a name for us then, else any may be ours.
    """

    def __init__(self, named: Collection[str], *, loopback: bool) -> None:
        self._any = ANY in named or (not named and not loopback)
        self._names = {name for name in named if not name.startswith("*")}
        self._ends = (".localhost", *(name[1:] for name in named if name.startswith("*.")))
        self._known: dict[bytes, bool] = {}

    def allow(self, host: bytes) -> bool:
        """Return whether the value of a `Host` that is well formed may be ours."""
        if self._any:
            return True
        known = self._known.get(host)
        if known is None:
            known = self._known_to_be_ours(host.decode("latin-1").strip().lower())
            if len(self._known) < _REMEMBERED:
                self._known[host] = known
        return known

    def _known_to_be_ours(self, host: str) -> bool:
        name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].removesuffix(".")
        return "." not in name or name in self._names or name.endswith(self._ends) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def as_browsers_write(origin: str) -> str:
    """Return an origin without the port that is the scheme's own: `https://shop.example:443` would be nobody's."""
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")
