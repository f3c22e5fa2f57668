"""A phone that is sold by ticket, in the ledger, and those who want it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from service.ledger.orders import Placement
from service.ledger.tickets import SaleTickets, Ticket, TicketOutcome
from service.store import keys
from tests.orders.sale import Sale

WINDOW = timedelta(seconds=15)
PHONE = f"{keys.prefix(0)}product:phone"
EARLIER, SOON = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))


class TicketSale:
    """A phone that is sold by ticket, and those who want it."""

    def __init__(self, sale: Sale) -> None:
        self.sale = sale
        self.tickets = SaleTickets(sale.shards, WINDOW)

    async def offer(self, *, opens: datetime | None = SOON, **terms: Any) -> None:
        """Put the phone on sale by ticket."""
        await self.sale.product(opens=opens, **terms)
        await self.sale.catalogue.patch("phone", admission="ticket")

    async def open(self) -> None:
        """Let the time come at which the sale opens."""
        await self.sale.catalogue.patch("phone", opens=EARLIER)

    async def pass_windows(self, count: float) -> None:
        """Let so much time pass since the turn was last moved."""
        await self.sale.shards.client.hincrby(PHONE, "moved", -round(count * WINDOW.total_seconds() * 1000))

    async def ticket(self, user_id: str) -> Ticket:
        """Ask for a ticket that there must be."""
        outcome, ticket = await self.tickets.give("phone", user_id)
        assert outcome is TicketOutcome.TICKET
        assert ticket is not None
        return ticket

    async def everybody(self, count: int) -> list[str]:
        """Give tickets to so many users and return them."""
        users = [f"user-{number}" for number in range(count)]
        for user in users:
            assert (await self.ticket(user)).position is None
        return users

    async def in_turn(self, users: list[str]) -> list[str]:
        """Return the users as the lot has them, whose positions must be 1, 2, 3 and so on."""
        positions = {user: (await self.ticket(user)).position or 0 for user in users}
        assert sorted(positions.values()) == list(range(1, len(users) + 1))
        return sorted(users, key=lambda user: positions[user])

    async def order(self, user_id: str, ticket: str | None = None, quantity: int = 1) -> Placement:
        """Order a phone with a ticket, the user's own if none is given."""
        shown = (await self.ticket(user_id)).text if ticket is None else ticket
        checked = await self.tickets.checked(shown, "phone", user_id) if shown else ""
        request = self.sale.request(user_id=user_id, quantity=quantity)
        return (await self.sale.place(replace(request, ticket=checked)))[0]
