"""A secret in every setting that may hold one, and then a look at everything that leaves the service or can be seen."""

import base64
import json
import re
import secrets
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import httpx
import jwt
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from service.processes.startup import telemetry_settings
from service.secret_files import OF_TELEMETRY
from service.settings import Settings, secret_variables
from telemetry.environment import SettingsError as TelemetrySettingsError
from telemetry.otel_variables import prepare
from tests.support import Program, eventually
from tests.support.program import SCRIPT
from tests.support.service import Fleet
from tests.support.stores import RedisServer
from tests.telemetry.collector import Collector

PRODUCT = {"name": "A shirt", "price": 1000, "currency": "EUR", "stock": 1000}
SHAPES: Mapping[str, Callable[[str], str]] = {
    "REDIS_URL": "redis://:{}@127.0.0.1:1/0".format,
    "ADMIN_TOKEN": "{}".format,
    "MONITORING_TOKEN": "{}".format,
    "AUTH_JWT_SECRET": "{}".format,
    "AUTH_JWT_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----".format,
    "PAYMENT_GATEWAY_URL": "http://shop:{}@127.0.0.1:1/pay".format,
    "WEBHOOK_URL": "http://shop:{}@127.0.0.1:1/hook".format,
    "WEBHOOK_SECRET": "whsec_{}".format,
    **dict.fromkeys(OF_TELEMETRY, "api-key={}".format),
}
"""Of each variable that holds a secret, what an operator writes into it."""
WRONG: list[Callable[[str], str]] = [
    *("{}".format, "{0} {0}".format, "x={}".format, "api-key: {}".format, "a={0},a={0}".format, "é={}".format),
    *("redis://u:{}@".format, "redis://u:{}@h:bad".format, "redis://:{}#x@h".format, "redis://u:{}@[::1".format),
    *("redis+sentinel://h?sentinel_password={}".format, "rediss://h?ssl_cert_reqs={}".format, "nope://:{}@h".format),
    *("http://u:{}@h:99999".format, "ftp://u:{}@h".format, "http://u:{}@".format, "http://{} x@h/".format),
    "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----".format,
    lambda secret: secret * 3000,
    lambda secret: secret[:5] + "\x00" + secret,
]


def planted() -> str:
    """Return a word that stands nowhere else, long enough for a key."""
    return f"planted{secrets.token_hex(20)}"


def test_every_setting_that_holds_a_secret_is_planted() -> None:
    """Whoever adds one has to say here what an operator would write."""
    assert set(SHAPES) == {*secret_variables(), *OF_TELEMETRY}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("in_file", [False, True], ids=["in the variable", "in a file"])
