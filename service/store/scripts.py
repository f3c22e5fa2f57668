"""Lua scripts: a folder of `.lua` files, each behind the parts that it needs, which are the folder's `_*.lua`."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeAlias

Arg: TypeAlias = str | int | float

_NEEDS = re.compile(r"^-- Needs: +(.+)$", re.MULTILINE)


def load_scripts(package: str) -> dict[str, str]:
    """Read the scripts of a package folder: the whole text of each, by name.

    A script or a part names the parts that it needs in its head: `-- Needs: pace` is `_pace.lua`. Each call runs the
    whole text, so what a script does not need is left out of it.
    """
    texts = {
        item.name.removesuffix(".lua"): item.read_text()
        for item in files(package).iterdir()
        if item.name.endswith(".lua")
    }
    return {name: _assemble(name, texts) for name in texts if not name.startswith("_")}


def _assemble(name: str, texts: Mapping[str, str]) -> str:
    """Put what a text needs before it: each part once, behind what it needs itself.

    Each text is a function inside of the one before. Of one function with all names in it, Lua would look through the
    list of all that are used further inside, for each use: two thirds of what such a call costs.
    """
    placed: dict[str, str] = {}

    def place(current: str) -> None:
        if current not in placed:
            found = _NEEDS.search(texts[current])
            for part in found[1].split(", ") if found else ():
                place(f"_{part}")
            placed[current] = texts[current]

    place(name)
    return "return (function()\n".join(placed.values()) + "end)()\n" * (len(placed) - 1)


def named(flat: Sequence[Any]) -> dict[str, Any]:
    """Read a reply of names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
