"""Tables that commands like `make attacks` write into a document: what a run of the tests came to."""

from collections.abc import Sequence
from pathlib import Path

END = "<!-- /counts -->"


def as_table(head: Sequence[str], rows: Sequence[Sequence[object]], *, words: int = 1) -> str:
    """Return rows as Markdown, the first `words` columns to the left and the others, figures, to the right."""
    marks = ["---"] * words + ["---:"] * (len(head) - words)
    lines = [head, marks, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(value: object) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def write_counts(document: Path, name: str, table: str) -> None:
    """Put a table into a document, in the place of the last one of this name."""
    mark = f"<!-- counts: {name} -->"
    begin, found, rest = document.read_text().partition(f"{mark}\n")
    assert found, f"{document} has no place for {mark}"
    document.write_text(f"{begin}{mark}\n\n{table}\n\n{END}{rest.partition(END)[2]}")
