"""Who decides what is recorded: the budget, our own queue, and never the client."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.span import TraceState

from telemetry import TelemetrySettings, consumer_context, consumer_span, current_traceparent
from telemetry.testing import capture
from telemetry.traces.sampling import BudgetSampler, EntrySampler, ReplaceableSampler, TraceBudget, make_sampler

SAMPLED = "00-{trace:032x}-00000000000000aa-01"


class Clock:
    """Seconds that pass when the test says so; given to the budget in place of `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the present second."""
        return self.now


@pytest.fixture
def ids() -> Callable[[], int]:
    """Return a source of random trace ids; the seed is in the captured output."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    source = random.Random(seed)
    return lambda: source.getrandbits(128)


def remote(trace_id: int, flags: int = TraceFlags.SAMPLED) -> Context:
    """Return the context that a client's `traceparent` makes."""
    parent = SpanContext(trace_id, 0xAA, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(parent))


def sampled(sampler: EntrySampler, context: Context | None, trace_id: int) -> bool:
    """Ask a sampler about one server span."""
    result = sampler.should_sample(context, trace_id, "GET /", SpanKind.SERVER)
    return result.decision is Decision.RECORD_AND_SAMPLE


def second(budget: TraceBudget, clock: Clock, ids: Callable[[], int], traces: int) -> list[int]:
    """Let one second pass with this many traces; return the ids kept."""
    kept = []
    for _ in range(traces):
        clock.now += 1 / traces
        trace_id = ids()
        if budget.admit(trace_id):
            kept.append(trace_id)
    return kept


def test_under_the_budget_every_trace_is_kept(ids: Callable[[], int]) -> None:
    """90 a second under a budget of 100."""
    clock = Clock()
    budget = TraceBudget(100, clock=clock)
    for _ in range(5):
        assert len(second(budget, clock, ids, 90)) == 90
    assert budget.ratio == 1


def test_over_the_budget_the_share_falls_and_the_rate_stays(ids: Callable[[], int]) -> None:
    """10 000 a second come to about 100, and never to more than the limit."""
    clock = Clock()
    budget = TraceBudget(100, clock=clock)
    second(budget, clock, ids, 10_000)
    rates = [len(second(budget, clock, ids, 10_000)) for _ in range(20)]
    assert budget.ratio == pytest.approx(0.01, rel=0.01)
    assert 80 < sum(rates) / len(rates) < 115
    assert max(rates) <= 131


def test_a_burst_after_silence_is_cut_off(ids: Callable[[], int]) -> None:
    """The first second of 50 000 traces is bounded although the share was 1."""
    clock = Clock()
    budget = TraceBudget(100, clock=clock)
    clock.now = 60
    assert budget.ratio == 1
    assert len(second(budget, clock, ids, 50_000)) <= 2 * 131


def test_the_share_recovers_when_traffic_falls(ids: Callable[[], int]) -> None:
    """A second without traffic brings it back to 1."""
    clock = Clock()
    budget = TraceBudget(10, clock=clock)
    second(budget, clock, ids, 1000)
    clock.now += 0.5
    assert budget.ratio < 0.02
    clock.now += 2
    assert budget.ratio == 1


def test_the_share_is_consistent_by_trace_id(ids: Callable[[], int]) -> None:
    """What a small share keeps, a larger one keeps too."""
    clock = Clock()
    wide, narrow = TraceBudget(500, clock=clock), TraceBudget(100, clock=clock)
    for _ in range(1000):
        trace_id = ids()
        wide.admit(trace_id)
        narrow.admit(trace_id)
    clock.now = 1.0
    assert wide.ratio == pytest.approx(0.5, rel=0.01)
    assert narrow.ratio == pytest.approx(0.1, rel=0.01)
    chosen = [ids() for _ in range(300)]
    kept = {trace_id for trace_id in chosen if narrow.admit(trace_id)}
    assert kept
    assert kept <= {trace_id for trace_id in chosen if wide.admit(trace_id)}


def test_no_budget_keeps_nothing(ids: Callable[[], int]) -> None:
    """0 a second means none, also after silence."""
    clock = Clock()
    budget = TraceBudget(0, clock=clock)
    for _ in range(3):
        assert second(budget, clock, ids, 10) == []
        clock.now += 10
    assert budget.ratio == 0


@pytest.mark.parametrize("flags", [TraceFlags.DEFAULT, TraceFlags.SAMPLED])
def test_a_clients_flag_is_not_read(flags: int) -> None:
    """Set or not, the budget decides."""
    none = EntrySampler(BudgetSampler(TraceBudget(0)))
    every = EntrySampler(BudgetSampler(TraceBudget(1_000_000)))
    assert not sampled(none, remote(1, flags), 1)
    assert sampled(every, remote(1, flags), 1)


def test_a_client_that_chooses_its_trace_ids_does_not_choose_to_be_recorded() -> None:
    """Ids that all lie under the threshold are kept at the common rate, each always or never."""
    clock = Clock()
    budget = TraceBudget(1000, clock=clock)
    for _ in range(10_000):
        budget.admit(2**56 - 1)
    clock.now = 1.0
    assert budget.ratio == pytest.approx(0.1, rel=0.01)
    sampler = EntrySampler(BudgetSampler(budget))
    kept = sum(sampled(sampler, remote(trace_id), trace_id) for trace_id in range(1, 2001))
    assert 100 < kept < 320  # of 2000 ids that all lie under the threshold, a tenth
    again = {sampled(sampler, remote(1), 1) for _ in range(20)}
    assert len(again) == 1  # one trace of a client is recorded whole or not at all


def test_a_trusted_client_decides() -> None:
    """With the setting the flag is obeyed both ways."""
    none = EntrySampler(BudgetSampler(TraceBudget(0)), trust_client=True)
    every = EntrySampler(BudgetSampler(TraceBudget(1_000_000)), trust_client=True)
    assert sampled(none, remote(1, TraceFlags.SAMPLED), 1)
    assert not sampled(every, remote(1, TraceFlags.DEFAULT), 1)


def test_our_own_queue_decides() -> None:
    """The flag of a queue entry is obeyed both ways, that of the network is not."""
    none = EntrySampler(BudgetSampler(TraceBudget(0)))
    every = EntrySampler(BudgetSampler(TraceBudget(1_000_000)))
    entry = SAMPLED.format(trace=7)
    assert sampled(none, consumer_context(entry), 7)
    assert not sampled(every, consumer_context(entry[:-1] + "0"), 7)
    assert not sampled(none, remote(7), 7)


def test_trust_is_in_one_parent_and_is_not_inherited() -> None:
    """A client's parent inside a trusted context is not trusted."""
    none = EntrySampler(BudgetSampler(TraceBudget(0)))
    other = SpanContext(9, 0xBB, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    inside = set_span_in_context(NonRecordingSpan(other), consumer_context(SAMPLED.format(trace=7)))
    assert not sampled(none, inside, 9)


@pytest.mark.parametrize("sampler", ["parentbased_traceidratio", "parentbased_always_off"])
def test_a_parent_based_sampler_does_not_obey_a_client_either(sampler: str) -> None:
    """The rule holds for the samplers of `OTEL_TRACES_SAMPLER` too."""
    settings = TelemetrySettings(service_name="shop", sampler=sampler, sampler_arg=0.0)
    with capture(settings) as seen:
        tracer = seen.telemetry.tracer("test")
        with tracer.start_as_current_span("GET /", context=remote(1)):
            pass
        assert seen.spans() == []
        with consumer_span(tracer, "settle", traceparent=SAMPLED.format(trace=7)):
            pass
        assert [span.name for span in seen.spans()] == ["settle"]


@pytest.mark.parametrize("root", ["always_on", "always_off", "traceidratio"])
@pytest.mark.parametrize("trust", [True, False])
def test_parent_based_samplers_are_those_of_the_specification_where_clients_are_trusted(
    root: str, ids: Callable[[], int], *, trust: bool
) -> None:
    """They decide as the SDK's; else they differ in one point: a client's parent counts as none."""
    roots = {"always_on": ALWAYS_ON, "always_off": ALWAYS_OFF, "traceidratio": TraceIdRatioBased(0.5)}
    specified = ParentBased(roots[root])
    settings = TelemetrySettings(
        service_name="shop", sampler=f"parentbased_{root}", sampler_arg=0.5, trust_client_sampling=trust
    )
    ours, _ = make_sampler(settings, recording=True)
    counts = {"ours": 0, "root": 0}
    for trace_id in (ids() for _ in range(400)):
        for is_remote, flags in ((False, 0), (False, 1), (True, 0), (True, 1), (None, 0)):
            context = Context()
            if is_remote is not None:
                state = TraceState([("vendor", "x")])
                parent = SpanContext(trace_id, 0xAA, is_remote, TraceFlags(flags), state)
                context = set_span_in_context(NonRecordingSpan(parent))
            results = [each.should_sample(context, trace_id, "GET /", SpanKind.SERVER) for each in (ours, specified)]
            assert results[0].trace_state == results[1].trace_state
            if trust or not is_remote:
                assert results[0].decision is results[1].decision
            else:
                counts["ours"] += results[0].decision is Decision.RECORD_AND_SAMPLE
                counts["root"] += 1
    if not trust:
        assert counts["ours"] == pytest.approx(
            counts["root"] * {"always_on": 1, "always_off": 0}.get(root, 0.5), rel=0.2
        )


def test_traces_are_whole_from_the_request_to_the_consumer() -> None:
    """The worker records exactly the traces that the API recorded."""
    settings = TelemetrySettings(service_name="shop", sampler="parentbased_traceidratio", sampler_arg=0.5)
    with capture(settings) as api, capture(settings) as worker:
        entries = []
        for _ in range(200):
            with api.telemetry.tracer("api").start_as_current_span("POST /orders"):
                entries.append(current_traceparent())
        for entry in entries:
            tracer = worker.telemetry.tracer("worker")
            with consumer_span(tracer, "settle", traceparent=entry), tracer.start_as_current_span("pay"):
                pass
        begun = {span.context.trace_id for span in api.spans()}
        settled = [span.context.trace_id for span in worker.spans()]
    assert 50 < len(begun) < 150
    assert begun == set(settled)
    assert len(settled) == 2 * len(begun)


@pytest.mark.parametrize(
    "sampler", ["always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_traceidratio", None]
)
def test_a_trace_that_nobody_sent_is_decided_on_alike(sampler: str | None) -> None:
    """By the short question and by the long one; a budget counts either once."""
    rng = random.Random(7)
    ids = [rng.getrandbits(128) | 1 for _ in range(300)]

    def make() -> Any:
        if sampler is None:
            return ReplaceableSampler(EntrySampler(BudgetSampler(TraceBudget(50, clock=Clock()))))
        settings = TelemetrySettings(service_name="shop", sampler=sampler, sampler_arg=0.5)
        return make_sampler(settings, recording=True)[0]

    short, long = make(), make()
    told = [short.sample_root(trace_id).decision for trace_id in ids]
    assert told == [long.should_sample(Context(), trace_id, "GET /", SpanKind.SERVER).decision for trace_id in ids]
    if sampler is None:
        assert told.count(Decision.RECORD_AND_SAMPLE) == 50 + int(3 * 50**0.5) + 1


def test_the_share_is_exported() -> None:
    """As a gauge with the worker's label."""
    with capture(TelemetrySettings(service_name="shop", worker="api-0")) as seen:
        assert seen.value("telemetry_sampling_ratio", worker="api-0") == 1
    with capture(TelemetrySettings(service_name="shop", traces_per_second=0)) as seen:
        assert seen.value("telemetry_sampling_ratio") == 0
