"""What asks the store only, as `flash-sale audit` does, does not wait for a web framework to be imported."""

import sys

import pytest

from tests.support.processes import run

WEB = ("fastapi", "starlette", "uvicorn")


@pytest.mark.parametrize(
    "module",
    ["service.store", "service.ledger.audit", "service.ledger.catalogue", "service.background", "service.problems"],
)
def test_no_web_framework_is_loaded(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {WEB} if name in sys.modules])"
    done = run([sys.executable, "-c", code], check=True)
    assert done.stdout.strip() == "[]"
