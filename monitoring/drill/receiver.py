"""Who is told: a receiver for Alertmanager's webhooks, and the dead man's switch that misses the Watchdog."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

SILENCE_SECONDS = 8.0
"""How long the Watchdog is waited for; at the drill's pace it comes every two seconds."""
PACE = {"group_wait": "1s", "group_interval": "2s"}


class Receiver:
    """A server on loopback that takes what Alertmanager sends. Runs in a thread of its own."""

    def __init__(self) -> None:
        self.refuses = False
        """Whether it answers 400, as a receiver does whose token has ended."""
        self._heard = time.monotonic()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="drill-receiver", daemon=True)

    @property
    def silent(self) -> bool:
        """Whether the Watchdog has not come for too long."""
        return time.monotonic() - self._heard > SILENCE_SECONDS

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    def configuration(self, committed: Path) -> str:
        """Return the committed configuration of Alertmanager at the drill's pace, with this as every receiver."""
        content: dict[str, Any] = yaml.safe_load(committed.read_text())
        route = content["route"]
        for one in (route, *route["routes"]):
            one.update(PACE | ({"repeat_interval": "2s"} if one["receiver"] == "watchdog" else {}))
        for one in content["receivers"]:
            url = f"http://127.0.0.1:{self._server.server_port}/{one['name']}"
            one["webhook_configs"] = [{"url": url, "send_resolved": one["name"] != "watchdog"}]
        return yaml.safe_dump(content)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                names = {alert["labels"]["alertname"] for alert in message["alerts"]}
                if "Watchdog" in names and not receiver.refuses:
                    receiver._heard = time.monotonic()
                self.send_response(400 if receiver.refuses else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
