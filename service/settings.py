"""All settings of the service, read from the environment once, at the edge.

The names are those of the environment in lower case; durations carry their unit. A value that cannot be used is
a `SettingsError` of one line that begins with the variable's name. An empty variable counts as unset.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from service.host_names import as_browsers_write, parse_host_names
from service.ledger.ledger import LedgerPolicy
from service.orders.payments import PaymentSettings
from service.secret_files import SUFFIX, with_secret_files
from service.store.address import check_files, parse_url
from service.store.preflight import Durability
from service.token_keys import SYMMETRIC, algorithms_of
from service.webhooks.settings import WebhookSettings

_ORIGIN = re.compile(r"https?://[^/?#@\s]+")
_KEY_PREFIX = re.compile(r"[A-Za-z0-9._:-]{0,64}")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+/?")
_SERVICE_LINK = re.compile(r"[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)\w*)?)")
_NEARLY = 0.88
"""How alike two names are of which one is taken for a slip of the other: one letter in eight."""
_READ_ELSEWHERE = {
    *("TELEMETRY_INTERCEPTOR", "TELEMETRY_TRACES_PER_SECOND", "TELEMETRY_SLOW_SECONDS"),
    *("TELEMETRY_AFTERWARDS_PER_SECOND", "TELEMETRY_TRUST_CLIENT_SAMPLING", "TELEMETRY_SOCKET_DIR"),
    *("CROWD_URL", "CROWD_TOKEN"),
}
_GROUPS = {"payment": "PAYMENT_", "auth_jwt": "AUTH_JWT_", "webhook": "WEBHOOK_"}


class SettingsError(ValueError):
    """A setting cannot be used; the message is one line that begins with the variable's name."""


