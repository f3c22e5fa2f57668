"""A propagator that `OTEL_PROPAGATORS` chose, made safe: whatever it does, no request fails by it."""

import logging
from collections.abc import Callable

from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)

_logger = logging.getLogger(__name__)


class SafePropagator(TextMapPropagator):
    """Hands on to another propagator; one that raises, or returns no context, leaves the context as it was.

    OpenTelemetry's own for ``none`` returns None where a context is due, which instrumentations cannot use.

    Args:
        inner: what is asked.
        count_failure: told ``propagator`` of each error.
    """

    def __init__(self, inner: TextMapPropagator, count_failure: Callable[[str], None]) -> None:
        self._inner = inner
        self._count_failure = count_failure
        self._told = False

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """Return what a carrier says, on top of a context."""
        around = get_current() if context is None else context
        try:
            found = self._inner.extract(carrier, around, getter)
        except Exception as error:  # noqa: BLE001 - see the class
            self._failed(error)
            return around
        return found if isinstance(found, Context) else around

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Write a context into a carrier."""
        try:
            self._inner.inject(carrier, context, setter)
        except Exception as error:  # noqa: BLE001 - see the class
            self._failed(error)

    @property
    def fields(self) -> set[str]:
        """The names that it writes; none where it does not say."""
        try:
            return {str(field) for field in self._inner.fields}
        except Exception as error:  # noqa: BLE001 - see the class
            self._failed(error)
            return set()

    def _failed(self, error: Exception) -> None:
        self._count_failure("propagator")
        if not self._told:  # once: it fails at every request
            self._told = True
            _logger.error("a propagator failed; requests go on without what it reads", exc_info=error)
