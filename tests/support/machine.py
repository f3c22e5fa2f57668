"""Tests that this machine cannot run: skipped with their reason, or failed under `STACK=require`."""

import os
from typing import NoReturn

import pytest


def cannot_run(reason: str) -> NoReturn:
    """Skip the running test because of the machine; with `STACK=require` in the environment, fail it."""
    if os.environ.get("STACK") == "require":
        pytest.fail(f"STACK=require, but this machine cannot run the test: {reason}", pytrace=False)
    pytest.skip(f"this machine cannot run it: {reason}")
