"""The fixture ``telemetry`` for pytest, which finds it by itself once `truemeter` is installed.

Where it is not, name it in a ``conftest.py``: ``pytest_plugins = ["telemetry.pytest_plugin"]``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import Capture


@pytest.fixture
def telemetry() -> "Iterator[Capture]":
    """Give a running telemetry that keeps everything in memory; ``telemetry.attach(app)`` sees an application's."""
    from .testing import capture  # noqa: PLC0415 - a test run without it does not wait for OpenTelemetry

    with capture() as seen:
        yield seen
