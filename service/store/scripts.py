"""Lua scripts by their digest: a folder of `.lua` files, each behind the folder's shared `_*.lua` text.

EVALSHA first; a server that does not know a script (it was restarted, another version runs beside this one)
answers NOSCRIPT, is sent the script once, and is asked again. Nothing ran before a NOSCRIPT, so that is safe.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, TypeAlias

from redis.exceptions import NoScriptError

from service.store.client import StoreClient

Arg: TypeAlias = str | int | float


@dataclass(frozen=True)
class Script:
    """One step: its name and its whole text."""

    name: str
    text: str

    @cached_property
    def sha(self) -> str:
        """The digest under which a server keeps the script."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def load_scripts(package: str) -> dict[str, Script]:
    """Read the scripts of a package folder, by name."""
    texts = {
        item.name.removesuffix(".lua"): item.read_text()
        for item in files(package).iterdir()
        if item.name.endswith(".lua")
    }
    shared = "".join(text for name, text in sorted(texts.items()) if name.startswith("_"))
    return {name: Script(name, shared + text) for name, text in texts.items() if not name.startswith("_")}


def named(flat: Sequence[Any]) -> dict[str, Any]:
    """Read a reply of names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def run_script(client: StoreClient, script: Script, keys: list[str], args: Sequence[Arg]) -> Any:  # noqa: ANN401 - each caller types its reply
    """Run one script in one round trip; two when the server does not know it yet."""
    try:
        return await client.evalsha(script.sha, len(keys), *keys, *args)
    except NoScriptError:
        await client.script_load(script.text)
        return await client.evalsha(script.sha, len(keys), *keys, *args)
