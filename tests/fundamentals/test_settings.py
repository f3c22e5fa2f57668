"""The settings: what the environment may say, and one line for what it may not."""

import re
from pathlib import Path
from typing import Any

import pytest

from service.orders.payments import PaymentSettings
from service.settings import JwtSettings, Settings, SettingsError, unknown_variables
from service.webhooks.settings import WebhookSettings

SECRET = "s" * 32


def test_an_empty_environment_gives_the_defaults() -> None:
    """Those of a laptop; an empty variable, or one of blanks, counts as unset."""
    plain = Settings.from_env({}).model_dump(exclude={"fleet_id"})
    blank = {name.upper(): " " for name in Settings.model_fields}
    assert Settings.from_env(blank).model_dump(exclude={"fleet_id"}) == plain
    assert (plain["port"], plain["workers"], plain["order_workers"], plain["crowd"]) == (8000, 1, 1, 20)
    assert plain["redis_url"] is None
    assert plain["admin_token"] is None


def test_each_variable_reaches_its_setting() -> None:
    """Under its own name, with the prefix of its group; what is not ours is left alone."""
    settings = Settings.from_env(
        {
            "PORT": "0",
            "WORKERS": " 3 ",
            "REDIS_URL": "redis://localhost",
            "RESERVATION_TTL_SECONDS": "0.5",
            "PAYMENT_DECLINE_RATE": "0.25",
            "AUTH_JWT_SECRET": SECRET,
            "AUTH_JWT_AUDIENCE": "flash-sale",
            "PATH": "/bin",
            "HOME": "/",
        }
    )
    assert (settings.port, settings.workers, settings.payment.decline_rate) == (0, 3, 0.25)
    assert settings.policy.reservation.total_seconds() == 0.5
    assert settings.auth_jwt.enabled
    assert settings.auth_jwt.audience == "flash-sale"


BAD = [
    *(("PORT", value) for value in ("abc", "-1", "65536", "80.5", "8000 8001", "0x50")),
    *(("WORKERS", value) for value in ("0", "-1", "65", "two")),
    *(("ORDER_WORKERS", value) for value in ("-1", "65")),
    *(("CROWD", value) for value in ("-1", "nan", "inf", "many")),
    *(("REDIS_URL", value) for value in ("nonsense", "http://localhost", "redis://", "redis://h:0", "redis://h/x")),
    *(("STORE_FSYNC", value) for value in ("never", "ALWAYS")),
    *(("STORE_SHARDS", value) for value in ("0", "101")),
    *(("DRAIN_SECONDS", value) for value in ("-1", "601", "soon", "nan")),
    *(("STORE_TIMEOUT_SECONDS", value) for value in ("0", "-1", "nan", "61")),
    *(("RESERVATION_TTL_SECONDS", value) for value in ("0", "inf", "1e12")),
    *(("IDEMPOTENCY_TTL_SECONDS", value) for value in ("0", "nan")),
    *(("ORDER_RETENTION_SECONDS", value) for value in ("0", "3599", "86399", "nan")),
    *(("PAYMENT_DECLINE_RATE", value) for value in ("2", "-0.1", "nan", "half")),
    *(("PAYMENT_GATEWAY_URL", value) for value in ("nonsense", "ftp://h", "/pay")),
    *(("PAYMENT_TIMEOUT_SECONDS", value) for value in ("0", "inf")),
    *(("AUTH_JWT_SECRET", value) for value in ("short",)),
    *(("AUTH_JWT_ALGORITHM", value) for value in ("none", "hs256")),
    *(("RATE_LIMIT_PER_SECOND", value) for value in ("0", "-1", "nan")),
    *(("MAX_IN_FLIGHT", value) for value in ("0", "1.5")),
    *(("LOG_LEVEL", value) for value in ("INFO", "loud")),
    *(("LOG_FORMAT", value) for value in ("xml",)),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_that_cannot_be_used_is_one_line_that_begins_with_its_name(name: str, value: str) -> None:
    """Whatever was wrong with it."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({name: value})
    message = str(refused.value)
    assert message.startswith(name)
    assert "\n" not in message
    assert "pydantic" not in message


@pytest.mark.parametrize(
    "environ",
    [
        {"REDIS_URL": "redis://user:hunter2@"},
        {"REDIS_URL": "redis://user:hunter2@host:port"},
        {"REDIS_URL": "redis://user:hunter2@[::1"},
        {"REDIS_URL": "redis://:hunter2#x@host"},
        {"AUTH_JWT_SECRET": "hunter2"},
        {"AUTH_JWT_SECRET": "hunter2" * 5, "AUTH_JWT_ALGORITHM": "RS256"},
        {"PAYMENT_GATEWAY_URL": "ftp://user:hunter2@host"},
    ],
)
def test_a_refusal_repeats_no_secret(environ: dict[str, str]) -> None:
    """It is printed, and it is logged."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(environ)
    assert "hunter2" not in str(refused.value)


def test_settings_can_be_printed_without_their_secrets() -> None:
    """By `repr` and by `str`."""
    settings = Settings.from_env(
        {"REDIS_URL": "redis://:hunter2@host", "ADMIN_TOKEN": "hunter2", "AUTH_JWT_SECRET": "hunter2" * 5}
    )
    assert "hunter2" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    "environ",
    [
        {"AUTH_JWT_SECRET": SECRET, "AUTH_JWT_PUBLIC_KEY": "key"},
        {"AUTH_JWT_SECRET": SECRET, "AUTH_JWT_ALGORITHM": "ES256"},
        {"AUTH_JWT_PUBLIC_KEY": "key", "AUTH_JWT_ALGORITHM": "HS256"},
    ],
)
def test_keys_and_algorithms_go_together(environ: dict[str, str]) -> None:
    """Two keys, or a key of the other kind, are a mistake that would let people in or lock them out."""
    with pytest.raises(SettingsError, match=r"^AUTH_JWT"):
        Settings.from_env(environ)


