"""A merchant's program that ships what was sold: it follows `GET /events` and knows nothing else of the service.

What it did and its cursor are one transaction of a database of its own, so it may be killed at any moment.

    python fulfilment.py http://127.0.0.1:8000 shipped.db    (ADMIN_TOKEN is in the environment)
"""

import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

TABLES = """
create table if not exists seen (number integer primary key, event text unique, type text, subject text, status text);
create table if not exists shipped (subject text primary key);
create table if not exists place (one integer primary key check (one = 1), cursor text);
"""


def next_page(url: str, cursor: str) -> dict[str, Any]:
    """Ask for what comes after the cursor; wait for it up to two seconds."""
    query = urllib.parse.urlencode({"after": cursor, "limit": 50, "wait": 2})
    request = urllib.request.Request(  # noqa: S310 - of a test
        f"{url}/events?{query}", headers={"Authorization": f"Bearer {os.environ['ADMIN_TOKEN']}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - ditto
        page: dict[str, Any] = json.load(answer)
        return page


def follow(url: str, database: sqlite3.Connection) -> None:
    """Ship each confirmed order once, for ever."""
    while True:
        (cursor,) = database.execute("select cursor from place").fetchone() or ("",)
        try:
            page = next_page(url, cursor)
        except (OSError, urllib.error.URLError, ValueError):
            time.sleep(0.1)
            continue
        with database:
            for event in page["events"]:
                row = (event["id"], event["type"], event["subject"], event["data"]["status"])
                new = database.execute(
                    "insert or ignore into seen (event, type, subject, status) values (?, ?, ?, ?)", row
                ).rowcount
                if new and event["type"] == "flashsale.order.confirmed":
                    database.execute("insert into shipped values (?)", (event["subject"],))  # a second time would fail
            database.execute("insert or replace into place values (1, ?)", (page["cursor"],))


if __name__ == "__main__":
    opened = sqlite3.connect(sys.argv[2])
    opened.executescript(TABLES)
    follow(sys.argv[1], opened)