class JwtSettings(BaseModel):
    """The settings `AUTH_JWT_*`: bearer tokens that say who a shopper is. Off while neither key is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: SecretStr | None = Field(None, min_length=32)
    public_key: SecretStr | None = None
    algorithm: str | None = None
    audience: str | None = None
    issuer: str | None = None

    @model_validator(mode="after")
    def _one_key(self) -> "JwtSettings":
        if self.secret and self.public_key:
            raise ValueError("AUTH_JWT_PUBLIC_KEY: set this or AUTH_JWT_SECRET, not both")
        possible = self._possible()
        if self.algorithm is not None and self.algorithm not in possible:
            known = f"it may be {', '.join(possible)}" if possible else "no key is set"
            raise ValueError(f"AUTH_JWT_ALGORITHM: does not go with the key: {known}")
        return self

    def _possible(self) -> tuple[str, ...]:
        if self.public_key is None:
            return SYMMETRIC if self.secret else ()
        try:
            return algorithms_of(self.public_key.get_secret_value())
        except ValueError as error:
            raise ValueError(f"AUTH_JWT_PUBLIC_KEY: {error}") from None

    @cached_property
    def algorithms(self) -> tuple[str, ...]:
        """How a token may be signed: as is set, else in the way that goes with the key."""
        if self.algorithm is not None:
            return (self.algorithm,)
        return self._possible() if self.secret else self._possible()[:1]

    @property
    def enabled(self) -> bool:
        """Whether shoppers have to show a token."""
        return self.secret is not None or self.public_key is not None


class Settings(BaseModel):
    """The service's settings; the defaults are those of a laptop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    workers: int = Field(1, ge=1, le=64)
    order_workers: int = Field(1, ge=0, le=64)
    crowd: float = Field(20.0, ge=0, le=100_000, allow_inf_nan=False)

    redis_url: SecretStr | None = None
    data_dir: Path = Path(".data")
    durability: Durability = "fast"
    store_fsync: Literal["always", "everysec"] = "always"
    store_prefix: str = ""
    store_shards: int = Field(1, ge=1, le=100)
    store_timeout_seconds: float = Field(0.8, gt=0, le=60, allow_inf_nan=False)

    admin_token: SecretStr | None = Field(None, min_length=1)
    auth_jwt: JwtSettings = JwtSettings()
    allow_anonymous: bool = False

    reservation_ttl_seconds: float = Field(900, ge=0.001, le=365 * 86400, allow_inf_nan=False)
    idempotency_ttl_seconds: float = Field(86400, ge=1, le=365 * 86400, allow_inf_nan=False)
    order_retention_seconds: float | None = Field(None, ge=3600, le=100 * 365 * 86400, allow_inf_nan=False)
    events_retention_seconds: float = Field(7 * 86400, ge=1, le=365 * 86400, allow_inf_nan=False)
    order_attempts: int = Field(5, ge=1, le=100)
    order_retry_seconds: float = Field(0.5, ge=0, le=3600, allow_inf_nan=False)
    order_concurrency: int = Field(512, ge=1, le=10_000)
    worker_silence_seconds: float = Field(5, ge=0.5, le=3600, allow_inf_nan=False)
    payment: PaymentSettings = PaymentSettings()
    webhook: WebhookSettings = WebhookSettings()

    max_in_flight: int = Field(2000, ge=1, le=1_000_000)
    max_wait_seconds: float = Field(60, ge=0, le=86400, allow_inf_nan=False)
    cancellations_per_minute: int | None = Field(60, ge=1, le=1_000_000)
    ticket_window_seconds: float = Field(15.0, ge=1, le=3600, allow_inf_nan=False)
    rate_limit_per_second: float | None = Field(None, gt=0, allow_inf_nan=False)
    rate_limit_per_address: float | None = Field(None, gt=0, allow_inf_nan=False)
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    max_connections: int = Field(10_000, ge=16, le=1_000_000)
    client_timeout_seconds: float = Field(10, ge=0.1, le=3600, allow_inf_nan=False)
    keep_alive_seconds: float = Field(75, ge=0.1, le=86400, allow_inf_nan=False)
    drain_seconds: float = Field(5, ge=0, le=600, allow_inf_nan=False)
    shutdown_seconds: float = Field(4, gt=0, le=600, allow_inf_nan=False)

    cors_origins: tuple[str, ...] = ()
    monitoring_max_clients: int = Field(1000, ge=0, le=100_000)
    monitoring_origins: tuple[str, ...] = ()
    monitoring_token: SecretStr | None = Field(None, min_length=1)
    monitoring_ping_seconds: float = Field(20, ge=0.1, le=3600, allow_inf_nan=False)

    faults_enabled: bool = False

    fleet_id: str = Field(default_factory=lambda: secrets.token_hex(8))

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    jaeger_url: str | None = Field(None, pattern=r"^https?://[^\s/?#]+[^\s?#]*$")

    @field_validator("redis_url")
    @classmethod
    def _parses(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_files(parse_url(url.get_secret_value()))
        return url

    @field_validator("store_prefix")
    @classmethod
    def _starts_keys(cls, given: str) -> str:
        if not _KEY_PREFIX.fullmatch(given):
            raise ValueError(f"{given[:80]!r} is not up to 64 letters, digits, and . _ : -")
        return given

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _host_names(cls, given: Any) -> Any:  # noqa: ANN401 - what the environment holds
        return parse_host_names(given) if isinstance(given, str) else given

    @field_validator("root_path")
    @classmethod
    def _is_a_prefix(cls, given: str) -> str:
        if given.strip("/") and not _PREFIX.fullmatch(given):
            raise ValueError(f"{given[:255]!r} is not the beginning of a path such as /sale")
        return given.rstrip("/")

    @field_validator("monitoring_origins", "cors_origins", mode="before")
    @classmethod
    def _origins(cls, given: Any) -> Any:  # noqa: ANN401 - what the environment holds
        if not isinstance(given, str):
            return given
        origins = tuple(as_browsers_write(origin.strip().lower()) for origin in given.split(","))
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin such as https://shop.example")
        return origins

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, given: Any) -> Any:  # noqa: ANN401 - what the environment holds
        return tuple(map(_network, given.split(","))) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _keys_find_their_orders(self) -> "Settings":
        if self.order_retention_seconds is not None and self.order_retention_seconds < self.idempotency_ttl_seconds:
            raise ValueError("ORDER_RETENTION_SECONDS: must not be less than IDEMPOTENCY_TTL_SECONDS")
        return self

    @property
    def worker_silence(self) -> timedelta:
        """After how long without a heartbeat a worker counts as dead, wherever that is asked."""
        return timedelta(seconds=self.worker_silence_seconds)

    @property
    def policy(self) -> LedgerPolicy:
        """What the ledger grants."""
        return LedgerPolicy(
            reservation=timedelta(seconds=self.reservation_ttl_seconds),
            idempotency=timedelta(seconds=self.idempotency_ttl_seconds),
            attempts=self.order_attempts,
            retention=timedelta(seconds=keep) if (keep := self.order_retention_seconds) else None,
            events_retention=timedelta(seconds=self.events_retention_seconds),
            cancellations_per_minute=self.cancellations_per_minute,
            ticket_window=timedelta(seconds=self.ticket_window_seconds),
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: a variable holds a value that cannot be used.
        """
        try:
            environ = with_secret_files(environ, secret_variables())
        except ValueError as error:
            raise SettingsError(str(error)) from None
        given = {name: value.strip() for name, value in environ.items() if value.strip()}
        values: dict[str, Any] = {
            name: given[name.upper()] for name in cls.model_fields if name not in _GROUPS and name.upper() in given
        }
        for group, start in _GROUPS.items():
            fields = _fields_of(group)
            values[group] = {name: given[start + name.upper()] for name in fields if start + name.upper() in given}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_one_line(error)) from None


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is no address or network such as 10.0.0.0/8") from None


def secret_variables() -> list[str]:
    """Return the variables of the service that hold a secret: each may be in a file."""
    own = [name.upper() for name, field in Settings.model_fields.items() if _is_secret(field)]
    grouped = [
        start + name.upper()
        for group, start in _GROUPS.items()
        for name, field in _fields_of(group).items()
        if _is_secret(field)
    ]
    return own + grouped


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that looks like one of ours and is none: most likely a typing mistake.

    It looks so if it begins with the first word of one of ours, is nearly one, or is one in small letters. What
    Kubernetes sets for each service of a namespace (`REDIS_PORT`, `REDIS_SERVICE_HOST`) does not.
    """
    known = {name.upper() for name in Settings.model_fields if name not in _GROUPS} | _READ_ELSEWHERE
    known |= {start + name.upper() for group, start in _GROUPS.items() for name in _fields_of(group)}
    known |= {name + SUFFIX for name in secret_variables()}
    ours = tuple({f"{name.partition('_')[0]}_" for name in known if "_" in name})
    lines = []
    for name in sorted(environ):
        if name in known or not environ[name].strip() or _SERVICE_LINK.fullmatch(name):
            continue
        other_case = [name.upper()] if "_" in name and name.upper() in known else []
        close = other_case or get_close_matches(name, known, 1, _NEARLY)
        if close or name.startswith(ours):
            close = close or get_close_matches(name, known, 1)
            lines.append(f"{name} is not a setting" + (f"; did you mean {close[0]}?" if close else ""))
    return lines


def _fields_of(group: str) -> Mapping[str, Any]:
    model: type[BaseModel] = type(Settings.model_fields[group].default)
    return model.model_fields


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    name = (_GROUPS.get(place[0], f"{place[0]}_") + "_".join(place[1:])).upper().rstrip("_") if place else ""
    message = first["msg"].removeprefix("Value error, ")
    return message if message.startswith(name) else f"{name}: {message}"
