"""A propagator that `OTEL_PROPAGATORS` chose may raise, or return what is no context: nobody's request fails by it."""

from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator

from telemetry.traces.safe_propagator import SafePropagator


class Odd(TextMapPropagator):
    """Does what a test asks for."""

    def __init__(self, does: Any) -> None:
        self._does = does

    def _do(self) -> Any:
        if isinstance(self._does, Exception):
            raise self._does
        return self._does

    def extract(self, *_: Any, **__: Any) -> Context:
        """Raise, or return anything."""
        return self._do()  # type: ignore[no-any-return] # that is the fault

    def inject(self, *_: Any, **__: Any) -> None:
        """Raise, or do nothing."""
        self._do()

    @property
    def fields(self) -> set[str]:
        """Raise, or return anything."""
        return self._do()  # type: ignore[no-any-return] # that is the fault


@pytest.mark.parametrize("does", [RuntimeError("odd"), KeyError(), None, 7, "context"], ids=repr)
def test_the_context_stays_as_it_was(does: object) -> None:
    """What raises is counted each time; what returns nothing, as OpenTelemetry's own for `none`, is no failure."""
    failures: list[str] = []
    safe = SafePropagator(Odd(does), failures.append)
    around, carrier = Context({"x": 1}), dict[str, str]()
    assert safe.extract(carrier, around) == around
    assert isinstance(safe.extract(carrier), Context)
    safe.inject(carrier, around)
    assert carrier == {}
    assert failures == (["propagator"] * 3 if isinstance(does, Exception) else [])


def test_fields_of_one_that_raises_are_none() -> None:
    failures: list[str] = []
    assert SafePropagator(Odd(ValueError()), failures.append).fields == set()
    assert failures == ["propagator"]


def test_what_is_right_is_handed_on() -> None:
    """A context of the inner one's is used."""
    said = Context({"said": "x"})
    assert SafePropagator(Odd(said), lambda _: None).extract({}) == said
