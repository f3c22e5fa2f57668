"""The command line: its help, and one line with status 2 for whatever is wrong with a command or a setting."""

import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import MakeServer
from tests.support import RedisServer
from tests.support.cli import complaint, flash_sale

HELP = {
    (): ("run", "api", "worker", "crowd", "audit", "orders", "dead-letters", "REDIS_URL"),
    ("run",): ("PORT", "WORKERS", "ORDER_WORKERS", "CROWD", "REDIS_URL", "ADMIN_TOKEN", "Ctrl-C"),
    ("api",): ("WORKERS", "HOST:PORT", "ADMIN_TOKEN"),
    ("worker",): ("ORDER_WORKERS", "OTEL_EXPORTER_PROMETHEUS_PORT", "9464"),
    ("crowd",): ("--rate", "--duration", "--users", "--product", "--idempotency", "--watch", "--json", "status 1"),
    ("audit",): ("--json", "status 1", "REDIS_URL"),
    ("plan",): ("--orders-per-second", "--products", "--payment-seconds", "--node-price", "--json", "Status 1"),
    ("orders",): ("list", "show", "export"),
    ("orders", "list"): ("--product", "--status", "--user", "--since", "--until", "--limit", "--json"),
    ("orders", "show"): ("ORDER_ID", "--json"),
    ("orders", "export"): ("--product", "--status", "--format"),
    ("dead-letters",): ("list", "requeue", "drop"),
    ("dead-letters", "list"): ("--json",),
    ("dead-letters", "requeue"): ("--all", "ORDER_ID"),
    ("dead-letters", "drop"): ("--all", "ORDER_ID"),
}


def test_the_version_is_that_of_the_distribution() -> None:
    done = flash_sale("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"flash-sale {version('flash-sale')}\n", "")


def test_the_help_of_each_command_says_what_there_is() -> None:
    """The options, the variables that matter to it, and what its status means."""
    for command, words in HELP.items():
        done = flash_sale(*command, "--help" if command else "-h")
        assert (done.returncode, done.stderr) == (0, ""), command
        assert [word for word in words if word not in done.stdout] == [], command
        assert "process" not in done.stdout.split("Commands")[-1].split() or command, "the hidden command is hidden"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["nope"], "No such command 'nope'"),
        (["run", "extra"], "extra"),
        (["run", "--port", "1"], "--port"),
        (["crowd", "--rate", "abc"], "--rate"),
        (["crowd", "--orders", "0"], "--orders"),
        (["crowd", "--idempotency", "1.5"], "--idempotency"),
        (["crowd", "--url", "nonsense"], "--url: Input should be a valid URL"),
        (["crowd", "--product", "a=b"], "'b' is not a number"),
        (["audit", "--xml"], "--xml"),
        (["orders", "list", "--status", "lost"], "'lost' is no status of an order"),
        (["orders", "export", "--since", "yesterday"], "--since 'yesterday' is no time"),
        (["orders", "export", "--format", "xml"], "--format"),
        (["dead-letters", "nope"], "No such command 'nope'"),
        (["dead-letters", "drop"], "name the orders, or say --all"),
        (["dead-letters", "requeue", "--all", "x"], "name the orders, or say --all"),
    ],
)
def test_a_wrong_command_is_one_line(command: list[str], words: str) -> None:
    """Status 2, before a store is even looked for."""
    assert words in complaint(flash_sale(*command, env={"REDIS_URL": "redis://127.0.0.1:1"}))


@pytest.mark.parametrize(
    ("flags", "words"),
    [([], "does not tell what is for sale (connect): is the service started?"), (["--truth"], "does not answer")],
)
def test_a_crowd_that_finds_no_service_says_so_in_one_line(
    valkey_server: RedisServer, flags: list[str], words: str
) -> None:
    """Status 1: nothing is wrong with the command line."""
    done = flash_sale("crowd", "--url", "http://127.0.0.1:1", *flags, env={"REDIS_URL": valkey_server.url})
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["dead-letters"]])
def test_no_command_shows_the_help(command: list[str]) -> None:
    """Status 2: nothing was done."""
    done = flash_sale(*command)
    assert (done.returncode, done.stderr) == (2, "")
    assert "Usage:" in done.stdout


