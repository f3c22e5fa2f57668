"""How many orders a worker has in hand follows how many payments are answered in time."""

from service.orders.concurrency import MIN_LIMIT, ConcurrencyLimit


class Clock:
    """Seconds that go on when told to."""

    now = 0.0

    def __call__(self) -> float:
        """Return the present."""
        return self.now


def test_a_time_out_cuts_it_once_for_all_that_were_under_way() -> None:
    clock = Clock()
    limit = ConcurrencyLimit(512, clock)
    begun = [limit.begin() for _ in range(128)]
    clock.now = 1.0
    for one in begun:
        limit.end(one, in_time=False)
    assert limit.value == 32
    begun = [limit.begin() for _ in range(32)]
    clock.now = 2.0
    for one in begun:
        limit.end(one, in_time=False)
    assert limit.value == 8


def test_it_never_ends_and_doubles_in_the_time_of_an_answer() -> None:
    clock = Clock()
    limit = ConcurrencyLimit(128, clock)
    for _ in range(20):
        begun = limit.begin()
        clock.now += 1
        limit.end(begun, in_time=False)
    assert limit.value == MIN_LIMIT
    rounds = 0
    while limit.value < 128:
        rounds += 1
        for begun in [limit.begin() for _ in range(limit.value)]:
            limit.end(begun, in_time=True)
    assert (limit.value, rounds) == (128, 5)


def test_a_small_ceiling_stands() -> None:
    limit = ConcurrencyLimit(2)
    limit.end(limit.begin(), in_time=False)
    assert limit.value == 2
    limit.end(limit.begin(), in_time=True)
    assert limit.value == 2
