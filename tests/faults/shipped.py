"""What a merchant's program did, by its own database: see `fulfilment.py` and `webhook_receiver.py`."""

import sqlite3
from collections import defaultdict
from pathlib import Path


def query(database: Path, question: str) -> list[tuple[str, ...]]:
    """Read the program's own database."""
    if not database.exists():
        return []
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return connection.execute(question).fetchall()


def told(database: Path) -> dict[str, list[str]]:
    """Return what happened to each order, as the program heard it."""
    found = defaultdict(list)
    for kind, subject, status in query(database, "select type, subject, status from seen order by number"):
        found[subject].append(kind.removeprefix("flashsale.order."))
        assert found[subject][-1] == status
    return found


def shipped(database: Path) -> set[str]:
    """Return the orders that it shipped."""
    return {subject for (subject,) in query(database, "select subject from shipped")}
