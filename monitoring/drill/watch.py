"""Which alerts fire, as Prometheus says twice a second, and which of them have reached Alertmanager."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import httpx

from monitoring.drill.receiver import Receiver

PAUSE_SECONDS = 0.5
SWITCH = "Watchdog"
"""What always fires: here it is the dead man's switch that does, when no more is heard of it."""


@dataclass(frozen=True, slots=True)
class Event:
    """An alert began to fire, or ended."""

    at: float
    alert: str
    fires: bool


class Watch:
    """Follows the alerts in a thread. A burn-rate alert is named with its window: `LatencyBudgetBurns 1h`."""

    def __init__(self, prometheus: str, alertmanager: str, receiver: Receiver) -> None:
        self._receiver = receiver
        self._prometheus = prometheus
        self._alertmanager = alertmanager
        self.firing: frozenset[str] = frozenset()
        self.events: list[Event] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drill-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(30)

    def wait(self, alert: str, *, fires: bool, seconds: float) -> bool:
        """Wait until an alert fires, or no longer does; return whether it came to that in time."""
        end = time.monotonic() + seconds
        while (alert in self.firing) is not fires:
            if time.monotonic() > end:
                return False
            self._stop.wait(PAUSE_SECONDS / 5)
        return True

    def notified(self) -> set[str]:
        """Return the alerts that Alertmanager has, silenced by another or not."""
        with httpx.Client(timeout=10) as client:
            alerts = client.get(f"{self._alertmanager}/api/v2/alerts").json()
        switch = {SWITCH} if self._receiver.silent else set()
        return {_name(alert["labels"]) for alert in alerts if alert["labels"]["alertname"] != SWITCH} | switch

    def _run(self) -> None:
        known: frozenset[str] = frozenset()
        with httpx.Client(timeout=10) as client:
            while not self._stop.wait(PAUSE_SECONDS):
                with suppress(httpx.HTTPError, ValueError, KeyError):  # it may be busy: what it says next is as good
                    alerts = client.get(f"{self._prometheus}/api/v1/alerts").json()["data"]["alerts"]
                    known = frozenset(_name(alert["labels"]) for alert in alerts if alert["state"] == "firing")
                now = time.monotonic()
                firing = known - {SWITCH} | ({SWITCH} if self._receiver.silent else set())
                self.events += [Event(now, alert, fires=True) for alert in sorted(firing - self.firing)]
                self.events += [Event(now, alert, fires=False) for alert in sorted(self.firing - firing)]
                self.firing = firing


def _name(labels: dict[str, str]) -> str:
    return " ".join(filter(None, (labels["alertname"], labels.get("window"))))
