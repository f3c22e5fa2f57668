"""The files of this repository, for the tests that read them."""

from pathlib import Path

from tests.support.machine import has
from tests.support.processes import run

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {
    ".venv",
    ".venv-bench",
    ".git",
    ".data",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
}


def files(*suffixes: str) -> list[Path]:
    """Return the tracked files with one of these suffixes, or all; of a copy without git, all that are not caches."""
    if has("git") and (ROOT / ".git").exists():
        listed = run(["git", "ls-files", "-z"], check=True)
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not NOT_OURS & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in found if path.is_file() and path.name.endswith(suffixes or ""))


def name(path: Path) -> str:
    """Return a path as the repository has it."""
    return path.relative_to(ROOT).as_posix()
