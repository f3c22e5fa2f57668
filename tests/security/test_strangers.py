"""A service that other machines reach knows who its shoppers are, or was told that it need not."""

from typing import Any

import pytest

from service.processes.fleet import refuse_strangers
from service.processes.sockets import listen
from service.settings import Settings, SettingsError
from tests.support import RedisServer
from tests.support.cli import complaint, flash_sale

SECRET = "s" * 32
EVERYWHERE = "0.0.0.0"  # noqa: S104 - for a moment


@pytest.mark.parametrize("command", ["run", "api"])
def test_a_service_that_is_open_to_strangers_is_refused_at_start(valkey_server: RedisServer, command: str) -> None:
    """In one line that says what it means and what to set, before anything is started."""
    env = {"REDIS_URL": valkey_server.url, "HOST": EVERYWHERE, "PORT": "0", "CROWD": "0", "ALLOW_ANONYMOUS": ""}
    line = complaint(flash_sale(command, env=env))
    assert line.startswith(f"ALLOW_ANONYMOUS: HOST={EVERYWHERE} is open to other machines")
    for name in ("AUTH_JWT_SECRET", "AUTH_JWT_PUBLIC_KEY", "HOST=127.0.0.1", "ALLOW_ANONYMOUS=true"):
        assert name in line
    with valkey_server.sync_client() as store:
        assert store.dbsize() == 0


@pytest.mark.parametrize("host", [EVERYWHERE, "::"])
@pytest.mark.parametrize("settings", [{"auth_jwt": {"secret": SECRET}}, {"allow_anonymous": True}])
def test_with_a_key_or_with_a_word_it_starts(host: str, settings: dict[str, Any]) -> None:
    with listen("HOST", host, "PORT", 0) as listener:
        refuse_strangers(Settings.model_validate({"host": host, **settings}), listener)
        with pytest.raises(SettingsError):
            refuse_strangers(Settings(host=host), listener)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3", "::1"])
def test_on_loopback_nobody_need_be_known(host: str) -> None:
    with listen("HOST", host, "PORT", 0) as listener:
        refuse_strangers(Settings(host=host), listener)


@pytest.mark.parametrize("bad", ["maybe", "2", "ja"])
def test_the_word_is_yes_or_no(bad: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOW_ANONYMOUS: "):
        Settings.from_env({"ALLOW_ANONYMOUS": bad})
