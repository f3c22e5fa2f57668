"""Requests that get neither spans nor metrics: by their path, or by a pattern that is found in their path or URL.

A path is what the application sees: without the prefix that it is served under.
"""

from collections.abc import Callable

from opentelemetry.util.http import ExcludeList

from ..metrics.specs import MAX_SERIES
from ..settings import TelemetrySettings
from .semantics import Scope

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
