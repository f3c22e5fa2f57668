"""Giving tickets: within the same limits as orders, because a robot would ask for them just so."""

from typing import NamedTuple

from service.ledger.tickets import SaleTickets, Ticket, TicketOutcome
from service.orders.rate_limits import Headers, RateLimits
from service.problems import Problem


class GivenTicket(NamedTuple):
    """A ticket, and what the answer says of the limits."""

    ticket: Ticket
    limits: Headers


class TicketCounter:
    """Gives tickets in one process.

    Args:
        tickets: The store's.
        limits: Those of orders: a request for a ticket counts as one.
        max_in_flight: How many may be under way at one time.
    """

    def __init__(self, tickets: SaleTickets, limits: RateLimits, max_in_flight: int) -> None:
        self._tickets = tickets
        self._limits = limits
        self._max_in_flight = max_in_flight
        self.in_flight = 0

    async def give(self, product_id: str, user_id: str, address: str | None) -> GivenTicket:
        """Give a user the ticket for a product.

        Args:
            product_id: For what.
            user_id: For whom.
            address: Where the request comes from; None where that does not matter.

        Raises:
            Problem: There is none to give, or it is asked for too often.
            redis.exceptions.RedisError: The store is down; it may have been given, and is the same then.
        """
        if self.in_flight >= self._max_in_flight:
            raise Problem("overloaded", "Too many tickets are asked for.", headers={"Retry-After": "1"})
        self.in_flight += 1
        try:
            limits = await self._limits.check(user_id, address) if self._limits else {}
            outcome, ticket = await self._tickets.give(product_id, user_id)
        finally:
            self.in_flight -= 1
        if ticket is None:
            wait = {"Retry-After": "1"} if outcome is TicketOutcome.STORE_UNAVAILABLE else {}
            raise Problem(outcome.value, headers=limits | wait)
        return GivenTicket(ticket, limits)
