"""The stack under drill: its rules ten times as fast, a load on it, and hands that break it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import httpx
import redis

from deploy.stack import Stack
from deploy.stack.merchant import Merchant, merchant
from monitoring.drill.receiver import Receiver
from monitoring.rules.__main__ import rule_files
from monitoring.rules.model import Timescale
from service.ledger import lease

ROOT = Path(__file__).parents[2]
SCALE = 0.1
SCRAPE_SECONDS = 2
STARTED_SECONDS = 30
RATE = 20.0
MAX_IN_FLIGHT = 400
EVENTS_KEPT_SECONDS = "25"
"""Longer than an endpoint is down until an alert tells of it, and short enough to see what comes then."""
LEASES = f"*lease:{lease.NAME}"
"""Several shards keep it, see `service.ledger.lease`."""

Mode = Literal["orders", "requests", "nothing"]


class Holder:
    """Keeps the lease that a fleet has, by force. Runs in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drill-lease", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        with redis.Redis.from_url(self._url) as client:
            while not self._stop.wait(lease.TTL_SECONDS / 10):
                for key in client.scan_iter(LEASES):
                    client.set(key, "somebody-else", px=round(lease.TTL_SECONDS * 1000))


class Load:
    """`orders`: twenty a second. `requests`: as many, for a product that there is not. Runs in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.mode: Mode = "nothing"
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="drill-load", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(30)

    async def _run(self) -> None:
        under_way: set[asyncio.Task[None]] = set()
        sent = 0
        async with httpx.AsyncClient(base_url=self._url, timeout=15) as client:
            while not self._stop.is_set():
                if self.mode != "nothing" and len(under_way) < MAX_IN_FLIGHT:
                    sent += 1
                    product = "lamp" if self.mode == "orders" else "no-such-product"
                    body = {"product_id": product, "user_id": f"u{sent}", "quantity": 1}
                    task = asyncio.create_task(_post(client, body))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                await asyncio.sleep(1 / RATE)
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)


async def _post(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    with suppress(httpx.HTTPError):
        await client.post("/orders", json=body)


class DrillStack:
    """A running stack, and what a scenario may do to it."""

    def __init__(self, stack: Stack, load: Load, receiver: Receiver, merchant: Merchant, rules: Path) -> None:
        self.stack = stack
        self.load = load
        self.merchant = merchant
        self.receiver = receiver
        self._unreadable = rules / "unreadable.yml"
        self._memory_limit = 0
        self._lease = Holder(stack.url("redis"))
        token = {"Authorization": f"Bearer {stack.admin_token}"}
        self._admin = httpx.Client(base_url=stack.url("api-1"), headers=token, timeout=20)

    def offer(self, product: str, stock: int) -> None:
        """Put a product on sale."""
        terms = {"name": product, "price": 100, "currency": "EUR", "stock": stock}
        self._admin.put(f"/inventory/{product}", json=terms).raise_for_status()

    def buy(self, product: str, orders: int = 1) -> None:
        """Place orders of one unit."""
        for number in range(orders):
            body = {"product_id": product, "user_id": f"drill-{number}", "quantity": 1}
            self._admin.post("/orders", json=body).raise_for_status()

    def fault(self, name: str, **strike: float | str) -> None:
        """Switch a fault on; every process knows within a second."""
        self._admin.put(f"/monitoring/faults/{name}", json={"ttl_seconds": 300, **strike}).raise_for_status()
        time.sleep(1)

    def heal(self) -> None:
        """Switch all faults off."""
        self._admin.delete("/monitoring/faults").raise_for_status()

    def drop_dead_letters(self) -> None:
        """Drop every dead letter."""
        argv = [sys.executable, "-P", "-m", "service", "dead-letters", "drop", "--all"]
        subprocess.run(  # noqa: S603 - our own program
            argv,
            cwd=ROOT,
            env={**os.environ, "REDIS_URL": self.stack.url("redis")},
            check=False,
            capture_output=True,
            timeout=60,
        )

    def add_foreign_entry(self) -> None:
        """Put into the queue what is no order of ours."""
        with redis.Redis.from_url(self.stack.url("redis")) as client:
            client.xadd("{fs:00}:queue", {"hello": "world"})

    def forget_damage(self) -> None:
        """Let what was set aside be forgotten, as an operator does who has looked."""
        with redis.Redis.from_url(self.stack.url("redis")) as client:
            client.delete("{fs:00}:damaged")

    def crowd_store(self) -> None:
        """Leave the store a memory of which nine tenths are used."""
        with redis.Redis.from_url(self.stack.url("redis")) as client:
            memory: Any = client.info("memory")
            self._memory_limit = int(memory["maxmemory"])
            client.config_set("maxmemory", int(memory["used_memory"] / 0.9))

    def widen_store(self) -> None:
        """Give the store the memory back that it had."""
        with redis.Redis.from_url(self.stack.url("redis")) as client:
            client.config_set("maxmemory", self._memory_limit)

    def take_lease(self) -> None:
        """Have somebody who is not scraped hold the lease on the ledger's series, as a fleet does: again and again."""
        self._lease.start()

    def return_lease(self) -> None:
        """Let the lease go: it runs out."""
        self._lease.stop()

    def break_rules(self) -> None:
        """Have Prometheus read a file of rules that it cannot read."""
        self._unreadable.write_text("groups: none\n")
        self.stack.parts["prometheus"].signal(signal.SIGHUP)

    def mend_rules(self) -> None:
        """Take it away again."""
        self._unreadable.unlink()
        self.stack.parts["prometheus"].signal(signal.SIGHUP)

    def refuse_webhooks(self) -> None:
        """Have the merchant's endpoint answer 503."""
        self.merchant.down = True

    def take_webhooks(self) -> None:
        """Have it take all again."""
        self.merchant.down = False

    def signal(self, part: str, role: str, number: signal.Signals) -> None:
        """Send a signal to one process of a part."""
        os.kill(self._started(part, role)[-1], number)

    def kill_again(self, part: str, role: str, times: int) -> None:
        """Kill a process, and each that is started in its place, once it was scraped."""
        for _ in range(times):
            known = self._started(part, role)
            os.kill(known[-1], signal.SIGKILL)
            end = time.monotonic() + STARTED_SECONDS
            while self._started(part, role) == known and time.monotonic() < end:
                time.sleep(0.2)
            time.sleep(2 * SCRAPE_SECONDS)

    def _started(self, part: str, role: str) -> list[int]:
        """Return the processes of a role that were started so far."""
        lines = [json.loads(line) for line in self.stack.log(part).splitlines() if line.startswith("{")]
        return [line["pid"] for line in lines if line.get("event") == "role started" and line.get("role") == role]

    def close(self) -> None:
        """Close the client."""
        self._admin.close()


