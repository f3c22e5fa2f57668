"""The template of a route is the same the first time and every time after, whatever else has been asked for."""

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Route

from telemetry.http.routes import Routes
from telemetry.metrics.specs import MAX_SERIES


async def nothing() -> None:
    """Serve every route."""


def app() -> FastAPI:
    """Return an application with a plain path, the same path with a parameter's route before it, and a mount."""
    app = FastAPI()
    app.add_api_route("/orders", nothing, methods=["POST"])
    app.add_api_route("/orders", nothing, methods=["GET"])
    app.add_api_route("/orders/{order_id}", nothing)
    app.add_api_route("/orders/queue", nothing)
    app.mount("/admin", Starlette(routes=[Route("/users", nothing)]))
    return app


EXPECTED = {
    ("POST", "/orders"): "/orders",
    ("GET", "/orders"): "/orders",
    ("BREW", "/orders"): "/orders",
    ("GET", "/orders/queue"): "/orders/{order_id}",
    ("GET", "/orders/1"): "/orders/{order_id}",
    ("GET", "/orders/{order_id}"): "/orders/{order_id}",
    ("GET", "/admin/users"): "/admin/users",
    ("GET", "/nowhere"): None,
}


def scope(method: str, path: str, **more: str) -> dict[str, object]:
    """Return a request."""
    return {"type": "http", "method": method, "path": path, "root_path": "", "headers": [], **more}


def test_a_template_does_not_depend_on_what_was_asked_before() -> None:
    """Three times over, in both orders."""
    routes = Routes(app())
    asked = [*EXPECTED, *reversed(EXPECTED), *EXPECTED]
    assert [routes.template(scope(*each)) for each in asked] == [EXPECTED[each] for each in asked]


def test_only_as_many_templates_are_remembered_as_there_are_routes() -> None:
    """Neither made-up paths nor made-up methods fill the memory."""
    routes = Routes(app())
    for number in range(100):
        for method, path in (("GET", f"/orders/{number}"), (f"M{number}", "/orders"), ("POST", f"/{number}")):
            routes.template(scope(method, path))
        routes.template(scope("POST", "/orders"))
    assert len(routes._plain) == 1


def test_a_mount_takes_every_method_but_not_all_are_remembered() -> None:
    """A server that passes made-up methods on, as h11 lets uvicorn do, cannot fill the memory."""
    routes = Routes(app())
    for number in range(MAX_SERIES + 100):
        assert routes.template(scope(f"M{number}", "/admin/users")) == "/admin/users"
    assert len(routes._plain) == MAX_SERIES


def test_a_route_that_depends_on_the_host_is_looked_up_each_time() -> None:
    """The same path is another route's then, inside the application of that host."""
    app = FastAPI()
    app.host("a", Starlette(routes=[Route("/{thing}", nothing)]))
    app.add_api_route("/items", nothing)
    routes = Routes(app)
    hosts = [b"b", b"a", b"b", b"a"]
    found = [routes.template(scope("GET", "/items") | {"headers": [(b"host", host)]}) for host in hosts]
    assert found == ["/items", "/{thing}", "/items", "/{thing}"]
