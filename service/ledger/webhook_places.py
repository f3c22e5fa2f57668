"""How far the webhook was told of the feed: kept in each shard for what is told of that shard."""

from service.ledger.feed import Place
from service.store import Shards


class WebhookPlaces:
    """The places in the store. They only move on, so that a process that is late harms nobody."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def read(self, shard: int) -> Place:
        """Return where to go on: with the oldest change that is kept where nothing was ever told.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        entry, told = await self._shards.run("webhook", shard, "", 0)
        return Place.of(entry, told)

    async def move(self, shard: int, place: Place) -> None:
        """Note that all before this place was told.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        await self._shards.run("webhook", shard, place.entry, place.read)
