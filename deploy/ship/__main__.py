"""`python -m deploy.ship` runs the container test and prints its table; status 1 when a step failed."""

import secrets
import signal
import subprocess
import sys
import time

from deploy.ship.debian import CannotShip, cache
from deploy.ship.engine import COMPOSE, Engine, engine, left_over
from deploy.ship.images import docker, stand_in
from deploy.stack.compose import ROOT
from deploy.stack.tools import ToolMissing

PROJECT = "flash-sale-ship"


def main() -> int:
    """Run everything and return the status."""
    begun = time.monotonic()
    cache().mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    try:
        with engine() as ours:
            instead = {} if ours.published else stand_in(ours)
            server = docker(ours, "version", "--format", "{{.Server.Version}}")
            compose = docker(ours, "compose", "version", "--short") if ours.published else COMPOSE.version
            _say(f"engine {server}, Compose {compose}, made ready in {time.monotonic() - begun:.0f} s")
            for image, what in instead.items():
                _say(f"stands in for {image}: {what}")
            token = {} if ours.env.get("ADMIN_TOKEN") else {"ADMIN_TOKEN": secrets.token_hex(16)}
            status = _checks(ours, {**token, "COMPOSE_PROJECT_NAME": PROJECT})
    except (CannotShip, ToolMissing) as error:
        sys.stderr.write(f"ship: {error}\n")
        return 1
    left = left_over(ours.network)
    _say(f"left behind: {', '.join(left) or 'nothing'}; {time.monotonic() - begun:.0f} s in all")
    return 1 if left else status


def _checks(ours: Engine, more: dict[str, str]) -> int:
    """Run the steps where the engine's ports and processes are."""
    pull = "missing" if ours.published else "never"
    argv = [*ours.inside, sys.executable, "-P", "-m", "deploy.ship.steps", pull]
    return subprocess.run(argv, cwd=ROOT, env={**ours.env, **more, "PYTHONPATH": str(ROOT)}, check=False).returncode  # noqa: S603


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
