"""The whole stack from the unmodified files, started once, and the programs it is made of."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.stack import Stack
from deploy.stack.merchant import merchant
from tests.stack.sale import LAMP, Sale
from tests.support import executable


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield the running stack; whoever stops a part of it starts it again."""
    with merchant() as endpoint, started(tmp_path_factory.mktemp("stack"), variables=endpoint.variables) as running:
        yield running


@pytest.fixture(scope="session")
def sale(stack: Stack) -> Iterator[Sale]:
    """Yield a client of the stack's API, with a product on sale."""
    with Sale(stack) as shop:
        shop.offer("lamp", LAMP)
        yield shop


def started(directory: Path, **options: object) -> Stack:
    """Return a stack to be entered; a machine without its programs cannot run the test."""
    for name in ("prometheus", "alertmanager", "jaeger", "otelcol"):
        executable(name)
    return Stack(directory, **options)  # type: ignore[arg-type]
