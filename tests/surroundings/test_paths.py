"""Any directory and any address will do, or is refused by the name of the variable that holds it."""

import os
import re
import tempfile
from pathlib import Path

import httpx
import pytest

from service.processes.sockets import is_loopback, listen, url_of
from service.settings import SettingsError
from service.store.client import connect
from service.store.embedded import EmbeddedStore
from service.store.server_process import attach
from telemetry import SettingsError as TelemetrySettingsError
from telemetry import TelemetrySettings
from tests.support import Program, eventually
from tests.support.cli import complaint, flash_sale
from tests.support.http import http_get
from tests.support.program import SCRIPT

NAMES = [
    "feature%2Flogin",
    "100%",
    "a#b",
    "a?b=c&d",
    "two words",
    "it's",
    'a"b',
    "käse",
    "\N{FIRE}",
    "a;b",
    "a\\b",
    "x" * 150,
    os.fsdecode(b"\xff\xfe"),
    "\N{RIGHT-TO-LEFT OVERRIDE}abc",
    "a\nb",
    "-rf",
    "trailing ",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
async def test_a_data_directory_of_any_name(tmp_path: Path, name: str) -> None:
    """The embedded store runs in it, and another process finds it there."""
    directory = tmp_path / name / "data"
    with EmbeddedStore(directory) as store:
        assert attach(directory) == store.url
        async with connect(store.url, name="test") as client:
            assert await client.set("key", "value")


async def test_a_temporary_directory_that_is_too_long_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("t" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with EmbeddedStore(tmp_path / ("d" * 150)) as store:
        assert len(os.fsencode(store.url)) < 107
        async with connect(store.url, name="test") as client:
            assert await client.ping()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env = {"DATA_DIR": str(tmp_path / "file" / "data"), "REDIS_URL": "", "PORT": "0"}
    assert complaint(flash_sale("run", env=env), 1).startswith("DATA_DIR: ")


@pytest.mark.parametrize("command", ["run", "audit"])
def test_a_link_that_leads_to_itself_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    env = {"DATA_DIR": str(tmp_path / "loop"), "REDIS_URL": "", "PORT": "0"}
    line = complaint(flash_sale(command, env=env), 1)
    assert f"{tmp_path}/loop" in line
    assert "DATA_DIR" in line


def test_a_directory_that_is_no_text_is_shown_with_backslashes(tmp_path: Path) -> None:
    """On the terminal, in the log and by the audit, whatever the locale."""
    env = {"DATA_DIR": str(tmp_path / os.fsdecode(b"\xffk\xc3\xa4se")), "REDIS_URL": "", "PORT": "0", "CROWD": "0"}
    env |= {"PYTHONIOENCODING": "ascii"}
    with Program([SCRIPT, "run"], env=env) as program:
        assert "\\udcffk" in program.wait_for_line("store        ", 60)
        url = program.wait_for_line("flash-sale   http").split()[1]
        eventually(lambda: http_get(f"{url}/readyz").is_success, 30, "it is ready")
        audit = flash_sale("audit", env=env)
        assert program.terminate() == 0
    assert audit.returncode == 0
    assert audit.stdout.startswith(f"store   {tmp_path}/\\udcffk\\xe4se (DATA_DIR)\n")


def test_a_socket_directory_that_is_too_long_is_refused() -> None:
    with pytest.raises(TelemetrySettingsError, match=r"TELEMETRY_SOCKET_DIR: the path is longer"):
        TelemetrySettings.from_env({"TELEMETRY_SOCKET_DIR": "/" + "x" * 90}, service_name="x")


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "localhost"),
        ("localhost", "localhost"),
        ("0.0.0.0", "localhost"),  # noqa: S104 - for a moment
        ("::", "localhost"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("0:0:0:0:0:0:0:1", "[::1]"),
        ("127.0.0.2", "127.0.0.2"),
        ("::ffff:127.0.0.1", "[::ffff:127.0.0.1]"),
    ],
)
def test_an_address_is_shown_as_it_is_dialled(host: str, shown: str) -> None:
    with listen("HOST", host, "PORT", 0) as listener:
        assert re.fullmatch(rf"http://{re.escape(shown)}:\d+", url_of(listener))
        assert is_loopback(listener) is (host not in {"0.0.0.0", "::"})  # noqa: S104 - as above


@pytest.mark.parametrize(
    "host", ["nowhere.invalid", "1.2.3.4.5", "192.0.2.1", "2001:db8::1", "a b", "x" * 300, "a..b", ":"]
)
def test_a_bad_host_is_said_to_be_the_host(host: str) -> None:
    with pytest.raises(SettingsError, match=r"^HOST: ") as refused:
        listen("HOST", host, "PORT", 0)
    assert "\n" not in str(refused.value)


def test_a_port_that_is_taken_is_said_to_be_the_port() -> None:
    with (
        listen("HOST", "::1", "PORT", 0) as taken,
        pytest.raises(SettingsError, match=r"^PORT: cannot listen on \[::1\]:"),
    ):
        listen("HOST", "::1", "PORT", taken.getsockname()[1])


def test_a_whole_service_in_odd_surroundings(tmp_path: Path) -> None:
    """IPv6, a long TMPDIR, a percent sign in DATA_DIR: orders are settled, and one scrape answers for all."""
    temporary = tmp_path / ("t" * 100)
    temporary.mkdir()
    env = {
        "HOST": "0:0:0:0:0:0:0:1",
        "PORT": "0",
        "CROWD": "20",
        "WORKERS": "2",
        "REDIS_URL": "",
        "TMPDIR": str(temporary),
        "DATA_DIR": str(tmp_path / "50%25 #1?"),
        "ADMIN_TOKEN": "the-operators-own-token",
    }
    with Program([SCRIPT, "run"], env=env) as program:
        url = program.wait_for_line("flash-sale   http://[::1]:", 60).split()[1]

        def settled() -> bool:
            try:
                text = http_get(f"{url}/metrics", timeout=5).text
            except httpx.TransportError:
                return False
            confirmed = re.search(r'^flash_sale_orders_total\{.*status="confirmed".*\} ([1-9].*)$', text, re.MULTILINE)
            return bool(confirmed) and {'worker="api-0"', 'worker="api-1"', 'worker="order-0"'} <= set(
                re.findall(r'worker="[^"]+"', text)
            )

        eventually(settled, 90, "orders are confirmed, and all processes are in one scrape")
        assert program.terminate() == 0
        assert "the-operators-own-token" not in program.output
