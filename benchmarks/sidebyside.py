"""Part `orders`: every subject takes orders, A B C ... A B C ..., each time as a fresh process on an empty store."""

from collections.abc import Iterator, Sequence

from benchmarks import rounds
from benchmarks.bench import Bench, Row
from benchmarks.load import Shape
from benchmarks.subjects import SUBJECTS, Subject

PART = "orders"


def run(bench: Bench, subjects: Sequence[Subject] = SUBJECTS) -> Iterator[Row]:
    """Measure the subjects in turn, round by round."""
    what = rounds.Slice(shape=Shape(warm=bench.scale.warm, seconds=bench.scale.seconds))
    for number in range(bench.scale.rounds):
        for subject in subjects:
            if (subject.variant and number >= bench.scale.variant_rounds) or subject.missing:
                continue
            yield rounds.measure(subject, bench.store, bench.receiver, what).row(PART, round=number)
