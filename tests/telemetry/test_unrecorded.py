"""Spans of unrecorded traces that are made without the SDK: nobody can tell them from the SDK's."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, SpanKind, Tracer, get_current_span

from telemetry import TelemetrySettings, child_span, consumer_context, consumer_span
from telemetry.testing import Capture, capture

TRACE, SENDER = "a" * 31 + "7", "00000000000000aa"
ENTRIES = (*(f"00-{TRACE}-{SENDER}-{flags}" for flags in ("00", "01", "02", "03", "08", "f0")), "", "nonsense")
ENTRIES += (f"01-{TRACE}-{SENDER}-00", f"00-{'0' * 32}-{SENDER}-00", f"00-{TRACE}-{'0' * 16}-00")

Interceptor = Literal["contrib", "lean"]
Open = Callable[[Tracer, str], AbstractContextManager[tuple[Span, Span]]]


@contextmanager
def by_sdk(tracer: Tracer, traceparent: str) -> Iterator[tuple[Span, Span]]:
    """Open both spans as OpenTelemetry does."""
    context = consumer_context(traceparent)
    with (
        tracer.start_as_current_span("process", context=context, kind=SpanKind.CONSUMER) as outer,
        tracer.start_as_current_span("charge", kind=SpanKind.CLIENT) as inner,
    ):
        yield outer, inner


@contextmanager
def by_us(tracer: Tracer, traceparent: str) -> Iterator[tuple[Span, Span]]:
    """Open both spans as the service does."""
    with (
        consumer_span(tracer, "process", traceparent=traceparent) as outer,
        child_span(tracer, "charge", kind=SpanKind.CLIENT) as inner,
    ):
        yield outer, inner


def told(seen: Capture, opening: Open, traceparent: str, *, fail: bool) -> dict[str, object]:
    """Open both spans once, and tell everything that can be seen of them; ids are random, and left out."""
    tracer = seen.telemetry.tracer("test")
    found: dict[str, object] = {}
    try:
        with opening(tracer, traceparent) as (outer, inner):
            assert get_current_span() is inner
            contexts = [span.get_span_context() for span in (outer, inner)]
            assert len({SENDER, *(f"{context.span_id:016x}" for context in contexts)}) == 3
            found["same trace"] = {f"{context.trace_id:032x}" == TRACE for context in contexts}
            found["contexts"] = [(c.is_remote, int(c.trace_flags), c.trace_state, c.is_valid) for c in contexts]
            found["recording"] = [span.is_recording() for span in (outer, inner)]
            found["quotient"] = 1 / (not fail)
    except ZeroDivisionError:
        found["raised"] = True
    assert not get_current_span().get_span_context().is_valid
    found["spans"] = [(span.name, span.kind, span.status.status_code, len(span.events)) for span in seen.spans()]
    names = ("otel_sdk_span_started_total", "otel_sdk_span_live")
    found["counts"] = {key: value for key, value in seen.metrics().items() if key[0] in names}
    return found


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize(
    ("interceptor", "sampler"),
    [
        *(("lean", sampler) for sampler in ("parentbased_always_on", "parentbased_always_off", "always_on", None)),
        ("contrib", "parentbased_always_on"),
    ],
)
def test_both_ways_look_the_same(interceptor: Interceptor, sampler: str | None, *, fail: bool) -> None:
    """Context, flags, counts, spans, and what an error does; for each kind of entry and each sampler."""
    settings = TelemetrySettings(service_name="shop", sampler=sampler, interceptor=interceptor, traces_per_second=0)
    for traceparent in ENTRIES:
        both = []
        for opening in (by_sdk, by_us):
            with capture(settings) as seen:
                both.append(told(seen, opening, traceparent, fail=fail))
        assert both[0] == both[1], traceparent


def test_a_sampler_that_is_put_in_place_later_is_asked() -> None:
    """A test that records everything does so, whatever the parent's flag says."""
    settings = TelemetrySettings(service_name="shop", sampler="parentbased_always_off")
    with capture(settings) as seen:
        seen.telemetry.sample_with(ALWAYS_ON)
        assert told(seen, by_us, ENTRIES[0], fail=False)["recording"] == [True, True]


def test_the_short_way_is_taken() -> None:
    """Else the test above compares the SDK with itself: the SDK makes no span here, and the span is counted."""
    settings = TelemetrySettings(service_name="shop", sampler="parentbased_always_on")
    with capture(settings) as seen:
        tracer = seen.telemetry.tracer("test")
        started: list[str] = []
        original: Any = tracer.start_span

        def start_span(name: str, *args: Any, **options: Any) -> Span:
            started.append(name)
            span: Span = original(name, *args, **options)
            return span

        tracer.start_span = start_span  # type: ignore[method-assign]
        with by_us(tracer, ENTRIES[0]):
            pass
        assert started == []
        with by_us(tracer, ENTRIES[1]):
            pass
        assert started == ["process", "charge"]
