"""The line of log that an admin's command leaves on stderr, as the admin routes leave theirs in the log of the service.

Who is told by the name of the operating system's user, for whoever can start the command needs no token.
"""

import logging
import os
import pwd
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

NAME: Final = "service.cli.admin_log"


@contextmanager
def admin_act(act: str, good: str) -> Iterator[dict[str, str]]:
    """Write down what came of an act, whatever `LOG_LEVEL` is; logging is configured by `in_store`.

    Args:
        act: The command, as it is typed.
        good: How the result of an order is called for which it was done.

    Yields:
        The result for each order, to be filled in.
    """
    results: dict[str, str] = {}
    try:
        yield results
    except BaseException as error:
        _write(act, type(error).__name__, results)
        raise
    _write(act, _outcome(results, good), results)


def _outcome(results: Mapping[str, str], good: str) -> str:
    done = sum(result == good for result in results.values())
    if done == len(results):
        return "done"
    return "done in part" if done else next(iter(results.values()))


def _write(act: str, outcome: str, results: Mapping[str, str]) -> None:
    import structlog

    logging.getLogger(NAME).setLevel(logging.INFO)
    orders = {"orders": dict(results)} if results else {}
    line = {"who": _user(), "act": act, "client": socket.gethostname(), "outcome": outcome, **orders}
    structlog.get_logger(NAME).info("admin act", **line)


def _user() -> str:
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as in a container that is run by a number
        return str(number)