BAD = [
    ("run", "PORT", "abc"),
    ("api", "WORKERS", "0"),
    ("worker", "REDIS_URL", "nonsense"),
    ("run", "OTEL_TRACES_SAMPLER", "foo"),
    ("api", "OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
    ("worker", "TELEMETRY_INTERCEPTOR", "magic"),
    ("run", "PAYMENT_DECLINE_RATE", "2"),
    ("api", "AUTH_JWT_SECRET", "short"),
]


@pytest.mark.parametrize(("command", "name", "value"), BAD)
def test_a_bad_setting_ends_a_role_with_one_line_that_names_it(
    command: str, name: str, value: str, tmp_path: Path
) -> None:
    """Before anything is started."""
    env = {"DATA_DIR": str(tmp_path), "PORT": "0", "OTEL_EXPORTER_PROMETHEUS_PORT": "0", name: value}
    assert complaint(flash_sale(command, env=env)).startswith(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["CORS_ORIGINS", "TELEMETRY_INTERCEPTOR"])
def test_a_bad_value_without_end_is_not_repeated_whole(name: str) -> None:
    """A line is for reading."""
    line = complaint(flash_sale("api", env={name: "a" * 100_000, "REDIS_URL": "redis://127.0.0.1:1"}))
    assert line.startswith(name)
    assert len(line) < 1100


def test_the_port_of_a_workers_metrics_is_a_setting_like_others() -> None:
    """Named in the line."""
    env = {"OTEL_EXPORTER_PROMETHEUS_PORT": "x", "REDIS_URL": "redis://127.0.0.1:1"}
    assert complaint(flash_sale("worker", env=env)).startswith("OTEL_EXPORTER_PROMETHEUS_PORT")


@pytest.mark.parametrize("command", [["audit"], ["dead-letters", "list"]])
def test_commands_that_only_read_check_the_settings_too(command: list[str]) -> None:
    """The same line."""
    assert complaint(flash_sale(*command, env={"REDIS_URL": "redis://host:port"})).startswith("REDIS_URL")


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("command", "name"), [("run", "PORT"), ("api", "PORT"), ("worker", "OTEL_EXPORTER_PROMETHEUS_PORT")]
)
def test_a_port_in_use_is_named(valkey_server: RedisServer, taken: int, command: str, name: str) -> None:
    """With the variable, the address and the reason."""
    env = {"REDIS_URL": valkey_server.url, name: str(taken), "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1"}
    line = complaint(flash_sale(command, env=env))
    assert line == f"{name}: cannot listen on 127.0.0.1:{taken}: Address already in use"


@pytest.mark.parametrize("command", [["run"], ["worker"]])
def test_a_store_that_may_evict_orders_is_refused(make_server: MakeServer, command: list[str]) -> None:
    """With the setting that it would need."""
    server = make_server("valkey", maxmemory_policy="allkeys-lru")
    env = {"REDIS_URL": server.url, "PORT": "0", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    assert complaint(flash_sale(*command, env=env)) == (
        "the store may evict orders: maxmemory-policy is allkeys-lru; set it to noeviction"
    )


def test_a_store_with_another_number_of_shards_is_refused(valkey_server: RedisServer) -> None:
    """The orders in it could not be found."""
    with valkey_server.sync_client() as client:
        client.hset("{fs:00}:settings", "shards", "4")
    line = complaint(flash_sale("api", env={"REDIS_URL": valkey_server.url, "PORT": "0"}))
    assert line.startswith("STORE_SHARDS is 1")


def test_a_password_is_never_printed(make_server: MakeServer) -> None:
    """Neither by a refusal of the store nor by a refusal of the URL."""
    server = make_server("valkey", requirepass="hunter2-right")
    address = server.url.removeprefix("redis://")
    for url in (f"redis://:hunter2-wrong@{address}", "redis://:hunter2#@host", "redis://:hunter2@"):
        line = complaint(flash_sale("audit", env={"REDIS_URL": url}))
        assert "REDIS_URL" in line
        assert "hunter2" not in line
