"""What a PromQL expression names: its metrics, and whether it asks for any series at all.

No parser: the words of an expression less its strings, labels, functions and keywords. promtool says whether it is
valid PromQL; this says what it is about.
"""

import re

KEYWORDS = {
    *("by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset", "atan2"),
    *("sum", "min", "max", "avg", "group", "stddev", "stdvar", "count", "count_values", "bottomk", "topk", "quantile"),
    *("inf", "nan"),
}
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME_MATCHER = re.compile(r'__name__\s*=~\s*"([^"]*)"')
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_BRACES = re.compile(r"\{[^{}]*\}")
_DURATION = re.compile(r"\[[^\]]*\]|\boffset\s+\S+")
_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*(?!\s*\()(?![A-Za-z0-9_:])")


def metrics(expr: str) -> set[str]:
    """Return the names of the series that an expression selects; those of a `__name__` matcher as they stand."""
    found = {part for pattern in _NAME_MATCHER.findall(expr) for part in pattern.split("|")}
    bare = _QUOTED.sub('""', expr)
    bare = _LABELS.sub(" ", bare)
    bare = _BRACES.sub("", bare)
    bare = _DURATION.sub("", bare)
    bare = re.sub(r"\$\{?\w+\}?", "", bare.replace('""', " "))
    return found | {word for word in _WORD.findall(bare) if word.lower() not in KEYWORDS}
