"""Requests that get neither spans nor metrics: by their path, or by a pattern that is found in their path or URL.

A path is what the application sees: without the prefix that it is served under. And those that are measured already:
an application of FastAPI's that nobody configured measures with the global providers. Where these are ours, what is
mounted in it measures nothing again.
"""

import logging
from collections.abc import Callable

from opentelemetry.util.http import ExcludeList

from ..metrics.specs import MAX_SERIES
from ..settings import TelemetrySettings
from .semantics import INSIDE, NATIVE, Scope

_PASSED = "telemetry.passed"
_logger = logging.getLogger(__name__)

Excludes = Callable[[Scope], bool]
"""Says whether a request is left alone."""


def excludes(settings: TelemetrySettings) -> Excludes:
    """Return what says it, from exact paths and patterns; these are searched for in the URL, too, as contrib does."""
    paths = frozenset(settings.excluded_paths)
    if not settings.excluded_urls:
        return lambda scope: _path(scope) in paths
    patterns = ExcludeList(settings.excluded_urls)
    known: dict[tuple[object, ...], bool] = {}

    def is_excluded(scope: Scope) -> bool:
        key = (scope["path"], scope.get("root_path"), scope.get("scheme"), *(scope.get("server") or ()))
        found = known.get(key)
        if found is None:
            path = _path(scope)
            found = path in paths or any(bool(patterns.url_disabled(text)) for text in (path, _url(scope)))
            if len(known) < MAX_SERIES:
                known[key] = found
        return found

    return is_excluded


class Around:
    """Knows whether an application that this one is mounted in measures its requests with the same providers.

    Args:
        is_global: whether ours are the global ones, which FastAPI's own telemetry uses unless it is told otherwise.
    """

    def __init__(self, *, is_global: bool) -> None:
        self._is_global = is_global
        self._told = False

    def excluding(self, excludes: Excludes) -> Excludes:
        """Return what leaves such requests alone as well; it is asked before there is any telemetry of ours."""

        def is_excluded(scope: Scope) -> bool:
            return self.measures(scope) or excludes(scope)

        return is_excluded

    def marking(self, excludes: Excludes) -> Excludes:
        """Return the same as it is given, which marks what FastAPI measures for us."""

        def is_excluded(scope: Scope) -> bool:
            scope[_PASSED] = True
            return excludes(scope)

        return is_excluded

    def is_foreign(self, scope: Scope) -> bool:
        """Return whether the telemetry of FastAPI's in a scope is that of an application around this one."""
        return scope.get(NATIVE) is not None and INSIDE not in scope and _PASSED not in scope

    def measures(self, scope: Scope) -> bool:
        """Return whether it is, and does with our providers; that is told once."""
        if not self._is_global or not self.is_foreign(scope):
            return False
        if not self._told:
            self._told = True
            _logger.warning(
                "requests are measured by the application that this one is mounted in, with FastAPI's defaults: "
                "give that one to telemetry.install(app), too"
            )
        return True


def _path(scope: Scope) -> str:
    prefix: str = scope.get("root_path", "")
    path: str = scope["path"]
    inside = path.removeprefix(prefix) if prefix else path
    return inside if inside.startswith("/") else path


def _url(scope: Scope) -> str:
    """Return the URL of a request without its query; the host is the server's, for the client chooses its header."""
    host, port = scope.get("server") or ("0.0.0.0", 80)  # noqa: S104 - as contrib has it where nothing is known
    where = host if port in (80, None) else f"{host}:{port}"
    return f"{scope.get('scheme', 'http')}://{where}{scope['path']}"
