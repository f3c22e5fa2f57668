"""What docker-compose.yml says of each service, as far as a native process needs it: read, not interpreted by Docker.

Variables are `${NAME}` and `${NAME:-default}`; `$$` is a dollar sign. Commands and mounts are lists, environments
mappings, in the short forms that the file uses.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
FILE: Final = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")
_HEALTH_URL = re.compile(r"http://[\w.-]+:(?P<port>\d+)(?P<path>/[^\s'\"]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of the file."""

    name: str
    image: str
    built: bool
    """Whether its image is built from this repository."""
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: Mapping[str, str]
    """Container path -> path in this repository (`./...`) or name of a volume."""
    health: tuple[int, str] | None
    """Port and path of its health check, where that is a URL."""
    profiles: tuple[str, ...]
    needs: tuple[str, ...]


def read(variables: Mapping[str, str], file: Path = FILE) -> dict[str, Service]:
    """Read every service, with `variables` in place."""
    document = yaml.safe_load(file.read_text())
    return {name: _service(name, _filled(entry, variables)) for name, entry in document["services"].items()}


def _service(name: str, entry: Mapping[str, Any]) -> Service:
    mounts = dict(mount.split(":")[1::-1] for mount in entry.get("volumes", ()))
    health = _HEALTH_URL.search(" ".join(entry.get("healthcheck", {}).get("test", ())))
    return Service(
        name=name,
        image=entry["image"].partition(":")[0],
        built="build" in entry,
        command=tuple(entry.get("command", ())),
        environment={key: str(value) for key, value in entry.get("environment", {}).items()},
        mounts=mounts,
        health=(int(health["port"]), health["path"]) if health else None,
        profiles=tuple(entry.get("profiles", ())),
        needs=tuple(entry.get("depends_on", ())),
    )


def _filled(value: Any, variables: Mapping[str, str]) -> Any:  # noqa: ANN401 - YAML has any type
    if isinstance(value, Mapping):
        return {key: _filled(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _value(found, variables), value)
    return value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["name"] is None:
        return "$"
    return variables.get(found["name"]) or found["default"] or ""
