"""Starts the services of docker-compose.yml as processes on loopback, keeps them alive, and ends them in order."""

import signal
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from deploy.stack.compose import ROOT, Service, read
from deploy.stack.network import Network, missing
from deploy.stack.part import PORTS, Part, Place, wait_until_ready
from deploy.stack.tools import ToolMissing

START_SECONDS: Final = 90.0
OPTIONAL: Final = ("front", "grafana")
"""Left out where their programs are not to be had: the rest is whole without them."""
NOT_NATIVE: Final = ("own-volumes",)
REPLACED: Final = {"./deploy/front/replicas.conf": ROOT / "deploy/front/replicas.fixed.conf"}
"""What containers need and processes cannot have: they have no name server of their own."""
DEFAULTS: Final = {"ADMIN_TOKEN": "the-admin-token-of-the-stack", "FAULTS_ENABLED": "", "DRAIN_SECONDS": "0"}


class StackError(RuntimeError):
    """The stack cannot be started; the message says which part, and the end of what it wrote."""


class Stack:
    """The whole stack, started on entering the context and ended on leaving it.

    Args:
        directory: Where parts keep data and logs, `directory/NAME/log`.
        parts: Which services to start; None for all of them but those in a profile.
        variables: For the `${...}` in docker-compose.yml.
        environment: Added to the environment of a part: `{"api-1": {"WORKERS": "2"}}`.
        replaced: What to mount instead of a path that the file mounts: `{"./monitoring/prometheus/rules": other}`.
        arguments: Added to the command line of a part.
    """

    def __init__(
        self,
        directory: Path,
        *,
        parts: Collection[str] | None = None,
        variables: Mapping[str, str] | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        replaced: Mapping[str, Path] | None = None,
        arguments: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.directory = directory
        self.variables = {**DEFAULTS, **(variables or {})}
        self._wanted = parts
        self._environment = environment or {}
        self._replaced = {**REPLACED, **(replaced or {})}
        self._arguments = arguments or {}
        self._exit = ExitStack()
        self.parts: dict[str, Part] = {}
        self.left_out: dict[str, str] = {}
        """Parts that this machine cannot run, and why."""

    @property
    def admin_token(self) -> str:
        """The token of the API's admin routes."""
        return self.variables["ADMIN_TOKEN"]

    def url(self, name: str) -> str:
        """Where a part is reached."""
        return self.parts[name].url

    def log(self, name: str) -> str:
        """Return what a part has written so far."""
        return self.parts[name].log.read_text(errors="replace")

    def start(self, *names: str, seconds: float = START_SECONDS) -> None:
        """Start parts and wait until they are ready.

        Raises:
            StackError: One of them was not ready in time.
        """
        chosen = [self.parts[name] for name in names]
        for part in chosen:
            part.start()
        if late := wait_until_ready(chosen, seconds):
            told = "\n".join(f"--- {part.name}\n{self.log(part.name)[-2000:]}" for part in late)
            raise StackError(f"not ready after {seconds:.0f} s: {', '.join(part.name for part in late)}\n{told}")

    def stop(self, *names: str) -> None:
        """End parts in order, with SIGTERM."""
        for name in names:
            self.parts[name].stop()

    def kill(self, name: str) -> None:
        """Kill a part's process, with SIGKILL; it stays down until `start`."""
        part = self.parts[name]
        part.wanted = False
        part.signal(signal.SIGKILL)
        part.wait()

    def restart(self, name: str) -> None:
        """Stop a part and start it again."""
        self.stop(name)
        self.start(name)

    def keep(self) -> list[str]:
        """Start parts again that ended by themselves, and return their names."""
        dead = [part for part in self.parts.values() if part.wanted and not part.alive]
        for part in dead:
            part.start()
        return [part.name for part in dead]

    def __enter__(self) -> Self:
        lack = missing()
        if lack:
            raise ToolMissing(lack)
        with ExitStack() as stack:
            network = stack.enter_context(Network(self._services()))
            for name in ("jaeger", "prometheus"):  # the file has the ports that Docker publishes
                if name in network.addresses:
                    self.variables.setdefault(f"{name.upper()}_URL", f"http://{network.addresses[name]}:{PORTS[name]}")
            services = self._services()
            self._make_parts(services, network)
            stack.callback(self._end)
            for stage in _stages(services):
                self.start(*stage)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def _services(self) -> dict[str, Service]:
        services = read(self.variables)
        if self._wanted is None:
            return {n: s for n, s in services.items() if not s.profiles and n not in NOT_NATIVE}
        return {name: services[name] for name in services if name in self._wanted}

    def _make_parts(self, services: dict[str, Service], network: Network) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        hosts = self.directory / "hosts"
        network.write_hosts(hosts)
        for name, service in list(services.items()):
            directory = self.directory / name
            directory.mkdir(exist_ok=True)
            place = Place(address=network.addresses[name], hosts=hosts, directory=directory, replaced=self._replaced)
            part = Part(service, place, self._environment.get(name, {}), self._arguments.get(name, ()))
            try:
                part.argv()
            except ToolMissing as lack:
                if name not in OPTIONAL:
                    raise
                self.left_out[name] = str(lack)
                del services[name]
            else:
                self.parts[name] = part

    def _end(self) -> None:
        """End the senders first: what they still have to say is taken by those that end last."""
        for part in self.parts.values():
            part.wanted = False
        for stage in reversed(_stages({name: part.service for name, part in self.parts.items()})):
            for name in stage:
                self.parts[name].signal(signal.SIGTERM)
            for name in stage:
                self.parts[name].wait()


def _stages(services: Mapping[str, Service]) -> list[list[str]]:
    """Return the services in the order of their `depends_on`: each stage needs only those before it."""
    stages: list[list[str]] = []
    left = dict(services)
    while left:
        stage = [name for name, service in left.items() if not any(need in left for need in service.needs)]
        stages.append(stage)
        for name in stage:
            del left[name]
    return stages
