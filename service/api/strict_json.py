"""Routes that read strictly: a body is JSON as RFC 8259 has it, in UTF-8, no name twice in an object, no NaN.

Python's own reader takes the last of two equal names and guesses the encoding, so that two readers of one body may
see two different orders.
"""

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.problems import FieldProblem, Problem

MAX_NAME_LENGTH = 64
MAX_UNKNOWN = 20
"""Parameters that nobody knows and that are named in one answer."""


class StrictRoute(APIRoute):
    """A route that reads its body by `parse`: `APIRouter(route_class=StrictRoute)`.

    Where it has parameters in the query it knows no others: a filter that is misspelt would ask for everything. And no
    cache keeps an answer that does not say that it may, since most are of one shopper.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the handler a request that is strict."""
        handle = super().get_route_handler()
        parameters = frozenset(_query_parameters(self.dependant))

        async def strict(request: Request) -> Response:
            if parameters and not parameters.issuperset(request.query_params):
                raise _unknown_parameters(set(request.query_params) - parameters)
            response = await handle(_StrictRequest(request.scope, request.receive))
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return strict


def _query_parameters(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for needed in dependant.dependencies:
        yield from _query_parameters(needed)


def _unknown_parameters(names: set[str]) -> Problem:
    found = sorted(names)[:MAX_UNKNOWN]
    pointers = [f"#/{quote(name[:MAX_NAME_LENGTH], safe='')}" for name in found]
    return Problem(
        "invalid",
        errors=[FieldProblem(location="query", pointer=each, detail="there is no such parameter") for each in pointers],
    )


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
