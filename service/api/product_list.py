"""The catalogue as a whole: what every shop page polls, and the units of everything."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service.api.conditional import POLLED
from service.api.context import Context
from service.api.errors import describe
from service.api.inventory import ProductView
from service.api.strict_json import StrictRoute
from service.ledger.snapshot import MissingShards
from service.problems import Problem

COUNTED = ("initial_stock", "restocked", "stock", "held", "sold", "drift")


class ProductList(BaseModel):
    """All products, by id."""

    products: list[ProductView]
    missing_shards: MissingShards = None


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
    missing_shards: MissingShards = None


router = APIRouter(tags=["inventory"], route_class=StrictRoute)


@router.get("/inventory", response_model=ProductList, responses=POLLED | describe("store_unavailable"))
async def list_products(request: Request, context: Context) -> Response:
    """List all products that are offered. May be polled: an ETag, gzip, and any cache may keep it for a second."""
    found = await context.catalogue.products()
    products = [ProductView.of(product) for product in found if not product.is_archived]
    return context.product_list.answer(request, ProductList(products=products, missing_shards=found.missing_shards))


@router.get("/inventory/metrics", responses=describe("store_unavailable"))
async def read_inventory_figures(context: Context) -> InventoryFigures:
    """Tell how many units there are of everything, archived products too, and whether the books agree."""
    products = await context.catalogue.products()
    return InventoryFigures(
        products=[ProductFigures(**{n: getattr(p, n) for n in ProductFigures.model_fields}) for p in products],
        totals={name: sum(getattr(product, name) for product in products) for name in COUNTED},
        missing_shards=products.missing_shards,
    )


@router.delete("/inventory/metrics", include_in_schema=False)
async def refuse_to_archive_figures() -> None:
    """Say that this is no product: the route of products would take `metrics` for the id of one."""
    raise Problem("method_not_allowed", headers={"Allow": "GET, HEAD"})
