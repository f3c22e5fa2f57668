"""docs/metrics.md is what the declarations say."""

from pathlib import Path

from service.metrics_page import metrics_page

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_made_from_the_declarations() -> None:
    assert metrics_page() == PAGE.read_text(), "run `make docs`"
