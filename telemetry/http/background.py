"""Spans of background tasks, each in the telemetry of the application that it belongs to.

contrib changes `BackgroundTask` once for a process, and gives the spans of all tasks to the telemetry of the
application that was instrumented first. Here the application whose request it is says which tracer makes the span.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from starlette.background import BackgroundTask

TRACER: ContextVar[trace.Tracer | None] = ContextVar("telemetry-tracer", default=None)
"""That of the application that serves the current request."""
CONTRIB = "opentelemetry.instrumentation.fastapi"
_ORIGINAL = "_otel_original_call"  # where contrib keeps it, and looks whether it is done already
_OURS = "_truemeter"


def trace_background_tasks() -> None:
    """Do it, before contrib does; a second time does nothing."""
    if hasattr(BackgroundTask.__call__, _OURS):
        return
    run: Callable[[BackgroundTask], Awaitable[None]] = getattr(BackgroundTask, _ORIGINAL, BackgroundTask.__call__)

    async def traced(self: BackgroundTask) -> None:
        tracer = TRACER.get() or trace.get_tracer(CONTRIB)
        name = getattr(self.func, "__name__", type(self.func).__name__)
        with tracer.start_as_current_span(f"BackgroundTask {name}"):
            await run(self)

    setattr(traced, _OURS, True)
    changed: Any = BackgroundTask
    setattr(changed, _ORIGINAL, run)
    changed.__call__ = traced
