"""Which alerts fire, as Prometheus says twice a second, and which of them have reached Alertmanager."""

import threading
import time
from dataclasses import dataclass

import httpx

PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """An alert began to fire, or ended."""

    at: float
    alert: str
    fires: bool


class Watch:
    """Follows the alerts in a thread. A burn-rate alert is named with its window: `LatencyBudgetBurns 1h`."""

    def __init__(self, prometheus: str, alertmanager: str) -> None:
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
        return {_name(alert["labels"]) for alert in alerts}

    def _run(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._stop.wait(PAUSE_SECONDS):
                try:
                    alerts = client.get(f"{self._prometheus}/api/v1/alerts").json()["data"]["alerts"]
                except (httpx.HTTPError, ValueError, KeyError):  # it may be busy: what it says next is as good
                    continue
                now = time.monotonic()
                firing = frozenset(_name(alert["labels"]) for alert in alerts if alert["state"] == "firing")
                self.events += [Event(now, alert, fires=True) for alert in sorted(firing - self.firing)]
                self.events += [Event(now, alert, fires=False) for alert in sorted(self.firing - firing)]
                self.firing = firing


def _name(labels: dict[str, str]) -> str:
    return " ".join(filter(None, (labels["alertname"], labels.get("window"))))
