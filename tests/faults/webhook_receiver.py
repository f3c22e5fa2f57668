"""A merchant's program that ships what was sold: it is told by webhooks and knows nothing else of the service.

What it did is one transaction of a database of its own before it answers, so it may be killed at any moment.

    python webhook_receiver.py 8080 shipped.db    (WEBHOOK_SECRET is in the environment)
"""

import os
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

TABLES = """
create table if not exists seen (number integer primary key, event text unique, type text, subject text, status text);
create table if not exists shipped (subject text primary key);
create table if not exists refused (why text);
"""


class Receiver(BaseHTTPRequestHandler):
    """Ships each confirmed order once."""

    protocol_version = "HTTP/1.1"
    database: sqlite3.Connection
    webhook: Webhook
    lock = threading.Lock()

    def do_POST(self) -> None:
        """Keep an event, then say so; one that was not signed by the service is refused."""
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # whoever sent it was killed
            self.close_connection = True
            return
        try:
            event = self.webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except WebhookVerificationError as error:
            with self.lock, self.database:
                self.database.execute("insert into refused values (?)", (str(error),))
            self._answer(400)
            return
        row = (self.headers["webhook-id"], event["type"], event["subject"], event["data"]["status"])
        with self.lock, self.database:
            new = self.database.execute(
                "insert or ignore into seen (event, type, subject, status) values (?, ?, ?, ?)", row
            ).rowcount
            if new and event["type"] == "flashsale.order.confirmed":
                self.database.execute("insert into shipped values (?)", (event["subject"],))  # a second time would fail
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


if __name__ == "__main__":
    Receiver.database = sqlite3.connect(sys.argv[2], check_same_thread=False)
    Receiver.database.execute("pragma synchronous = off")  # the machine goes on when the program is killed
    Receiver.database.executescript(TABLES)
    Receiver.webhook = Webhook(os.environ["WEBHOOK_SECRET"])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
