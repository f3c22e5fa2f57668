"""The runbook as a page that Prometheus serves, so that the `runbook_url` of an alert opens at its heading."""

import html
import re
from typing import Final

from markdown_it import MarkdownIt

TITLE: Final = "Runbook"
_LINK_ELSEWHERE: Final = re.compile(r'<a href="(?!#|https?:)[^"]*">(.*?)</a>')
"""A link into the repository, which Prometheus does not serve."""
HEAD: Final = f"""<!doctype html>
<!-- Made by `make rules` from docs/runbook.md: change that. -->
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{TITLE}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }}
:target {{ background: #fe8 }}
</style>
"""


def page(markdown: str) -> str:
    """Return the page; each heading has the anchor that it has in the repository."""
    made = MarkdownIt("commonmark").render(markdown)
    made = re.sub(r"<h2>(.*?)</h2>", lambda found: f'<h2 id="{anchor(found[1])}">{found[1]}</h2>', made)
    return HEAD + _LINK_ELSEWHERE.sub(r"\1", made)


def anchor(heading: str) -> str:
    """Return the anchor of a heading."""
    return html.escape(heading.lower().replace(" ", "-"))
