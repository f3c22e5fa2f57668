"""What `REDIS_URL` may say, parsed into a `StoreAddress`.

    redis://[user[:password]@]host[:port][/db]            one server; rediss:// for TLS
    unix://[user[:password]@]/path/to/socket[?db=0]       one server on a unix socket
    redis+sentinel://h1[:p1],h2[:p2]/service[?db=0]       the master that the sentinels name
    redis+cluster://h1[:p1],h2[:p2]                       a cluster; rediss+... for TLS

With TLS, as options: `ssl_ca_certs` (a file of authorities), `ssl_certfile` and `ssl_keyfile` (who we are),
`ssl_check_hostname` (`false`: the certificate may name another host), `ssl_cert_reqs` (`none`: any certificate).

A refusal is a `ValueError` of one line that names `REDIS_URL` and repeats nothing of a password.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
MAX_PORT: Final = 65535

_SENTINEL_KEYS: Final = frozenset({"sentinel_username", "sentinel_password"})
_TLS_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_TLS_KEYS: Final = _TLS_FILES | {"ssl_cert_reqs", "ssl_check_hostname"}


class Topology(StrEnum):
    """How the store is laid out."""

    SINGLE = "single"
    UNIX = "unix"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES: Final = {
    "redis": (Topology.SINGLE, False),
    "rediss": (Topology.SINGLE, True),
    "unix": (Topology.UNIX, False),
    "redis+sentinel": (Topology.SENTINEL, False),
    "rediss+sentinel": (Topology.SENTINEL, True),
    "redis+cluster": (Topology.CLUSTER, False),
    "rediss+cluster": (Topology.CLUSTER, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """Where the store is and who asks. Passwords stay out of its repr; `str()` is fit for a log."""

    topology: Topology
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls_options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        where = self.path or ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{self.topology}:{where}" + (f"/{self.service}" if self.service else "")


def parse_url(url: str) -> StoreAddress:
    """Parse the value of `REDIS_URL`.

    Raises:
        ValueError: one line that names `REDIS_URL` and what is wrong with it, without any secret.
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # its message may quote the password
        _refuse("is not a URL")
    if parts.scheme not in _SCHEMES:
        _refuse(f"must start with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    if parts.fragment:
        _refuse("has a #; write %23 for one in a password")
    topology, tls = _SCHEMES[parts.scheme]
    options = _options(parts.query, topology, tls=tls)
    username, password, netloc = _credentials(parts.netloc)
    if topology is Topology.UNIX and (netloc or not parts.path.strip("/")):
        _refuse("must name an absolute path: unix:///path/to/socket")
    return StoreAddress(
        topology=topology,
        hosts=() if topology is Topology.UNIX else _hosts(netloc, topology),
        path=unquote(parts.path) if topology is Topology.UNIX else "",
        service=_service(parts, topology),
        db=_db(parts, options, topology),
        tls=tls,
        username=username,
        password=password,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        tls_options=tuple(sorted((key, options[key]) for key in options.keys() & _TLS_KEYS)),
    )


def check_files(address: StoreAddress) -> None:
    """Return if the files that an address names can be read: without them no connection is ever made.

    Raises:
        ValueError: as `parse_url` does.
    """
    for key, value in address.tls_options:
        if key in _TLS_FILES:
            try:
                Path(value).open("rb").close()
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "not a path"
                _refuse(f"names a file as {key} that cannot be read: {why}")


def _refuse(why: str) -> NoReturn:
    raise ValueError(f"REDIS_URL {why}") from None


def _options(query: str, topology: Topology, *, tls: bool) -> dict[str, str]:
    known = {"db"}
    if topology is Topology.SENTINEL:
        known |= _SENTINEL_KEYS
    if tls:
        known |= _TLS_KEYS
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            _refuse(f"has an option that it cannot have here; it may have: {', '.join(sorted(known))}")
        options[key] = value
    if options.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        _refuse("has a bad ssl_cert_reqs: required, optional or none")
    if options.get("ssl_check_hostname", "true") not in ("true", "false"):
        _refuse("has a bad ssl_check_hostname: true or false")
    return options


def _credentials(netloc: str) -> tuple[str | None, str | None, str]:
    userinfo, _, rest = netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    return unquote(username) or None, unquote(password) or None, rest


def _hosts(netloc: str, topology: Topology) -> tuple[tuple[str, int], ...]:
    default = SENTINEL_PORT if topology is Topology.SENTINEL else REDIS_PORT
    hosts = tuple(_host(entry, default) for entry in netloc.split(","))
    if topology is Topology.SINGLE and len(hosts) != 1:
        _refuse("names several hosts; for that it must be redis+sentinel:// or redis+cluster://")
    return hosts


def _host(entry: str, default_port: int) -> tuple[str, int]:
    if entry.startswith("["):  # an IPv6 address
        host, bracket, port_text = entry[1:].partition("]")
        if not bracket or (port_text and not port_text.startswith(":")):
            _refuse("has a bad IPv6 address")
        port_text = port_text.removeprefix(":")
    else:
        host, _, port_text = entry.partition(":")
    if not host:
        _refuse("names no host")
    if not port_text:
        return host, default_port
    if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text[:6]) <= MAX_PORT):
        _refuse("has a bad port (a special character in a password must be percent-encoded)")
    return host, int(port_text)


def _service(parts: SplitResult, topology: Topology) -> str:
    if topology is not Topology.SENTINEL:
        return ""
    service = unquote(parts.path.strip("/"))
    if not service:
        _refuse("must name the sentinel's service: redis+sentinel://host:26379/mymaster")
    return service


def _db(parts: SplitResult, options: dict[str, str], topology: Topology) -> int:
    text = options.get("db", "")
    if topology in (Topology.SINGLE, Topology.CLUSTER):
        text = parts.path.strip("/") or text
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_PORT)):
        _refuse("has a bad database number")
    if topology is Topology.CLUSTER and int(text):
        _refuse("has a database number other than 0, which a cluster cannot have")
    return int(text)
