"""`python -m deploy.release` checks that this commit can be released and tags it; `notes` prints what is new in it.

The version stands in pyproject.toml; all else takes it from the installed distribution, or is held against it here.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ("bash", ".ci/run")
SECTION = re.compile(
    r"^## (?:\[(?P<name>[^]\n]+)\]|(?P<bare>\S+))(?: - (?P<date>\d{4}-\d\d-\d\d))?[ \t]*$", re.MULTILINE
)
VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


class NotReadyError(Exception):
    """This commit cannot be released; the message is one line and says what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.release", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("tag", "notes"), default="tag")
    what = parser.parse_args(argv).what
    try:
        print(notes(ROOT) if what == "notes" else tag(ROOT))  # noqa: T201 - a command's answer
    except NotReadyError as error:
        print(f"release: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def version_of(root: Path) -> str:
    """Return the version that pyproject.toml names.

    Raises:
        NotReadyError: It is not of the form 1.2.3 or 1.2.3rc1.
    """
    version = str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])
    if not VERSION.fullmatch(version):
        raise NotReadyError(f"the version {version} in pyproject.toml is none to release, but for example 1.2.3 is")
    return version


def sections(changelog: str) -> dict[str, tuple[str | None, str]]:
    """Return the sections of a changelog, newest first: by version (or "Unreleased"), their date and their text."""
    found = list(SECTION.finditer(changelog))
    ends = [*(heading.start() for heading in found[1:]), len(changelog)]
    return {
        heading["name"] or heading["bare"]: (heading["date"], changelog[heading.end() : end].strip())
        for heading, end in zip(found, ends, strict=True)
    }


def notes(root: Path) -> str:
    """Return what the changelog says of the version in pyproject.toml.

    Raises:
        NotReadyError: It says nothing of it, or has no date, or still lists something as not released.
    """
    version = version_of(root)
    known = sections((root / "CHANGELOG.md").read_text())
    date, text = known.get(version, (None, ""))
    if not text or not date:
        raise NotReadyError(f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD` that says what is new")
    if known.get("Unreleased", (None, ""))[1]:
        raise NotReadyError(
            f"CHANGELOG.md still has lines under Unreleased; move them to {version} or to a later version"
        )
    return text


def tag(root: Path) -> str:
    """Check a commit and tag it as the version in pyproject.toml.

    The quick checks come first; `.ci/run`, which takes minutes, comes last, and may change no tracked file.

    Returns:
        What to do next.

    Raises:
        NotReadyError: It cannot be released.
    """
    version = version_of(root)
    name = f"v{version}"
    for check in (_clean, _all_have_the_version, _tag_is_free):
        check(root, version)
    text = notes(root)
    commit = _git(root, "rev-parse", "HEAD")
    if subprocess.run(CHECKS, cwd=root, check=False).returncode:  # noqa: S603 - a script of this repository
        raise NotReadyError("`.ci/run` failed; nothing was tagged")
    _clean(root, version)
    if _git(root, "rev-parse", "HEAD") != commit:
        raise NotReadyError("another commit was checked out while `.ci/run` ran; nothing was tagged")
    _git(
        root, "tag", "--annotate", "--cleanup=verbatim", "--message", f"flash-sale {version}\n\n{text}\n", name, commit
    )
    return f"tagged {name}; `git push origin {name}` publishes it"


def _clean(root: Path, version: str) -> None:
    changed = _git(root, "status", "--porcelain")
    if changed:
        raise NotReadyError(
            f"{len(changed.splitlines())} files are not committed, {changed.split()[1]} for one; {version} is a commit"
        )


def _all_have_the_version(root: Path, version: str) -> None:
    library = tomllib.loads((root / "telemetry" / "pyproject.toml").read_text())["project"]["version"]
    if library != version:
        raise NotReadyError(f"telemetry/pyproject.toml has {library}, pyproject.toml has {version}")
    images = re.findall(r"image: (flash-sale(?:-crowd)?):(\S+)", (root / "docker-compose.yml").read_text())
    for image, named in images:
        if named != version:
            raise NotReadyError(f"docker-compose.yml builds {image}:{named}, pyproject.toml has {version}")


def _tag_is_free(root: Path, version: str) -> None:
    name = f"v{version}"
    places: list[tuple[str, Callable[[], str]]] = [("here", lambda: _git(root, "tag", "--list", name))]
    if "origin" in _git(root, "remote").split():
        places.append(("at origin", lambda: _git(root, "ls-remote", "--tags", "origin", f"refs/tags/{name}")))
    for where, found in places:
        if found():
            raise NotReadyError(
                f"{name} is already a tag {where}; a released version is never changed, take the next one"
            )


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise NotReadyError(f"`git {arguments[0]}`: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
