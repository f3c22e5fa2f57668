"""What asks the store only, as `flash-sale audit` does, does not wait for a web framework to be imported."""

import sys

import pytest

from tests.support.processes import run

WEB = ("fastapi", "starlette", "uvicorn")
MAX_OWN_MODULES = 50
"""What the store may load beside redis and the API of OpenTelemetry: it is 40 modules, and was 152 with a logger."""


@pytest.mark.parametrize(
    "module",
    [
        "service.store",
        "service.ledger.audit",
        "service.ledger.catalogue",
        "service.background",
        "service.cancellation",
        "service.problems",
    ],
)
def test_no_web_framework_is_loaded(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {WEB} if name in sys.modules])"
    done = run([sys.executable, "-c", code], check=True)
    assert done.stdout.strip() == "[]"


def test_the_store_loads_little_but_its_client() -> None:
    """What both need is counted in the same process first, so that no release of theirs is counted as ours."""
    code = "import sys, redis.asyncio, opentelemetry.trace; n = set(sys.modules); import service.store; "
    code += "print(*sorted(set(sys.modules) - n))"
    loaded = run([sys.executable, "-c", code], check=True).stdout.split()
    assert "service.store.client" in loaded
    assert len(loaded) <= MAX_OWN_MODULES, loaded
