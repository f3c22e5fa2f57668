"""The real program `flash-sale` under test: its processes, its address, its log.

    with Fleet(store.url, api=2, workers=1, env={"PAYMENT_LATENCY_SECONDS": "0"}) as fleet:
        httpx.post(f"{fleet.url}/orders", ...)
        fleet.kill("order-0")  # SIGKILL; its supervisor starts it again

Ports are chosen by the kernel and bound to loopback. Roles are `api-0`, `api-1`, `order-0`, `crowd`.
"""

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from tests.support.http import TRUST_NOBODY, http_session
from tests.support.processes import ROOT, alive, descendants, send_signal, title
from tests.support.program import SCRIPT, Program
from tests.support.waiting import eventually

Command = Literal["run", "api", "worker"]

ADMIN_TOKEN = "the-admin-token-of-the-tests"  # noqa: S105 - of a server that lives as long as a test
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
START_SECONDS = 60


class Fleet:
    """One `flash-sale run`, `api` or `worker` and its children.

    Args:
        store: The value of `REDIS_URL`, or a directory for an embedded store.
        command: Which command.
        api: How many API processes (`WORKERS`).
        workers: How many order workers (`ORDER_WORKERS`).
        env: Further variables.
        cwd: Where it is started; the root of the repository by default.
        prefix: What the command is started by, which must become it: `unshare`, say.
        wait: Whether to wait until `/readyz` says yes, and a worker is alive where there should be one.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        command: Command = "run",
        api: int = 1,
        workers: int = 1,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        prefix: Sequence[str] = (),
        wait: bool = True,
    ) -> None:
        self.command = command
        self._prefix = prefix
        self._roles = [f"api-{n}" for n in range(api)] if command != "worker" else []
        self._roles += [f"order-{n}" for n in range(workers)] if command != "api" else []
        self._wait = wait
        self._cwd = cwd
        self._env = {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
            "WORKERS": str(api),
            "ORDER_WORKERS": str(workers),
            "CROWD": "0",
            "DRAIN_SECONDS": "0",
            "ADMIN_TOKEN": ADMIN_TOKEN,
            "PAYMENT_LATENCY_SECONDS": "0.01",
            "REDIS_URL": store if isinstance(store, str) else "",
            **({"DATA_DIR": str(store)} if isinstance(store, Path) else {}),
            **(env or {}),
        }
        self.program: Program

    @property
    def url(self) -> str:
        """The base URL; of a `worker`, that of its `/metrics`."""
        port = self.program.wait_for_line("flash-sale   http", START_SECONDS).rpartition(":")[2]
        return f"http://127.0.0.1:{port.strip()}"

    @property
    def log(self) -> str:
        """Everything that the parent and its children have written so far."""
        return self.program.output

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log lines so far (each is a JSON object); what is written for people is left out."""
        return [json.loads(line) for line in self.program.lines if line.startswith("{")]

    def pid(self, role: str) -> int:
        """Return the process id under which a role was last started, waiting for its first start."""
        return eventually(lambda: self._last_pid(role) or 0, START_SECONDS, f"{role} has been started")

    @property
    def template(self) -> int:
        """The process id of what the children are forked from, 0 while there is none (Linux only)."""
        return next((pid for pid in descendants(self.program.pid) if title(pid)[1:2] == ["template"]), 0)

    def everybody(self) -> set[int]:
        """Return the ids of the parent, its children and their children."""
        return {self.program.pid, *descendants(self.program.pid)}

    def kill(self, role: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a role and return the id of the process that got it."""
        pid = self.pid(role)
        assert alive(pid), f"{role} ({pid}) has ended already:\n{self.log}"
        send_signal(pid, number)
        return pid

    def wait_for_restart(self, role: str, old_pid: int, deadline_seconds: float = 30) -> int:
        """Wait until a role runs under another process id and return it."""
        eventually(lambda: self.pid(role) != old_pid, deadline_seconds, f"{role} has been started again")
        return self.pid(role)

    def wait_until_ready(self, deadline_seconds: float = START_SECONDS) -> None:
        """Wait until `/readyz` answers 200 and, for `run` with order workers, one of them is alive."""
        url = self.url
        workers = self.command == "run" and any(role.startswith("order-") for role in self._roles)

        def ready() -> bool:
            assert self.program.running(), f"ended with {self.program.process.returncode}:\n{self.log}"
            try:
                if client.get("/readyz").status_code != httpx.codes.OK:
                    return False
                return not workers or client.get("/monitoring/health").json()["status"] == "ok"
            except httpx.TransportError:
                return False

        for role in self._roles:
            self.pid(role)
        # One client for all attempts: to make one takes longer than to ask.
        with httpx.Client(base_url=url, timeout=5, headers={"Connection": "close"}, verify=TRUST_NOBODY) as client:
            eventually(ready, deadline_seconds, f"{url}/readyz says yes")

    def client(self, **options: Any) -> httpx.Client:
        """Return a blocking client of the API, to be closed by the caller."""
        return http_session(self.url, **options)

    def terminate(self, number: signal.Signals = signal.SIGTERM, deadline_seconds: float = 30) -> int:
        """End everything in order and return the exit status of the parent."""
        return self.program.signal(number, deadline_seconds)

    def _last_pid(self, role: str) -> int | None:
        pids = [line["pid"] for line in self.lines if line.get("role") == role and line.get("event") == "role started"]
        assert pids or self.program.running(), f"ended with {self.program.process.returncode}:\n{self.log}"
        return pids[-1] if pids else None

    def __enter__(self) -> Self:
        self.program = Program([*self._prefix, SCRIPT, self.command], env=self._env, cwd=self._cwd)
        try:
            if self._wait:
                self.wait_until_ready()
        except BaseException:
            self.program.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and self.program.running():
            sys.stderr.write(self.log[-20_000:])
        self.program.end()
