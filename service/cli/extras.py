"""What is not installed with the service itself, and how a command says that it needs it."""

from importlib.util import find_spec

from service.cli.errors import OperatorError

CROWD = ("aiohttp", "rich")


def has_crowd() -> bool:
    """Return whether the extra `crowd` is installed."""
    return all(find_spec(name) is not None for name in CROWD)


def require_crowd() -> None:
    """Refuse a command that sends a crowd where the extra is not installed.

    Raises:
        OperatorError: It is not.
    """
    if not has_crowd():
        raise OperatorError("the crowd is not installed: pip install 'flash-sale[crowd]'")