def test_nothing_that_is_said_of_a_value_repeats_it(tmp_path: Path, name: str, in_file: bool) -> None:
    """Whether it is taken or refused: not the settings' own text, not the complaint, not its traceback."""
    for number, shape in enumerate([SHAPES[name], *WRONG]):
        secret = planted()
        value = shape(secret)
        environ = {name: value, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
        if in_file:
            file = tmp_path / str(number)
            file.write_text(value)
            environ = {f"{name}_FILE": str(file), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
        said = []
        for read in (Settings.from_env, lambda env: telemetry_settings(env, "api-0")):
            try:
                said.append(f"{read(environ)!r} {read(environ)!s}")
            except (ValueError, TelemetrySettingsError) as error:
                said += ["".join(traceback.format_exception(error)), str(error), repr(error)]
        assert secret not in "\n".join(said), (name, value)


@pytest.mark.parametrize("captured", ["SERVER_REQUEST", "SERVER_RESPONSE", "CLIENT_REQUEST", "CLIENT_RESPONSE"])
def test_headers_that_are_captured_are_blanked_whoever_captures_them(captured: str) -> None:
    environ = {f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_{captured}": ".*"}
    prepare(environ)
    patterns = environ["OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS"].split(",")
    for header in ("authorization", "proxy-authorization", "cookie", "sec-websocket-protocol", "x-api-key"):
        assert any(re.fullmatch(pattern, header) for pattern in patterns), header


class _Gateway(BaseHTTPRequestHandler):
    """Captures every other charge, and fails the others, with what it was sent in the reason."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_POST(self) -> None:
        """Answer one charge."""
        self.rfile.read(int(self.headers["content-length"]))
        self.asked.append(self.headers.get("authorization", ""))
        failed = len(self.asked) % 2 == 0
        reason = json.dumps({"reason": self.headers.get("authorization", "")})
        body = (reason if failed else '{"status":"captured","payment_id":"pay-1"}').encode()
        self.send_response(500 if failed else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@contextmanager
def gateway() -> Iterator[tuple[str, list[str]]]:
    """Run a gateway; yield its host and port, and what it was shown as `Authorization`."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Gateway", (_Gateway,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def watched(collector: Collector) -> bool:
    """Return whether the span of a WebSocket has arrived, with the header in which its token was."""
    keys = {attribute.key for span in collector.spans() for attribute in span.attributes}
    return any(key.startswith("http.request.header.sec_websocket_protocol") for key in keys)


def command_lines() -> str:
    """Return the arguments of every process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended
    return "\n".join(found)


def forms(secret: str, user: str = "") -> set[str]:
    """Return a secret as it may be written: plain, percent-encoded, in base64 as a password of basic credentials."""
    texts = {secret, f":{secret}", f"{user}:{secret}"}
    return {secret, quote(secret, safe=""), *(base64.b64encode(text.encode()).decode().rstrip("=") for text in texts)}


def environment(plants: Mapping[str, str], directory: Path, payments: str, hook: str, collector: str) -> dict[str, str]:
    """Return the settings, two of the secrets in files of a directory."""
    for name in ("ADMIN_TOKEN", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        (directory / name).write_text(SHAPES[name](plants[name]))
    return {
        "ADMIN_TOKEN": "",
        "ADMIN_TOKEN_FILE": str(directory / "ADMIN_TOKEN"),
        "MONITORING_TOKEN": plants["MONITORING_TOKEN"],
        "AUTH_JWT_SECRET": plants["AUTH_JWT_SECRET"],
        "PAYMENT_GATEWAY_URL": f"http://shop:{plants['PAYMENT_GATEWAY_URL']}@{payments}/pay",
        "WEBHOOK_URL": f"http://shop:{plants['WEBHOOK_URL']}@{hook}/hook",
        "WEBHOOK_SECRET": f"whsec_{plants['WEBHOOK_SECRET']}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://us:{plants['endpoint']}@{collector}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={plants['OTEL_EXPORTER_OTLP_HEADERS']}",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE": str(directory / "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": f"x-logs={plants['OTEL_EXPORTER_OTLP_LOGS_HEADERS']}",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS": f"x-more={plants['OTEL_EXPORTER_OTLP_METRICS_HEADERS']}",
        "OTEL_METRICS_EXPORTER": "prometheus,otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST": ".*",
        "LOG_LEVEL": "debug",
        "PAYMENT_TIMEOUT_SECONDS": "0.5",
        "ORDER_RETRY_SECONDS": "0.05",
    }


def leaks(plants: Mapping[str, str], text: str) -> set[str]:
    """Return the secrets that a text has, in any form."""
    users = {"PAYMENT_GATEWAY_URL": "shop", "WEBHOOK_URL": "shop", "endpoint": "us", "REDIS_URL": "shop"}
    return {name for name, secret in plants.items() if any(form in text for form in forms(secret, users.get(name, "")))}


@pytest.mark.timeout(180)
def test_no_secret_leaves_a_service_that_runs_and_fails(tmp_path: Path) -> None:
    """Every secret in use at once; requests are right and wrong; the store, the gateway and the collector break."""
    plants = {name: planted() for name in (*SHAPES, "endpoint", "store user")}
    del plants["AUTH_JWT_PUBLIC_KEY"]  # not beside the other key
    with (
        RedisServer("valkey", aof=True) as store,
        Collector() as collector,
        gateway() as (payments, asked),
        gateway() as (hook, hooked),
        store.sync_client() as client,
    ):
        client.acl_setuser("shop", enabled=True, passwords=[f"+{plants['REDIS_URL']}"], keys=["*"], commands=["+@all"])
        client.config_set("requirepass", plants["store user"])
        env = environment(plants, tmp_path, payments, hook, collector.endpoint.removeprefix("http://"))
        url = f"redis://shop:{plants['REDIS_URL']}@127.0.0.1:{store.port}"
        told: list[str] = []
        with Fleet(url, env=env) as fleet:
            shopper = jwt.encode({"sub": "ada", "exp": int(time.time()) + 600}, plants["AUTH_JWT_SECRET"])
            told += use(fleet, plants, shopper)
            told.append(command_lines())
            eventually(
                lambda: len(asked) >= 4 and len(hooked) >= 4 and collector.logs() and watched(collector),
                20,
                "all is in use",
            )
            collector.mode = "refuse"
            store.kill9()
            told += use(fleet, plants, shopper)
            assert fleet.terminate() == 0
            told.append(fleet.log)
        shown = json.dumps(collector.headers)
        told += [str(sent) for sent in (*collector.requests, *collector.log_requests, *collector.metric_requests)]
    arrived = {name for name in OF_TELEMETRY if plants[name] in shown}
    assert arrived == {*OF_TELEMETRY}, "each header reaches the collector, so each was in use"
    for name, shown_to in (("PAYMENT_GATEWAY_URL", asked), ("WEBHOOK_URL", hooked)):
        assert any(base64.b64encode(f"shop:{plants[name]}".encode()).decode() in text for text in shown_to), name
    text = "\n".join(told)
    assert (leaks(plants, text), shopper in text) == (set(), False)


def use(fleet: Fleet, plants: Mapping[str, str], shopper: str) -> list[str]:
    """Ask for everything, rightly and wrongly, with the secrets where clients put them; return all answers."""
    admin = {"Authorization": f"Bearer {plants['ADMIN_TOKEN']}"}
    watcher = {"Authorization": f"Bearer {plants['MONITORING_TOKEN']}"}
    ada = {"Authorization": f"Bearer {shopper}"}
    told = []

    def ask(method: str, path: str, **more: object) -> None:
        try:
            answer = client.request(method, path, **more)  # type: ignore[arg-type] # as httpx takes them
        except httpx.HTTPError as error:
            told.append(repr(error))
            return
        told.append(f"{answer.status_code} {answer.headers} {answer.text}")

    with fleet.client() as client:
        ask("PUT", "/inventory/shirt", json=PRODUCT, headers=admin)
        for wrong in (admin | {"Authorization": admin["Authorization"] + "x"}, watcher, ada, {}):
            ask("PUT", "/inventory/shirt", json=PRODUCT, headers=wrong)
            ask("GET", "/monitoring/metrics", headers=wrong)
        for number in range(6):
            body = {"product_id": "shirt", "quantity": 1}
            ask("POST", "/orders", json=body, headers=ada | {"Idempotency-Key": f"k{number}"})
            ask("POST", "/orders", json=body, headers={"Authorization": f"Bearer {shopper}x"})
        ask("POST", "/orders", content=b'{"product_id":', headers=ada)
        ask("GET", f"/orders?token={plants['ADMIN_TOKEN']}&access_token={shopper}", headers=ada)
        for path in ("/metrics", "/readyz", "/monitoring/health", "/openapi.json", "/", "/nothing"):
            ask("GET", path)
        for path in ("/monitoring/metrics", "/monitoring/errors", "/monitoring/benchmark"):
            ask("GET", path, headers=watcher)
    offered = base64.urlsafe_b64encode(plants["MONITORING_TOKEN"].encode()).decode().rstrip("=")
    watching = f"{fleet.url.replace('http', 'ws', 1)}/monitoring"
    for end in ("", "AAAA"):
        try:
            with connect(watching, subprotocols=[Subprotocol(f"bearer.{offered}{end}")]) as ws:
                told.append(str(ws.recv(timeout=10)))
        except (InvalidStatus, TimeoutError) as error:
            told.append(repr(error))
    return told


@pytest.mark.parametrize(
    "url",
    [
        "redis://shop:{0}@127.0.0.1:1/0",
        "redis+sentinel://shop:{0}@127.0.0.1:1/sale?sentinel_username=u&sentinel_password={1}",
        "redis+cluster://shop:{0}@127.0.0.1:1",
        "rediss://shop:{0}@127.0.0.1:1",
        "unix://shop:{0}@/nowhere/at/all?db=0",
    ],
    ids=["one", "sentinel", "cluster", "tls", "socket"],
)
def test_a_store_that_is_waited_for_is_named_without_its_passwords(url: str) -> None:
    """In what is said at start, in the lines while it is waited for, and in the last one."""
    password, other = planted(), planted()
    env = {"REDIS_URL": url.format(password, other), "PORT": "0", "LOG_LEVEL": "debug", "CROWD": "0"}
    with Program([SCRIPT, "api"], env=env) as program:
        program.wait_for_output("waiting for the store", 30)
        shown = command_lines()
        program.signal(signal.SIGTERM)
        text = program.output
    assert "REDIS_URL" in text
    assert [secret for secret in (password, other) if secret in text + shown] == []
