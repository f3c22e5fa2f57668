"""`python -m deploy.newest` takes every upper bound and every exact version out of pyproject.toml.

What `make newest` locks after it is the newest release of everything: not to be committed, but to learn in time what
the next upgrade will break. A version with an epoch (`==1!2.0`) stays, because its order is not that of time, and so
does a bound whose line says `# keep: ` and why: what it will break is known.
"""

import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import Specifier, SpecifierSet

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
KEPT = "  # keep: "
LOWER = {"==": ">=", "===": ">=", "~=": ">=", ">=": ">=", ">": ">"}


def without_upper_bounds(text: str) -> str:
    """Return the text of a pyproject.toml whose requirements have only their lower bounds."""
    known = tomllib.loads(text)
    extras, groups = known["project"].get("optional-dependencies", {}), known.get("dependency-groups", {})
    for written in {*known["project"]["dependencies"], *chain(*extras.values()), *chain(*groups.values())}:
        if f'"{written}",{KEPT}' in text:
            continue
        requirement = Requirement(written)
        requirement.specifier = SpecifierSet(",".join(filter(None, map(_lower, requirement.specifier))))
        text = text.replace(f'"{written}"', '"{}"'.format(str(requirement).replace('"', "'")))
    return text


def _lower(bound: Specifier) -> str:
    if "!" in bound.version:
        return str(bound)
    operator = LOWER.get(bound.operator)
    return f"{operator}{bound.version.removesuffix('.*')}" if operator else ""


if __name__ == "__main__":
    PYPROJECT.write_text(without_upper_bounds(PYPROJECT.read_text()))
