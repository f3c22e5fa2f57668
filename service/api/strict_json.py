"""Bodies are JSON as RFC 8259 has it: in UTF-8, no name twice in an object, no NaN; whatever is not is refused.

Python's own reader takes the last of two equal names and guesses the encoding, so that two readers of one body may
see two different orders.
"""

import json
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

MAX_NAME_LENGTH = 64


class StrictRoute(APIRoute):
    """A route that reads its body by `parse`: `APIRouter(route_class=StrictRoute)`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the handler a request that is strict."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


class _NotStrictError(ValueError):
    pass


class _StrictRequest(Request):
    async def json(self) -> Any:  # noqa: ANN401 - whatever JSON there is
        return parse(await self.body())


def parse(body: bytes) -> Any:  # noqa: ANN401 - whatever JSON there is
    """Read a body.

    Raises:
        json.JSONDecodeError: It is not JSON, or not of the strict kind; FastAPI makes a validation error of it.
    """
    try:
        return _DECODER.decode(body.decode())
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("not UTF-8", "", error.start) from None
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except _NotStrictError as error:
        raise json.JSONDecodeError(str(error), "", 0) from None
    except ValueError:  # of `int`, which reads no more than some thousand digits
        raise json.JSONDecodeError("a number has too many digits", "", 0) from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the name {twice[:MAX_NAME_LENGTH]!a} is given twice")
    return members


def _constant(name: str) -> NoReturn:
    raise _NotStrictError(f"{name} is not a number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant)
