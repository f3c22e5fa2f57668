"""Part `refusals`: orders when everything is sold out, against orders that are accepted, in turn.

The ledger must have counted every refusal, also those that a process decided by itself.
"""

from benchmarks import rounds
from benchmarks.bench import Bench, Row
from benchmarks.load import Shape
from benchmarks.subjects import STOCK, subject

PART = "refusals"
NAMES = ("ours-lean-all", "ours-native-all", "ours-contrib-all")
LEFT = 10


def run(bench: Bench) -> list[Row]:
    """Measure both cases of each subject in turn, round by round."""
    rows: list[Row] = []
    statuses = frozenset((rounds.ACCEPTED, rounds.REFUSED))
    for number in range(bench.scale.few):
        for name in NAMES:
            for case, units in (("accepted", STOCK), ("sold-out", LEFT)):
                what = rounds.Slice(
                    shape=Shape(warm=max(bench.scale.warm, 1.2 if units == LEFT else 0), seconds=bench.scale.seconds),
                    stock=units,
                    statuses=statuses,
                    after=rounds.until_refusals_are_told,
                )
                sample = rounds.measure(subject(name), bench.store, bench.receiver, what)
                rows.append(sample.row(PART, case=case, round=number))
    return rows