@contextmanager
def open_drill_stack(directory: Path, scale: float = SCALE) -> Iterator[DrillStack]:
    """Run a stack to drill on, with a load that waits to be told."""
    environment = {
        "api-1": {"EVENTS_RETENTION_SECONDS": EVENTS_KEPT_SECONDS},
        "api-2": {"EVENTS_RETENTION_SECONDS": EVENTS_KEPT_SECONDS, "WORKERS": "2"},
        "worker": {
            "EVENTS_RETENTION_SECONDS": EVENTS_KEPT_SECONDS,
            "ORDER_ATTEMPTS": "2",
            "ORDER_RETRY_SECONDS": "0.2",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        },
    }
    receiver, rules = Receiver(), directory / "rules"
    receiver.start()
    alertmanager = directory / "alertmanager.yml"
    alertmanager.write_text(receiver.configuration(ROOT / "monitoring/alertmanager/alertmanager.yml"))
    with ExitStack() as exits:
        exits.callback(receiver.stop)
        endpoint = exits.enter_context(merchant())
        stack = exits.enter_context(
            Stack(
                directory / "stack",
                variables={"FAULTS_ENABLED": "true", **endpoint.variables},
                environment=environment,
                replaced=_faster(rules, scale) | {"./monitoring/alertmanager/alertmanager.yml": alertmanager},
                arguments={"prometheus": ("--rules.alert.resend-delay=2s",)},
            )
        )
        load = Load(stack.url("api-1"))
        drilled = DrillStack(stack, load, receiver, endpoint, rules)
        exits.callback(drilled.close)
        load.start()
        exits.callback(load.stop)
        yield drilled


def _faster(rules: Path, scale: float) -> dict[str, Path]:
    rules.mkdir()
    for name, content in rule_files(Timescale(scale)).items():
        (rules / name).write_text(content)
    changed: dict[str, dict[str, str]] = {
        "./monitoring/prometheus/prometheus.yml": {
            "scrape_interval": f"{SCRAPE_SECONDS}s",
            "scrape_timeout": f"{SCRAPE_SECONDS}s",
            "evaluation_interval": "1s",
        },
        "./otel-collector.yaml": {"queue_size": "1500", "min_size": "128", "max_size": "512"},
    }
    copies = {path: _copy(ROOT / path, rules.parent, settings) for path, settings in changed.items()}
    return {"./monitoring/prometheus/rules": rules, **copies}


def _copy(file: Path, directory: Path, settings: Mapping[str, str]) -> Path:
    """Write a copy with other values of some settings, each of which the file has once."""
    text = file.read_text()
    for setting, value in settings.items():
        text, found = re.subn(rf"^( +){setting}: .*$", rf"\g<1>{setting}: {value}", text, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{setting} stands {found} times in {file}, not once")
    copy = directory / file.name
    copy.write_text(text)
    return copy
