"""The routes of the catalogue."""

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from service.api.admin_writes import WRITE_PROBLEMS, IfMatch, etag, note_replay, once_only, revisions
from service.api.auth import Admin
from service.api.context import ApiContext, Context
from service.api.currencies import Currency
from service.api.errors import describe
from service.api.moments import Moment
from service.api.orders import IdempotencyKey, ProductId
from service.api.strict_json import StrictRoute
from service.ledger.catalogue import Change, Changed
from service.ledger.catalogue import Field as LedgerField
from service.ledger.products import BY_TICKET, Product, SaleState
from service.problems import FieldProblem, Problem

MAX_UNITS = 1_000_000_000


def _not_a_route(product_id: str) -> str:
    if product_id == "metrics":
        raise ValueError("Another resource has this address")
    return product_id


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["iPhone 15 Pro"])]
Price = Annotated[int, Field(strict=True, ge=0, le=10**12, description="minor units of `currency`", examples=[99900])]
Units = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        le=MAX_UNITS,
        description="units left to sell from now on; sent again later it sells the units sold meanwhile once more",
        json_schema_extra={"deprecated": True},
    ),
]
TotalUnits = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        le=MAX_UNITS,
        description="units on sale in all, `initial_stock + restocked`; sent again it changes nothing",
    ),
]
NewProductId = Annotated[ProductId, AfterValidator(_not_a_route)]
Paused = Annotated[
    bool, Field(strict=True, description="true: refuse orders with `sale_paused` from now on, false: no more")
]
Admission = Literal["open", "ticket"]
Limit = Annotated[int, Field(strict=True, ge=1, le=MAX_UNITS, description="units a user may hold or buy")]

router = APIRouter(tags=["inventory"], route_class=StrictRoute)


class ProductView(BaseModel):
    """A product. `initial_stock + restocked = stock + held + sold`, always."""

    product_id: str
    name: str
    price: int = Field(description="minor units of `currency`")
    currency: str
    stock: int = Field(description="units left to sell")
    held: int = Field(description="units of orders that are not settled")
    sold: int
    initial_stock: int
    restocked: int
    per_user_limit: int | None
    opens_at: datetime
    closes_at: datetime | None
    paused: bool = Field(description="whether orders are refused until the sale is resumed")
    admission: Admission = Field(description="`ticket`: an order must show a ticket whose turn has come")

    @classmethod
    def of(cls, product: Product) -> Self:
        """Return the product as the ledger has it."""
        names = cls.model_fields.keys() - {"paused", "admission"}
        admission: Admission = "ticket" if product.by_ticket else "open"
        told = {name: getattr(product, name) for name in names}
        return cls(paused=product.is_paused, admission=admission, **told)


class ProductPut(BaseModel):
    """A whole product, with `total_stock` or `stock`. On one that exists, the difference is booked as a restock.

    A sale that is paused stays so, and a product that was archived is offered again.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "if": {"required": ["stock"]},
            "then": {"not": {"required": ["total_stock"]}},
            "else": {"required": ["total_stock"]},
        },
    )

    name: Name
    price: Price
    currency: Currency
    total_stock: TotalUnits = Field(default_factory=int)
    stock: Units = Field(default_factory=int)
    per_user_limit: Limit | None = None
    opens_at: Moment | None = Field(None, description="null: open, without a time")
    closes_at: Moment | None = Field(None, description="null: never")

    @model_validator(mode="after")
    def _says_how_many(self) -> Self:
        if len(self.model_fields_set & _STOCKS) != 1:
            raise ValueError("exactly one of total_stock and stock is needed")
        return self


class ProductPatch(BaseModel):
    """Some fields of a product; a field that is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"minProperties": 1, "not": {"required": ["stock", "total_stock"]}},
    )

    # Made by a factory, so that the schema has no default: a generated client would send it.
    name: Name = Field(default_factory=str)
    price: Price = Field(default_factory=int)
    currency: Currency = Field(default_factory=str)
    total_stock: TotalUnits = Field(default_factory=int)
    stock: Units = Field(default_factory=int)
    per_user_limit: Limit | None = Field(default_factory=lambda: None, description="null: none")
    opens_at: Moment | None = Field(default_factory=lambda: None, description="null: open, without a time")
    closes_at: Moment | None = Field(default_factory=lambda: None, description="null: never")
    paused: Paused = Field(default_factory=bool)
    admission: Admission = Field(
        default_factory=lambda: "open",
        description="ticket: orders are taken by lot, from those who asked for a ticket before the sale opens",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("at least one field is needed")
        if self.model_fields_set >= _STOCKS:
            raise ValueError("only one of total_stock and stock may be given")
        return self


class Restock(BaseModel):
    """Units that come in."""

    model_config = ConfigDict(extra="forbid")

    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_UNITS)]


_ETAG = {"ETag": {"description": "changes with what may be set, not with each sale", "schema": {"type": "string"}}}
_WRITTEN = {200: {"headers": _ETAG}, **WRITE_PROBLEMS}


