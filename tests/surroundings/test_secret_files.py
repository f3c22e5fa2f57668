"""Every secret may be in a file, and no complaint shows what is in it."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from service.api.currencies import CODES
from service.settings import Settings, SettingsError
from tests.support.cli import complaint, flash_sale

SECRETS = {
    "ADMIN_TOKEN": "hidden-word",
    "MONITORING_TOKEN": "hidden-word",
    "REDIS_URL": "redis://:hidden-word@localhost:6379",
    "AUTH_JWT_SECRET": "hidden-word" * 4,
}
NO_DECIMALS = re.findall("...", "BIFCLPDJFGNFISKJPYKMFKRWPYGRWFUGXUYIVNDVUVXAFXOFXPF")
OTHERS = {**dict.fromkeys(re.findall("...", "BHDIQDJODKWDLYDOMRTND"), 3), "CLF": 4, "UYW": 4}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRETS[name] + "\n")
    assert _value(name, {f"{name}_FILE": str(file)}) == _value(name, {name: SECRETS[name]})


def _value(name: str, environ: dict[str, str]) -> object:
    settings = Settings.from_env(environ)
    return settings.auth_jwt.secret if name == "AUTH_JWT_SECRET" else getattr(settings, name.lower())


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x" * 70_000])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"^{name}_FILE: the file "):
        Settings.from_env({f"{name}_FILE": str(file)})
    with pytest.raises(SettingsError, match=rf"^{name}_FILE: set this or {name}, not both$"):
        Settings.from_env({f"{name}_FILE": str(file), name: SECRETS[name]})


@pytest.mark.parametrize("command", ["api", "worker"])
def test_a_role_in_a_container_needs_a_store(command: str) -> None:
    env = {"REDIS_URL": "", "DATA_DIR": "", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "PORT": "0"}
    assert complaint(flash_sale(command, env=env)).startswith("REDIS_URL: must be set in a container")


def test_the_decimals_of_currencies_are_those_of_iso_4217() -> None:
    """A browser's own are those of cash: 100 HUF in minor units was shown as 100 forints."""
    script = files("service.api").joinpath("page/catalogue.js").read_text()
    table = {code: int(digits) for code, digits in re.findall(r'\["([A-Z]{3})", (\d)\]', script)}
    assert table == {**dict.fromkeys(NO_DECIMALS, 0), **OTHERS}


def test_every_currency_with_decimals_of_its_own_is_one_that_the_api_takes() -> None:
    assert {*NO_DECIMALS, *OTHERS} <= CODES
    assert len(CODES) > 160
    assert not {"XXX", "XTS", "XAU", "BTC"} & CODES, "no testing, no metals, none that ISO 4217 does not name"
