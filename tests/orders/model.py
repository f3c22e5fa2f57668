"""The ledger as a plain Python model: what each step must do and say, without a store, a clock or a second copy.

Time is a word: what is `due` is over as soon as somebody looks.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain

from service.ledger.orders import NewOrder
from tests.orders.model_parts import LIVE, ModelOrder, ModelProduct


@dataclass
class Model:
    """A shard."""

    products: dict[str, ModelProduct]
    orders: dict[str, ModelOrder] = field(default_factory=dict)
    keys: dict[str, NewOrder] = field(default_factory=dict)
    undelivered: list[str] = field(default_factory=list)
    delayed: dict[str, bool] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    totals: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    refunds: set[str] = field(default_factory=set)
    archived: Counter[str] = field(default_factory=Counter)
    restocks: dict[str, int] = field(default_factory=dict)
    refunded: dict[str, tuple[str, int | None, bool]] = field(default_factory=dict)

    # What is seen from outside

    def pending_entries(self, owner: str = "") -> dict[str, str]:
        """Return the entries in a consumer's hands, or in anybody's, with their orders."""
        return {o.entry: name for name, o in self.orders.items() if o.entry and owner in ("", o.owner)}

    def units_of(self, product: str, user: str) -> int:
        """Return what counts against a buyer's limit."""
        return sum(
            order.left
            for order in self.orders.values()
            if (order.request.product_id, order.request.user_id) == (product, user)
            and order.status in (*LIVE, "confirmed", "refunded")
        )

    # Steps

    def place(self, requests: list[NewOrder], due: bool) -> list[str]:
        """Return an outcome for each request."""
        said = [self._seen(request) or self._refusal(request) or self._accept(request, due) for request in requests]
        self.refused.update(word for word in said if word not in ("accepted", "replayed"))
        return said

    def _seen(self, request: NewOrder) -> str:
        first = self.keys.get(request.digest) if request.digest else None
        if first is None or first.order_id not in self.orders:
            return "accepted" if request.order_id in self.orders else ""
        if first.fingerprint != request.fingerprint:
            return "idempotency_conflict"
        return "accepted" if first.order_id == request.order_id else "replayed"

    def _refusal(self, request: NewOrder) -> str:
        product = self.products.get(request.product_id)
        if product is None:
            return "unknown_product"
        if product.refuses:
            return product.refuses
        if product.stock == 0:
            return "sold_out"
        has = self.units_of(request.product_id, request.user_id)
        if product.limit is not None and has + request.quantity > product.limit:
            return "limit_exceeded"
        return "sold_out" if product.stock < request.quantity else ""

    def _accept(self, request: NewOrder, due: bool) -> str:
        self._reserve(request)
        self.orders[request.order_id] = ModelOrder(request, due)
        self.undelivered.append(request.order_id)
        if request.digest:
            self.keys[request.digest] = request
        return "accepted"

    def _reserve(self, request: NewOrder) -> None:
        product = self.products[request.product_id]
        product.stock -= request.quantity
        product.held += request.quantity
        self.totals["pending"] += 1

    def begin(self, name: str, entry: str, allowed: int, call: int) -> str:
        """Return begun, dead or gone."""
        order = self.orders.get(name)
        if order is None:
            return "gone"
        if order.entry != entry:
            return "dead" if name in self.dead else "gone"
        if order.status == "pending" and order.due:
            return self._finish(name, "expired", "gone")
        if order.call == call:
            return "begun"
        if order.attempts >= allowed:
            return self._dead_letter(name)
        order.status, order.attempts, order.call = "processing", order.attempts + 1, call
        return "begun"

    def settle(self, name: str, status: str, generation: int | None = None) -> str:
        """Return settled, repeated or refused."""
        order = self.orders[name]
        generation = order.generation if generation is None else generation
        stands = "confirmed" if order.status == "refunded" else order.status
        if (generation, status) == (order.generation, stands):
            return "repeated"
        if generation != order.generation or order.status != "processing":
            if status == "confirmed" and not (generation == order.generation and order.status == "pending"):
                self.refunds.add(_payment_key(name, generation))
            return "refused"
        return self._finish(name, status, "settled")

    def defer(self, name: str, due: bool, allowed: int) -> str:
        """Return deferred, dead or gone."""
        order = self.orders[name]
        if order.status != "processing":
            return "dead" if name in self.dead else "gone"
        if order.attempts >= allowed:
            return self._dead_letter(name)
        self._unqueue(name)
        self.delayed.setdefault(name, due)
        return "deferred"

    def promote(self) -> int:
        """Put those that are due back; how those of one millisecond stand among each other, the store says."""
        back = [name for name, due in self.delayed.items() if due]
        for name in back:
            del self.delayed[name]
        self.undelivered += back
        return len(back)

    def cancel(self, name: str, user: str) -> str:
        """Return cancelled, not_cancellable or unknown_order."""
        order = self.orders[name]
        if order.request.user_id != user:
            return "unknown_order"
        if order.status == "pending":
            return self._finish(name, "cancelled", "cancelled")
        return "cancelled" if order.status == "cancelled" else "not_cancellable"

    def expire(self) -> list[str]:
        """Return the orders whose reservations ended."""
        ended = sorted(name for name, order in self.orders.items() if order.status == "pending" and order.due)
        for name in ended:
            self._finish(name, "expired", "")
        return ended

    def restock(self, product: str, units: int) -> str:
        """Return changed or bad_stock."""
        units_now = self.products[product]
        if units_now.stock + units < 0:
            return "bad_stock"
        units_now.stock += units
        units_now.restocked += units
        return "changed"

    def restock_once(self, key: str, product: str, units: int) -> tuple[str, bool]:
        """Return what `restock` does or did, and whether it was done before; or idempotency_conflict."""
        if key in self.restocks:
            return ("changed", True) if self.restocks[key] == units else ("idempotency_conflict", False)
        said = self.restock(product, units)
        if said == "changed":
            self.restocks[key] = units
        return said, False

    def put_total(self, product: str, total: int) -> str:
        """Return changed or stock_below_sold."""
        now = self.products[product]
        if total < now.held + now.sold:
            return "stock_below_sold"
        return self.restock(product, total - now.held - now.sold - now.stock)

    def requeue(self, name: str, due: bool) -> str:
        """Return requeued, sold_out, limit_exceeded or not_dead."""
        order = self.orders[name]
        if name not in self.dead:
            return "not_dead"
        product = self.products[order.request.product_id]
        if product.stock < order.request.quantity:
            return "sold_out"
        has = self.units_of(order.request.product_id, order.request.user_id)
        if product.limit is not None and has + order.request.quantity > product.limit:
            return "limit_exceeded"
        self._reserve(order.request)
        self.dead.remove(name)
        self.totals["requeued"] += 1
        self.orders[name] = ModelOrder(order.request, due, generation=order.generation + 1)
        self.undelivered.append(name)
        return "requeued"

    def drop(self, name: str) -> bool:
        """Say whether there was such a dead letter."""
        there = name in self.dead
        self.dead.discard(name)
        return there

    def _unqueue(self, name: str) -> None:
        self.orders[name].entry = ""
        if name in self.undelivered:
            self.undelivered.remove(name)

    def _dead_letter(self, name: str) -> str:
        self.dead.add(name)
        self.refunds.add(_payment_key(name, self.orders[name].generation))
        return self._finish(name, "failed", "dead")

    def _finish(self, name: str, status: str, answer: str) -> str:
        order = self.orders[name]
        product = self.products[order.request.product_id]
        product.held -= order.request.quantity
        if status == "confirmed":
            product.sold += order.request.quantity
        else:
            product.stock += order.request.quantity
        self._unqueue(name)
        self.delayed.pop(name, None)
        order.status, order.call = status, 0
        self.totals[status] += 1
        return answer

    def forget(self) -> int:
        """Return how many orders that ended are forgotten: none that is a dead letter, or owes somebody money."""
        old = [
            name
            for name, order in self.orders.items()
            if order.status not in LIVE and name not in self.dead and not self._owes(name)
        ]
        for name in old:
            order = self.orders.pop(name)
            self.archived[order.status] += 1
            if order.status in ("confirmed", "refunded"):
                self.products[order.request.product_id].archived += order.kept
        return len(old)

    def _owes(self, name: str) -> bool:
        order = self.orders[name]
        owed = [_payment_key(name, generation) for generation in range(order.generation + 1)]
        owed += [f"{owed[-1]}.{part + 1}" for part in range(len(order.parts))]
        return any(key in self.refunds for key in owed)

    def refund_once(self, key: str, name: str, units: int | None, *, returns: bool) -> tuple[str, bool]:
        """Return what a refund says or said, and whether it was done before; or idempotency_conflict."""
        if key in self.refunded:
            same = self.refunded[key] == (name, units, returns)
            return ("refunded", True) if same else ("idempotency_conflict", False)
        if name not in self.orders:
            return "unknown_order", False
        order = self.orders[name]
        given = order.left if units is None else units
        if order.status != "confirmed" or given > order.left:
            return "not_refundable", False
        self.refunded[key] = (name, units, returns)
        order.parts.append(given if returns else -given)
        if returns:
            self.products[order.request.product_id].sold -= given
            self.products[order.request.product_id].stock += given
        if order.left == 0:
            order.status = "refunded"
            self.totals["refunded"] += 1
        self.refunds.add(f"{_payment_key(name, order.generation)}.{len(order.parts)}")
        return "refunded", False

    def wait(self) -> None:
        """Let so much time pass that whatever was to end later is due."""
        for order in self.orders.values():
            order.due = True
        self.delayed = dict.fromkeys(self.delayed, True)

    def live(self) -> int:
        """Return how many orders wait or are being processed, counted place by place."""
        return sum(1 for _ in chain(self.undelivered, self.pending_entries(), self.delayed))


def _payment_key(name: str, generation: int) -> str:
    return f"{name}-{generation}" if generation else name
