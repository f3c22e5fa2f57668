"""One service of the stack as a process: its command line on this machine, its files, its life."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from deploy.stack.compose import ROOT, Service
from deploy.stack.network import inside
from deploy.stack.tools import find
from service.parent_death import die_with_parent
from service.store.server_process import answers, server_program

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - what containers listen on; it is replaced by one loopback address
END_SECONDS: Final = 15.0
PROGRAMS: Final = {
    "valkey/valkey": "valkey-server",
    "otel/opentelemetry-collector-contrib": "otelcol",
    "jaegertracing/jaeger": "jaeger",
    "prom/prometheus": "prometheus",
    "prom/alertmanager": "alertmanager",
    "grafana/grafana": "grafana",
    "nginxinc/nginx-unprivileged": "nginx",
}
PORTS: Final = {
    "redis": 6379,
    "otel-collector": 4318,
    "worker": 9464,
    "jaeger": 16686,
    "prometheus": 9090,
    "alertmanager": 9093,
    "grafana": 3000,
}
"""Where people and tests reach a service; 8000 for the others."""
HEALTH: Final = {"otel-collector": (13133, "/")}
"""Of images that cannot be asked by Docker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is the machine's and not the file's."""

    address: str
    hosts: Path
    directory: Path
    replaced: Mapping[str, Path]
    """Path in the repository, as docker-compose.yml has it -> what to mount in its place."""


class Part:
    """A service's process; it may be started again after it ended."""

    def __init__(
        self, service: Service, place: Place, environment: Mapping[str, str], arguments: Sequence[str] = ()
    ) -> None:
        """Take what the file says, where it runs, and what is added to its environment and its command line."""
        self.service = service
        self.place = place
        self._environment = environment
        self._arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = False

    @property
    def name(self) -> str:
        """Its name in docker-compose.yml."""
        return self.service.name

    @property
    def port(self) -> int:
        """Where it is reached."""
        return PORTS.get(self.name, 8000)

    @property
    def url(self) -> str:
        """Where it is reached, as a URL."""
        scheme = "redis" if self.name == "redis" else "http"
        return f"{scheme}://{self.place.address}:{self.port}"

    @property
    def log(self) -> Path:
        """What it writes, stdout and stderr, over all its lives."""
        return self.place.directory / "log"

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process.

        Raises:
            ToolMissing: Its program is not on this machine.
        """
        self._lay_out()
        argv = inside(self.place.hosts, die_with_parent(self.argv(), signal.SIGTERM))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - the programs of docker-compose.yml
                argv,
                env=self._env(),
                cwd=ROOT if self.service.built else self.place.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wanted = True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self.process is not None and self.alive:
            self.process.send_signal(number)

    def stop(self) -> None:
        """End the process in order, and by force after 15 s."""
        self.wanted = False
        self.signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        """Wait until the process has ended, killing it after 15 s."""
        if self.process is None:
            return
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)

    def ready(self) -> bool:
        """Whether its health check says yes."""
        if not self.alive:
            return False
        port, path = HEALTH.get(self.name) or self.service.health or (self.port, "")
        try:
            if self.name == "redis":
                return answers((self.place.address, port))
            with urlopen(f"http://{self.place.address}:{port}{path}", timeout=3) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 - OK
        except (URLError, OSError):
            return False

    def argv(self) -> list[str]:
        """Return the command line on this machine."""
        arguments = [self._here(argument) for argument in (*self.service.command, *self._arguments)]
        if self.service.built:
            return [sys.executable, "-P", "-m", "service", *arguments]
        program = PROGRAMS[self.service.image]
        if program == "valkey-server":
            return [server_program(), *arguments[1:]]
        if program == "nginx":
            arguments = ["-e", "stderr", "-c", str(self._file("/etc/nginx/nginx.conf")), "-g", "daemon off;"]
        return [str(find(program)), *arguments]

    def _env(self) -> dict[str, str]:
        """As a container has it, plus what a process needs to be found, and no setting of whoever starts it."""
        ours = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "XDG_CACHE_HOME")}
        said = {key: self._here(value) for key, value in self.service.environment.items() if value}
        return {**ours, "BIND_ADDRESS": self.place.address, **said, **self._environment}

    def _here(self, text: str) -> str:
        """Return a word of the file with this machine's paths and address in it."""
        for path in sorted(self.service.mounts, key=len, reverse=True):
            text = re.sub(rf"(?<![\w.]){re.escape(path)}(?=$|[/\s])", str(self._file(path)), text)
        return text.replace(EVERYWHERE, self.place.address)

    def _file(self, container_path: str) -> Path:
        return self.place.directory / "root" / container_path.lstrip("/")

    def _lay_out(self) -> None:
        """Lay the mounts out as the container has them: links to the repository's files, directories for volumes."""
        for path, origin in self.service.mounts.items():
            target = self._file(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not origin.startswith("./"):
                target.mkdir(exist_ok=True)
                continue
            target.unlink(missing_ok=True)
            target.symlink_to(self.place.replaced.get(origin, ROOT / origin))


def wait_until_ready(parts: Sequence[Part], seconds: float) -> list[Part]:
    """Wait until all say that they are ready; return those that did not in time."""
    end = time.monotonic() + seconds
    waiting = list(parts)
    while waiting and time.monotonic() < end:
        waiting = [part for part in waiting if not part.ready()]
        if waiting:
            time.sleep(0.1)
    return waiting