@router.get(
    "/inventory/{product_id}",
    responses={200: {"headers": _ETAG}, **describe("unknown_product", "invalid", "store_unavailable")},
)
async def read_product(product_id: ProductId, response: Response, context: Context) -> ProductView:
    """Read one product."""
    product = await context.catalogue.product(product_id)
    if product is None or product.is_archived:
        raise Problem("unknown_product")
    response.headers["ETag"] = etag(product)
    return ProductView.of(product)


@router.put(
    "/inventory/{product_id}",
    dependencies=[Admin],
    responses={
        **_WRITTEN,
        201: {"model": ProductView, "description": "created", "headers": _ETAG},
        **describe("stock_below_sold", "changed_meanwhile"),
    },
)
async def put_product(
    product_id: NewProductId,
    product: ProductPut,
    response: Response,
    context: Context,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> ProductView:
    """Create a product, or change it whole."""
    names = product.model_fields_set | (set(ProductPut.model_fields) - _STOCKS)
    once = once_only(idempotency_key, context.settings.policy.idempotency, f"put {product_id}", product)
    answer = await context.catalogue.change(
        "put", product_id, _fields(product, names), once=once, match=revisions(if_match)
    )
    return _answer(context, response, product_id, answer)


@router.patch(
    "/inventory/{product_id}",
    dependencies=[Admin],
    responses={**_WRITTEN, **describe("unknown_product", "stock_below_sold", "changed_meanwhile")},
)
async def patch_product(
    product_id: ProductId,
    product: ProductPatch,
    response: Response,
    context: Context,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> ProductView:
    """Change some fields of a product."""
    fields = _fields(product, product.model_fields_set)
    once = once_only(idempotency_key, context.settings.policy.idempotency, f"patch {product_id}", product)
    answer = await context.catalogue.change("patch", product_id, fields, once=once, match=revisions(if_match))
    return _answer(context, response, product_id, answer)


@router.delete(
    "/inventory/{product_id}",
    status_code=204,
    dependencies=[Admin],
    responses={
        204: {"description": "Archived: no longer offered or listed. Its orders stay, and `PUT` offers it again."},
        **WRITE_PROBLEMS,
        **describe("unknown_product", "has_open_orders", "changed_meanwhile"),
    },
)
async def archive_product(
    product_id: ProductId,
    response: Response,
    context: Context,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> None:
    """Archive a product of which no order holds units any more. Who orders it is told that there is no such product."""
    once = once_only(idempotency_key, context.settings.policy.idempotency, f"archive {product_id}")
    answer = await context.catalogue.change("archive", product_id, {}, once=once, match=revisions(if_match))
    _changed(context, response, product_id, answer)


@router.post(
    "/inventory/{product_id}/restock",
    dependencies=[Admin],
    responses={**_WRITTEN, **describe("unknown_product", "changed_meanwhile")},
)
async def restock_product(
    product_id: ProductId,
    restock: Restock,
    response: Response,
    context: Context,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> ProductView:
    """Add units to what is left to sell."""
    units: dict[str, LedgerField] = {"units": restock.quantity}
    once = once_only(idempotency_key, context.settings.policy.idempotency, f"restock {product_id}", restock)
    answer = await context.catalogue.change("restock", product_id, units, once=once, match=revisions(if_match))
    return _answer(context, response, product_id, answer)


_STOCKS = {"stock", "total_stock"}
_LEDGER_NAMES = {"per_user_limit": "limit", "opens_at": "opens", "closes_at": "closes", "total_stock": "total"}


def _fields(product: ProductPut | ProductPatch, names: set[str]) -> dict[str, LedgerField]:
    fields = {_LEDGER_NAMES.get(name, name): getattr(product, name) for name in sorted(names)}
    if "paused" in fields:
        fields["halted"] = SaleState.PAUSED.value if fields.pop("paused") else ""
    if "admission" in fields:
        fields["admission"] = BY_TICKET if fields["admission"] == "ticket" else ""
    return fields


def _answer(context: ApiContext, response: Response, product_id: str, changed: Changed) -> ProductView:
    product = _changed(context, response, product_id, changed)
    if changed.change is Change.CREATED:
        response.status_code = 201
    response.headers["ETag"] = etag(product)
    return ProductView.of(product)


def _changed(context: ApiContext, response: Response, product_id: str, changed: Changed) -> Product:
    """Return the product that was changed.

    Raises:
        Problem: Nothing was.
    """
    context.sold_out.invalidate(product_id)
    if changed.change is Change.BAD_WINDOW:
        wrong = FieldProblem(location="body", pointer="#/closes_at", detail="it must be later than opens_at")
        raise Problem("invalid", errors=[wrong])
    if changed.product is None:
        raise Problem(changed.change.value)
    note_replay(response, replayed=changed.replayed)
    return changed.product
