"""A store behind TLS: whose certificate is accepted, for which host, and a sale over it."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from service.store import connect
from service.store.preflight import refusal
from tests.support import RedisServer, eventually, free_port
from tests.support.cli import complaint, flash_sale
from tests.support.processes import run
from tests.support.service import ADMIN, Fleet

pytestmark = pytest.mark.needs("openssl", "redis-server")
PRODUCT = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 10}


class Tls(NamedTuple):
    """A real redis-server that speaks TLS, and the files that go with it."""

    port: int
    authority: Path
    stranger: Path
    mutual_port: int


def certify(directory: Path, name: str, names: str, authority: str | None) -> None:
    """Make a key and a certificate for `names`, signed by an authority, or by itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-out", str(directory / f"{name}.pem"), "-keyout", str(directory / f"{name}.key")]
    command += ["-addext", f"subjectAltName={names}"] if names else []
    if authority:
        command += ["-CA", str(directory / f"{authority}.pem"), "-CAkey", str(directory / f"{authority}.key")]
    run(command, check=True)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    """Yield a server whose certificate names `store.example`, and asks nobody for one; and one that asks everybody."""
    directory = tmp_path_factory.mktemp("tls")
    for name, names, authority in (
        ("authority", "", None),
        ("stranger", "", None),
        ("store", "DNS:store.example", "authority"),
        ("client", "DNS:client.example", "authority"),
    ):
        certify(directory, name, names, authority)
    files: dict[str, Any] = {
        "tls_cert_file": str(directory / "store.pem"),
        "tls_key_file": str(directory / "store.key"),
        "tls_ca_cert_file": str(directory / "authority.pem"),
    }
    port, mutual = free_port(), free_port()
    with (
        RedisServer("redis", aof=True, tls_port=str(port), tls_auth_clients="no", **files),
        RedisServer("redis", tls_port=str(mutual), tls_auth_clients="yes", **files),
    ):
        yield Tls(port, directory / "authority.pem", directory / "stranger.pem", mutual)


async def says(url: str) -> str:
    """Return `yes` if the store answers, or why it never will, or `later`."""
    async with connect(url, name="test") as client:
        try:
            await client.ping()
        except (RedisConnectionError, ssl.SSLError) as error:
            refused = refusal(error)
            return "later" if refused is None else str(refused)
    return "yes"


async def test_a_certificate_is_for_a_host_and_of_an_authority(tls: Tls) -> None:
    """Without being told otherwise both are asked for; that the host may differ does not let a stranger in."""
    url = f"rediss://127.0.0.1:{tls.port}?ssl_ca_certs="
    mismatch = await says(f"{url}{tls.authority}")
    assert mismatch.startswith("REDIS_URL: the store's certificate is not accepted: IP address mismatch")
    assert await says(f"{url}{tls.authority}&ssl_check_hostname=true") == mismatch
    assert await says(f"{url}{tls.authority}&ssl_check_hostname=false") == "yes"
    stranger = await says(f"{url}{tls.stranger}&ssl_check_hostname=false")
    assert stranger.startswith("REDIS_URL: the store's certificate is not accepted: ")
    assert await says(f"rediss://127.0.0.1:{tls.port}?ssl_cert_reqs=none") == "yes"


async def test_a_store_may_ask_who_we_are(tls: Tls) -> None:
    """With a certificate and its key we are let in, without we never will be."""
    url = f"rediss://127.0.0.1:{tls.mutual_port}?ssl_ca_certs={tls.authority}&ssl_check_hostname=false"
    client = tls.authority.with_name("client")
    assert await says(f"{url}&ssl_certfile={client}.pem&ssl_keyfile={client}.key") == "yes"
    assert await says(url) != "yes"


def test_a_wrong_host_is_refused_at_start_in_one_line(tls: Tls) -> None:
    env = {"REDIS_URL": f"rediss://127.0.0.1:{tls.port}?ssl_ca_certs={tls.authority}", "PORT": "0"}
    said = complaint(flash_sale("api", env=env))
    assert said.startswith("REDIS_URL: the store's certificate is not accepted: IP address mismatch")


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
@pytest.mark.parametrize(("path", "why"), [("gone.pem", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_refused_and_not_waited_for(
    tmp_path: Path, option: str, path: str, why: str
) -> None:
    """Nobody listens there: the file is looked at first, for no store can mend it."""
    env = {"REDIS_URL": f"rediss://127.0.0.1:1?{option}={tmp_path / path}", "PORT": "0"}
    said = complaint(flash_sale("api", env=env))
    assert said == f"REDIS_URL names a file as {option} that cannot be read: {why}"


def test_a_sale_over_tls(tls: Tls) -> None:
    """API and worker, from the order to its settlement."""
    url = f"rediss://127.0.0.1:{tls.port}?ssl_ca_certs={tls.authority}&ssl_check_hostname=false"
    with Fleet(url) as fleet, fleet.client() as client:
        client.put("/inventory/lamp", json=PRODUCT, headers=ADMIN).raise_for_status()
        placed = client.post("/orders", json={"product_id": "lamp", "user_id": "ada", "quantity": 1})
        assert placed.status_code == 202
        path = placed.headers["location"]
        eventually(lambda: client.get(path).json()["status"] == "confirmed", 20, "the order is confirmed")
        assert fleet.terminate() == 0
