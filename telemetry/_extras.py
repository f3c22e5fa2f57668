"""What is installed only when it is asked for: `pip install 'truemeter[otlp]'` and the like."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import in this block what an extra brings.

    Raises:
        ImportError: it is not installed; the message is one line that says how it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(f"{error.name} is not installed: pip install 'truemeter[{extra}]'") from None
