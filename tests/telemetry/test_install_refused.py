"""What `Telemetry.install` refuses: with one line, before anything is changed."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware

from telemetry import Telemetry
from tests.telemetry.test_install import Installed, interceptor

__all__ = ["interceptor"]  # a fixture


async def served() -> FastAPI:
    """Return an application that has served a request."""
    app = FastAPI()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        await client.get("/")
    return app


def instrumented() -> FastAPI:
    """Return an application that contrib was there first in."""
    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app)
    return app


def with_metrics() -> FastAPI:
    """Return an application that has a route for metrics."""
    app = FastAPI()
    app.add_api_route("/metrics", lambda: None)
    return app


def with_another() -> FastAPI:
    """Return an application of another telemetry's."""
    app = FastAPI()
    Installed().telemetry.install(app)
    return app


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: asyncio.run(served()), "before the application's first request"),
        (instrumented, "instrumented already"),
        (with_metrics, "/metrics already"),
        (with_another, "another Telemetry is in the application already"),
    ],
)
def test_wrong_states_are_refused_and_leave_the_application_as_it_was(make: Any, says: str, interceptor: str) -> None:
    """With one line, before anything is changed."""
    app = make()
    before = (list(app.routes), app.router.lifespan_context, dict(app._telemetry))
    with pytest.raises(RuntimeError, match=says) as caught:
        Installed(interceptor).telemetry.install(app)
    assert "\n" not in str(caught.value)
    assert before == (list(app.routes), app.router.lifespan_context, dict(app._telemetry))


def test_a_path_without_a_slash_is_refused() -> None:
    """It would match nothing."""
    with pytest.raises(ValueError, match="slash"):
        Installed().telemetry.install(FastAPI(), metrics_path="metrics")


def test_a_path_with_a_parameter_is_refused() -> None:
    """It would answer for others of the application."""
    with pytest.raises(ValueError, match="parameter"):
        Installed().telemetry.install(FastAPI(), metrics_path="/{page}")


def test_native_is_for_fastapi() -> None:
    """One line says what else there is."""
    with pytest.raises(RuntimeError, match="set contrib or lean"):
        Installed("native").telemetry.install(Starlette())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"registries": CollectorRegistry()}, "registries takes several"),
        ({"span_processors": object()}, "span_processors takes several"),
        ({"span_processors": ["x"]}, "span_processors takes span processors, and 'x' is none"),
        ({"span_processors": [SimpleSpanProcessor]}, "span_processors takes span processors"),
        ({"metric_readers": [1]}, "metric_readers takes metric readers, and 1 is none"),
        ({"sampler": "always_on"}, "sampler takes a sampler, not 'always_on'"),
        ({"tracer_provider": "x"}, "tracer_provider takes"),
        ({"meter_provider": 1}, "meter_provider takes"),
        ({"views": object()}, "views takes several"),
        ({"exclude": "x"}, r"exclude takes several patterns: \['x'\]"),
        ({"exclude": [1]}, "exclude takes patterns, and 1 is none"),
        ({"exclude": ["["]}, r"exclude: '\[' is not a regular expression"),
        ({"labels": ["tier"]}, "labels takes a mapping"),
        ({"buckets": "abc"}, "buckets takes several numbers"),
        ({"buckets": 5}, "buckets takes several numbers"),
        ({"server_request_hook": "x"}, "server_request_hook takes a function"),
        ({"bucket": (1,)}, "bucket"),
    ],
)
def test_an_argument_of_another_type_is_refused(given: dict[str, Any], says: str) -> None:
    """When it is given, with one line that names it."""
    with pytest.raises((TypeError, ValueError), match=says) as caught:
        Telemetry("shop", set_global=False, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [None, "", " ", 7])
def test_a_service_has_a_name(name: Any) -> None:
    """Or settings."""
    with pytest.raises((TypeError, ValueError), match="the service's name"):
        Telemetry(name, set_global=False)


@pytest.mark.parametrize("thing", [None, "shop:app", FastAPI, APIRouter(), CORSMiddleware(FastAPI())])
def test_what_is_no_application_is_refused(thing: Any) -> None:
    """In one line that says what is taken."""
    with pytest.raises(TypeError, match=r"^install takes an application of FastAPI's or Starlette's, not "):
        Installed().telemetry.install(thing)


def test_a_path_that_is_no_string_is_refused() -> None:
    """A port is in a variable, not here."""
    path: Any = 9464
    with pytest.raises(TypeError, match=r"^metrics_path takes a path, or None, not 9464$"):
        Installed().telemetry.install(FastAPI(), metrics_path=path)
