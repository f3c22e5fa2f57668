"""Who is measured: our service in its variants, the baseline in its variants, and the limits of what lies underneath.

Every subject is one server process on one core that takes `POST /orders`; none has an order worker beside it, so the
queue grows and the core does nothing but accept orders. The store of each is stocked with products `p0`, `p1`, ...
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from benchmarks.program import python
from benchmarks.store import Store
from deploy.stack.tools import ToolMissing, built, find, sources

Kind = Literal["ours", "baseline", "go", "asgi-floor"]
GO_PEER = "go-peer"
STOCK = 1_000_000_000
_UVICORN = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One server.

    Attributes:
        name: what the results call it.
        title: what people call it.
        kind: ours, the baseline, its like in Go, or the limit.
        env: added to its environment.
        exports: whether it is told of the OTLP receiver.
        instrumented: whether `opentelemetry-instrument` starts it.
        variant: whether it is measured in fewer rounds, and not in a quick run.
    """

    name: str
    title: str
    kind: Kind
    env: Mapping[str, str] = field(default_factory=dict)
    exports: bool = False
    instrumented: bool = False
    variant: bool = False

    def argv(self, port: int) -> list[str]:
        """Return the command that serves it."""
        if self.kind == "ours":
            return python("-P", "-m", "service", "api")
        if self.kind == "go":
            return [str(find(GO_PEER))]
        module = (
            "benchmarks.peers.asgi_floor:app" if self.kind == "asgi-floor" else "benchmarks.peers.baseline:make_app"
        )
        command = ["-m", "uvicorn", module, *(() if self.kind == "asgi-floor" else ("--factory",)), *_UVICORN]
        command += ["--port", str(port)]
        if self.instrumented:
            return [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, *command]
        return python(*command)

    def environment(self, store: Store, port: int, receiver: str) -> dict[str, str]:
        """Return the whole of what it is told by variables."""
        env = {"REDIS_URL": store.url}
        if self.kind == "ours":
            env |= {"HOST": "127.0.0.1", "PORT": str(port), "WORKERS": "1"}
            env["MAX_WAIT_SECONDS"] = "0"  # no worker: the queue grows
        if self.kind == "go":
            env["PORT"] = str(port)
        if self.exports:
            env["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver
        return {**env, **self.env}

    @property
    def probe(self) -> str:
        """A path that says 200 when it serves."""
        return {"ours": "/readyz", "asgi-floor": "/"}.get(self.kind, "/openapi.json")

    @property
    def missing(self) -> str:
        """Why it cannot be measured here; empty if it can. The Go peer is built once, where there is Go."""
        if self.kind != "go":
            return ""
        try:
            built(next(source for source in sources() if source.name == GO_PEER))
        except ToolMissing as error:
            return str(error)
        return ""


def _ours(interceptor: str, what: str, title: str, *, exports: bool = False, **env: str) -> Subject:
    return Subject(
        name=f"ours-{interceptor}-{what}",
        title=f"flash-sale, {interceptor}, {title}",
        kind="ours",
        env={"TELEMETRY_INTERCEPTOR": interceptor, **env},
        exports=exports,
        variant=what != "all",
    )


def _of(interceptor: str) -> list[Subject]:
    return [
        _ours(interceptor, "metrics", "metrics"),
        _ours(
            interceptor,
            "one-percent",
            "+ traces, 1 %",
            exports=True,
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG="0.01",
            OTEL_LOGS_EXPORTER="none",
        ),
        _ours(interceptor, "traces", "+ traces, 100/s", exports=True, OTEL_LOGS_EXPORTER="none"),
        _ours(interceptor, "all", "everything", exports=True),
        _ours(interceptor, "every-trace", "everything, each trace", exports=True, OTEL_TRACES_SAMPLER="always_on"),
    ]


def _go(what: str, title: str, **env: str) -> Subject:
    env |= {"PEER_TELEMETRY": "otel", "OTEL_SERVICE_NAME": "go-peer"}
    return Subject(name=f"go-{what}", title=f"Go, net/http + go-redis, {title}", kind="go", exports=True, env=env)


SUBJECTS: tuple[Subject, ...] = (
    Subject(name="ours-off", title="flash-sale, telemetry off", kind="ours", env={"OTEL_SDK_DISABLED": "true"}),
    *_of("lean"),
    *_of("native"),
    *_of("contrib"),
    Subject(name="baseline", title="naive baseline, no telemetry", kind="baseline"),
    Subject(
        name="baseline-gc",
        title="naive baseline, garbage collector tuned as ours",
        kind="baseline",
        env={"BASELINE_GC": "1"},
        variant=True,
    ),
    Subject(
        name="baseline-prometheus",
        title="baseline + prometheus-fastapi-instrumentator",
        kind="baseline",
        env={"BASELINE_PROMETHEUS": "1"},
    ),
    Subject(
        name="baseline-otel",
        title="baseline + opentelemetry-instrument defaults",
        kind="baseline",
        exports=True,
        instrumented=True,
        env={"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    ),
    Subject(name="go", title="Go, net/http + go-redis, no telemetry", kind="go"),
    _go(
        "one-percent",
        "otelhttp, redisotel, Prometheus, 1 % of traces",
        OTEL_TRACES_SAMPLER="parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0.01",
    ),
    _go("every-trace", "the same, each trace", OTEL_TRACES_SAMPLER="always_on"),
    Subject(name="asgi-floor", title="raw ASGI answer (limit)", kind="asgi-floor"),
)


def subject(name: str, **env: str) -> Subject:
    """Return the subject of a name, with further variables.

    Raises:
        ValueError: There is none.
    """
    found = next((known for known in SUBJECTS if known.name == name), None)
    if found is None:
        raise ValueError(f"{name} is none of {', '.join(known.name for known in SUBJECTS)}")
    return replace(found, env={**found.env, **env}) if env else found
