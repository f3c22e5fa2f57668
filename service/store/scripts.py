"""Lua scripts: a folder of `.lua` files, each behind the folder's shared `_*.lua` text."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, TypeAlias

Arg: TypeAlias = str | int | float


def load_scripts(package: str) -> dict[str, str]:
    """Read the scripts of a package folder: the whole text of each, by name."""
    texts = {
        item.name.removesuffix(".lua"): item.read_text()
        for item in files(package).iterdir()
        if item.name.endswith(".lua")
    }
    shared = "".join(text for name, text in sorted(texts.items()) if name.startswith("_"))
    return {name: shared + text for name, text in texts.items() if not name.startswith("_")}


def named(flat: Sequence[Any]) -> dict[str, Any]:
    """Read a reply of names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
