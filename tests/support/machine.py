"""What this machine can run: every test finds its programs here, in one way.

A test that this machine cannot run is skipped with its reason; under `STACK=require` it fails.
"""

import os
from typing import NoReturn

import pytest

from deploy.stack.tools import ToolMissing, find


def cannot_run(reason: str) -> NoReturn:
    """Skip the running test because of the machine; with `STACK=require` in the environment, fail it."""
    if os.environ.get("STACK") == "require":
        pytest.fail(f"STACK=require, but this machine cannot run the test: {reason}", pytrace=False)
    pytest.skip(f"this machine cannot run it: {reason}")


def executable(name: str) -> str:
    """Return the path of a program: of the stack's own builds, else from the PATH; without it, the test cannot run."""
    try:
        return str(find(name))
    except ToolMissing as lack:
        cannot_run(str(lack))


def has(name: str) -> bool:
    """Whether this machine has a program."""
    try:
        find(name)
    except ToolMissing:
        return False
    return True
