"""Objects of the SDK of which one method is another's."""

from typing import Any, Generic, TypeVar

_Extra = TypeVar("_Extra")


class Wrapper(Generic[_Extra]):
    """Whatever is not said by a subclass is said by the object inside: a provider, a meter or an instrument.

    Args:
        inside: the object.
        extra: what the subclass needs besides.
    """

    def __init__(self, inside: Any, extra: _Extra) -> None:  # noqa: ANN401 - as above
        self.inside = inside
        self.extra = extra

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self.inside, name)
