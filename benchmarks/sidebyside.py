"""Part `orders`: every contender takes orders, A B C ... A B C ..., each time as a fresh process on an empty store."""

from collections.abc import Iterator, Sequence

from benchmarks import rounds
from benchmarks.bench import Bench, Row
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.load import Shape

PART = "orders"


def run(bench: Bench, contenders: Sequence[Contender] = CONTENDERS) -> Iterator[Row]:
    """Measures the contenders in turn, round by round."""
    what = rounds.Slice(shape=Shape(warm=bench.scale.warm, seconds=bench.scale.seconds))
    for number in range(bench.scale.rounds):
        for contender in contenders:
            if contender.variant and number >= bench.scale.variant_rounds:
                continue
            yield rounds.measure(contender, bench.store, bench.receiver, what).row(PART, round=number)
