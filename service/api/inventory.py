"""The routes of the catalogue."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service.api.auth import Admin
from service.api.context import Context
from service.api.errors import describe
from service.api.orders import ProductId
from service.api.strict_json import StrictRoute
from service.ledger.catalogue import Change
from service.ledger.products import Product
from service.problems import FieldProblem, Problem

MAX_UNITS = 1_000_000_000


def _not_a_route(product_id: str) -> str:
    if product_id == "metrics":
        raise ValueError("Another resource has this address")
    return product_id


def _rfc_3339(value: Any) -> Any:  # noqa: ANN401 - whatever JSON there is
    """Refuse the numbers, and the numbers in strings, that pydantic would take for seconds of the epoch."""
    if not isinstance(value, datetime) and (not isinstance(value, str) or "T" not in value.upper()):
        raise ValueError("Input should be an RFC 3339 time, such as 2026-11-27T09:00:00Z")
    return value


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["iPhone 15 Pro"])]
Price = Annotated[int, Field(strict=True, ge=0, le=10**12, description="minor units of `currency`", examples=[99900])]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217", examples=["USD"])]
Units = Annotated[int, Field(strict=True, ge=0, le=MAX_UNITS, description="units left to sell from now on")]
NewProductId = Annotated[ProductId, AfterValidator(_not_a_route)]
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc_3339),
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC)),
]
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

    @classmethod
    def of(cls, product: Product) -> Self:
        """Return the product as the ledger has it."""
        return cls(**{name: getattr(product, name) for name in cls.model_fields})


class ProductList(BaseModel):
    """All products, by id."""

    products: list[ProductView]


class ProductFigures(BaseModel):
    """The units of one product; `drift` is what the books cannot explain, so 0."""

    product_id: str
    name: str
    initial_stock: int
    restocked: int
    stock: int
    held: int
    sold: int
    drift: int


class InventoryFigures(BaseModel):
    """The units of every product, and their sums."""

    products: list[ProductFigures]
    totals: dict[str, int]


class ProductPut(BaseModel):
    """A whole product. On one that exists, the difference in stock is booked as a restock."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    price: Price
    currency: Currency
    stock: Units
    per_user_limit: Limit | None = None
    opens_at: Moment | None = Field(None, description="null: now")
    closes_at: Moment | None = Field(None, description="null: never")


class ProductPatch(BaseModel):
    """Some fields of a product; a field that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    name: Name = ""
    price: Price = 0
    currency: Currency = ""
    stock: Units = 0
    per_user_limit: Limit | None = None
    opens_at: Moment | None = Field(None, description="null: now")
    closes_at: Moment | None = Field(None, description="null: never")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("at least one field is needed")
        return self


class Restock(BaseModel):
    """Units that come in."""

    model_config = ConfigDict(extra="forbid")

    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_UNITS)]


_ADMIN_PROBLEMS = describe(
    *("bad_request", "unauthorized", "admin_disabled", "payload_too_large", "unsupported_media_type", "invalid"),
    "store_unavailable",
)


@router.get("/inventory", responses=describe("store_unavailable"))
async def list_products(context: Context) -> ProductList:
    """List all products."""
    return ProductList(products=[ProductView.of(product) for product in await context.catalogue.products()])


@router.get("/inventory/metrics", responses=describe("store_unavailable"))
async def read_figures(context: Context) -> InventoryFigures:
    """Tell how many units there are of everything, and whether the books agree."""
    products = await context.catalogue.products()
    counted = ("initial_stock", "restocked", "stock", "held", "sold", "drift")
    return InventoryFigures(
        products=[ProductFigures(**{n: getattr(p, n) for n in ProductFigures.model_fields}) for p in products],
        totals={name: sum(getattr(product, name) for product in products) for name in counted},
    )


@router.get("/inventory/{product_id}", responses=describe("unknown_product", "invalid", "store_unavailable"))
async def read_product(product_id: ProductId, context: Context) -> ProductView:
    """Read one product."""
    product = await context.catalogue.product(product_id)
    if product is None:
        raise Problem("unknown_product")
    return ProductView.of(product)


@router.put(
    "/inventory/{product_id}",
    dependencies=[Admin],
    responses={201: {"model": ProductView, "description": "created"}, **_ADMIN_PROBLEMS},
)
async def put_product(
    product_id: NewProductId, product: ProductPut, response: Response, context: Context
) -> ProductView:
    """Create a product, or change it whole."""
    change, stored = await context.catalogue.put(product_id, **_fields(product, product.model_fields_set | _ALL))
    context.sold_out.invalidate(product_id)
    if change is Change.CREATED:
        response.status_code = 201
    return _answer(change, stored)


@router.patch(
    "/inventory/{product_id}", dependencies=[Admin], responses={**_ADMIN_PROBLEMS, **describe("unknown_product")}
)
async def patch_product(product_id: ProductId, product: ProductPatch, context: Context) -> ProductView:
    """Change some fields of a product."""
    answer = await context.catalogue.patch(product_id, **_fields(product, product.model_fields_set))
    context.sold_out.invalidate(product_id)
    return _answer(*answer)


@router.post(
    "/inventory/{product_id}/restock",
    dependencies=[Admin],
    responses={**_ADMIN_PROBLEMS, **describe("unknown_product")},
)
async def restock_product(product_id: ProductId, restock: Restock, context: Context) -> ProductView:
    """Add units to what is left to sell."""
    answer = await context.catalogue.restock(product_id, restock.quantity)
    context.sold_out.invalidate(product_id)
    return _answer(*answer)


_ALL = set(ProductPut.model_fields)
_LEDGER_NAMES = {"per_user_limit": "limit", "opens_at": "opens", "closes_at": "closes"}


def _fields(product: ProductPut | ProductPatch, names: set[str]) -> dict[str, Any]:
    return {_LEDGER_NAMES.get(name, name): getattr(product, name) for name in sorted(names)}


def _answer(change: Change, product: Product | None) -> ProductView:
    if change is Change.BAD_WINDOW:
        wrong = FieldProblem(location="body", pointer="#/closes_at", detail="it must be later than opens_at")
        raise Problem("invalid", errors=[wrong])
    if product is None:
        raise Problem("unknown_product")
    return ProductView.of(product)
