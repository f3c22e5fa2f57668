"""A service that sells, and its documents as files."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import RedisServer
from tests.support.service import Fleet
from tests.support.stores import Servers


@pytest.fixture(scope="module")
def fleet(servers: Servers) -> Iterator[Fleet]:
    """Yield a service of one API and one order worker."""
    store: RedisServer = servers.get("valkey")
    with Fleet(store.url) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def documents(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the documents that the service serves."""
    folder = tmp_path_factory.mktemp("documents")
    with fleet.client() as client:
        for name in ("openapi.json", "asyncapi.json"):
            (folder / name).write_text(json.dumps(client.get(f"/{name}").json()))
    return folder
