"""Secrets in files, as containers mount them: `ADMIN_TOKEN_FILE` names the file that holds `ADMIN_TOKEN`."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

SUFFIX: Final = "_FILE"
OF_TELEMETRY: Final = tuple(f"OTEL_EXPORTER_OTLP_{signal}HEADERS" for signal in ("", "TRACES_", "LOGS_", "METRICS_"))
"""OpenTelemetry's variables that hold a secret."""
MAX_BYTES: Final = 64 * 1024


def with_secret_files(environ: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the environment with the content of each file under the name of its secret.

    Args:
        environ: The environment.
        names: The secrets that may be in a file.

    Raises:
        ValueError: A file cannot be used; one line that begins with the variable's name and shows nothing of it.
    """
    found = dict(environ)
    for name in names:
        path = environ.get(name + SUFFIX, "").strip()
        if not path:
            continue
        if environ.get(name, "").strip():
            raise ValueError(f"{name}{SUFFIX}: set this or {name}, not both")
        found[name] = _read(name + SUFFIX, path)
        del found[name + SUFFIX]
    return found


def _read(variable: str, path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"{variable}: the file is not text") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise ValueError(f"{variable}: the file cannot be read: {why}") from None
    if not text or len(content) > MAX_BYTES:
        raise ValueError(f"{variable}: the file is {'empty' if not text else 'too long'}")
    return text
