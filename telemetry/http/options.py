"""What a service may choose for its requests in code: labels, buckets and hooks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from starlette.types import ASGIApp

from ..metrics.aggregation import View
from ..metrics.specs import SECONDS_BUCKETS
from .hooks import HookMiddleware, MessageHook, RequestHook
from .labels import LabelReader, Labels
from .request_metrics import DURATION, DURATION_VIEW, HTTP_VIEWS


class RequestChoices(TypedDict, total=False):
    """What may be chosen, as keyword arguments of `telemetry.Telemetry`."""

    exclude: Sequence[str]
    labels: Labels
    buckets: Sequence[float]
    server_request_hook: RequestHook
    client_request_hook: MessageHook
    client_response_hook: MessageHook


class RequestOptions:
    """What is chosen.

    Args:
        exclude: regular expressions; a request whose path or URL has one of them leaves no telemetry.
        labels: labels of one's own on the duration of requests.
        buckets: the bounds of that histogram in seconds, from small to large.
        server_request_hook: is told of each request when it begins.
        client_request_hook: is told of each ASGI message from the client, such as a part of a request's body.
        client_response_hook: is told of each ASGI message to the client, before it goes.

    Attributes:
        exclude: those patterns.
        labels: what reads them; None where there are none.
        kept: what is, of the interceptor's metrics.

    Raises:
        TypeError: a pattern is given where several are taken.
        ValueError: the labels or the bounds cannot be used.
    """

    def __init__(
        self,
        *,
        exclude: Sequence[str] = (),
        labels: Labels | None = None,
        buckets: Sequence[float] = SECONDS_BUCKETS,
        server_request_hook: RequestHook | None = None,
        client_request_hook: MessageHook | None = None,
        client_response_hook: MessageHook | None = None,
    ) -> None:
        if isinstance(exclude, str):
            raise TypeError(f"exclude takes several patterns: [{exclude!r}]")
        self.exclude = tuple(exclude)
        self.labels = LabelReader(labels) if labels else None
        bounds = list(buckets)
        if not bounds or bounds != sorted(set(bounds)) or not all(0 < bound < math.inf for bound in bounds):
            raise ValueError(f"buckets are seconds above 0, each more than the one before, not {bounds}")
        names = (*(DURATION_VIEW.attributes or ()), *(self.labels.names if self.labels else ()))
        duration = replace(DURATION_VIEW, attributes=names, buckets=tuple(bounds))
        self.kept: Mapping[str, View | None] = {**HTTP_VIEWS, DURATION: duration}
        self._hooks = (server_request_hook, client_request_hook, client_response_hook)

    def with_hooks(self, app: ASGIApp) -> ASGIApp:
        """Return an application's layers with the hooks around them, if there are any."""
        return HookMiddleware(app, *self._hooks) if any(self._hooks) else app
