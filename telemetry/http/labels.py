"""Labels of one's own on the duration of requests, each with a closed set of values.

A label that takes whatever a client sends makes series without end. So each has its values named, and what is not among
them counts as `OTHER`.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ..failures import FailureLogger
from .semantics import Scope

OTHER = "_OTHER"
"""The value of what is not declared, as OpenTelemetry has it for methods."""
_TAKEN = frozenset(
    ("http_request_method", "http_route", "http_response_status_code", "worker", "le", "job", "instance")
)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RequestLabel:
    """A label of `http_server_request_duration_seconds`.

    Attributes:
        values: those that it can have; any other counts as ``_OTHER``.
        read: gives the value of a request from its ASGI scope, once the request is answered; None counts as ``_OTHER``.
    """

    values: Sequence[str]
    read: Callable[[Scope], str | None]


Labels = Mapping[str, Sequence[str] | RequestLabel]
"""By name; one of which only the values are given is read from ``request.state``."""


def from_header(name: str) -> Callable[[Scope], str | None]:
    """Return what reads a request's header, for `RequestLabel`; of several of one name, the first."""
    wanted = name.lower().encode("latin-1")

    def read(scope: Scope) -> str | None:
        value: bytes | None = next((value for key, value in scope["headers"] if key == wanted), None)
        return None if value is None else value.decode("latin-1")

    return read


def from_state(name: str) -> Callable[[Scope], str | None]:
    """Return what reads an attribute of ``request.state``, for `RequestLabel`."""

    def read(scope: Scope) -> str | None:
        value: str | None = (scope.get("state") or {}).get(name)
        return value

    return read


class LabelReader:
    """Reads all labels of a request.

    Args:
        labels: their declarations.

    Attributes:
        names: those of the attributes.

    Raises:
        TypeError: a label is read by something that is no function.
        ValueError: a name is taken, or a label has no values.
    """

    def __init__(self, labels: Labels) -> None:
        self.names = tuple(labels)
        self._labels = [_label(name, given) for name, given in labels.items()]
        self._failure_logger = FailureLogger(_logger)
        seen = [_prometheus_label(name) for name in labels]
        if len(set(seen)) < len(seen):
            raise ValueError(f"two labels of requests have one name: {', '.join(sorted(seen))}")

    def values(self, scope: Scope) -> tuple[str, ...]:
        """Return their values, in the order of their declarations."""
        return tuple([self._value(label, scope) for label in self._labels])

    def attributes(self, values: Sequence[str]) -> dict[str, str]:
        """Return the same as attributes."""
        return dict(zip(self.names, values, strict=True))

    def _value(self, label: RequestLabel, scope: Scope) -> str:
        try:
            found = label.read(scope)
            known = found is not None and found in label.values
        except Exception:  # telemetry never breaks its host
            self._failure_logger.exception("a label of requests could not be read")
            return OTHER
        return str(found) if known else OTHER


def _label(name: str, given: Sequence[str] | RequestLabel) -> RequestLabel:
    as_label = _prometheus_label(name)
    if not as_label.isidentifier() or as_label in _TAKEN:
        raise ValueError(f"a label of requests cannot be called {name!r}")
    label = given if isinstance(given, RequestLabel) else RequestLabel(given, from_state(as_label))
    if not _are_strings(label.values):
        raise ValueError(
            f"the label {name!r} of requests needs its values, which are strings, such as ('free', 'paid'); what "
            "reads them goes beside them, as in RequestLabel(('free', 'paid'), from_header('x-tier'))"
        )
    if not callable(label.read):
        raise TypeError(f"the label {name!r} of requests is read by a function, not by {label.read!r}")
    return label


def _are_strings(values: object) -> bool:
    if isinstance(values, str) or not isinstance(values, Collection):
        return False
    return len(values) > 0 and all(isinstance(value, str) for value in values)


def _prometheus_label(name: str) -> str:
    return name.replace(".", "_")