def test_a_slip_of_the_pen_is_pointed_out() -> None:
    """A name that begins like ours and is not ours; others may stand in any environment."""
    assert unknown_variables({"PAYMENT_DECLINE_RATES": "1", "PATH": "/bin", "PORT": "1", "STORE_SHARDS": "1"}) == [
        "PAYMENT_DECLINE_RATES is not a setting; did you mean PAYMENT_DECLINE_RATE?"
    ]


SLIPS = {
    "RATE_LIMIT_PER_SECONDS": "RATE_LIMIT_PER_SECOND",
    "MAX_WAIT_SECOND": "MAX_WAIT_SECONDS",
    "ADMIN_TOKN": "ADMIN_TOKEN",
    "TELEMETRY_TRACE_PER_SECOND": "TELEMETRY_TRACES_PER_SECOND",
    "WORKER_SILENCE_SECOND": "WORKER_SILENCE_SECONDS",
    "FAULTS_ENABLE": "FAULTS_ENABLED",
    "CROWDS": "CROWD",
    "REDISURL": "REDIS_URL",
    "ALLOW_ANONYMOS": "ALLOW_ANONYMOUS",
    "CORS_ORIGIN": "CORS_ORIGINS",
    "ADMIN_TOKEN_FILES": "ADMIN_TOKEN_FILE",
    "rate_limit_per_second": "RATE_LIMIT_PER_SECOND",
    "Redis_Url": "REDIS_URL",
}


@pytest.mark.parametrize(("typed", "meant"), SLIPS.items())
def test_a_slip_is_told_whatever_it_begins_with(typed: str, meant: str) -> None:
    assert unknown_variables({typed: "5"}) == [f"{typed} is not a setting; did you mean {meant}?"]


def test_every_prefix_is_known() -> None:
    """Of each variable that has one; and each variable itself, and those that others read, is right."""
    for name in names():
        assert unknown_variables({name: "1"}) == []
        if "_" in name:
            wrong = f"{name.partition('_')[0]}_XYZZY"
            assert [line.partition(";")[0] for line in unknown_variables({wrong: "1"})] == [f"{wrong} is not a setting"]
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name in set(re.findall(r"`(TELEMETRY_[A-Z_]+)`", readme)) | {"CROWD_URL", "CROWD_TOKEN", "ADMIN_TOKEN_FILE"}:
        assert unknown_variables({name: "1"}) == []


@pytest.mark.parametrize(
    "name",
    [
        "REDIS_PORT",
        "REDIS_SERVICE_HOST",
        "REDIS_SERVICE_PORT_TCP",
        "REDIS_PORT_6379_TCP_ADDR",
        "HOSTNAME",
        "HOME",
        "SHELL",
    ],
)
def test_what_others_set_is_left_alone(name: str) -> None:
    """Kubernetes names each service of a namespace to each of its containers."""
    assert unknown_variables({name: "1"}) == []
    assert unknown_variables({"MAX_WAIT_SECOND": " "}) == [], "an empty variable is none"


def names() -> set[str]:
    """Return every variable that the service reads into its settings."""
    groups: dict[str, Any] = {"payment": PaymentSettings, "auth_jwt": JwtSettings, "webhook": WebhookSettings}
    plain = {name.upper() for name in Settings.model_fields if name not in groups}
    return plain | {f"{group.upper()}_{name.upper()}" for group, kind in groups.items() for name in kind.model_fields}


INTERNAL = {"FLEET_ID"}
"""Set by the parent for its own children; not for an operator."""


def test_every_setting_is_in_the_readmes_table() -> None:
    """As `NAME` in the first cell of a row; one row may hold several."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    rows = [line.split("|")[1] for line in readme.splitlines() if line.startswith("|") and line.count("|") >= 3]
    documented = {name for cell in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", cell)}
    assert names() - documented - INTERNAL == set()
