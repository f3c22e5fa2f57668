"""How wide the reader's terminal is, and lines that fit into it."""

import shutil
import textwrap

INDENT = 8


def wrapped(line: str) -> str:
    """Return a line for stdout, with its end, broken where the terminal (or COLUMNS) is narrower than it.

    What no terminal reads, and COLUMNS says nothing of, stays one line, for `grep` and the like.
    """
    width = shutil.get_terminal_size(fallback=(0, 0)).columns
    if not 0 < width < len(line):
        return f"{line}\n"
    return textwrap.fill(line, max(width, 2 * INDENT), subsequent_indent=" " * INDENT, break_on_hyphens=False) + "\n"
