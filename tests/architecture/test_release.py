"""`make release` tags what can be released, and says in one line why something cannot be."""

from pathlib import Path

import pytest

from deploy.release import NotReadyError, main, sections, tag
from tests.support.processes import run

CHANGELOG = """# Changelog

## Unreleased

## [1.2.3] - 2026-11-27

### Added

- a line

## [1.2.2] - 2026-11-01

### Fixed

- an old line
"""
COMPOSE = "services:\n  api:\n    image: flash-sale:1.2.3\n  crowd:\n    image: flash-sale-crowd:1.2.3\n"


def git(where: Path, *arguments: str) -> str:
    """Run git and return what it says."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    done = run(["git", *identity, *arguments], cwd=where, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository whose commit can be released, with an origin."""
    where = tmp_path / "clone"
    (where / ".ci").mkdir(parents=True)
    (where / ".ci/run").write_text("echo ran >> ../ran\n")
    (where / "pyproject.toml").write_text('[project]\nname = "flash-sale"\nversion = "1.2.3"\n')
    (where / "telemetry").mkdir()
    (where / "telemetry/pyproject.toml").write_text('[project]\nname = "truemeter"\nversion = "1.2.3"\n')
    (where / "CHANGELOG.md").write_text(CHANGELOG)
    (where / "docker-compose.yml").write_text(COMPOSE)
    git(tmp_path, "init", "--quiet", "--bare", "origin")
    git(where, "init", "--quiet")
    git(where, "config", "user.name", "a")
    git(where, "config", "user.email", "a@localhost")
    git(where, "remote", "add", "origin", str(tmp_path / "origin"))
    commit(where)
    return where


def commit(where: Path) -> None:
    """Commit all that is there."""
    git(where, "add", "--all")
    git(where, "commit", "--quiet", "--message", "a commit")


def change(where: Path, file: str, old: str, new: str) -> None:
    """Replace a text in a file, which must be there, and commit it."""
    text = (where / file).read_text()
    assert old in text
    (where / file).write_text(text.replace(old, new))
    commit(where)


def refusal(where: Path) -> str:
    """Return why a release is refused, having seen that nothing was tagged."""
    with pytest.raises(NotReadyError) as caught:
        tag(where)
    assert git(where, "tag", "--list", "v1.2.3", "--points-at", "HEAD") == ""
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_release_is_an_annotated_tag_with_its_notes(repository: Path) -> None:
    assert "git push origin v1.2.3" in tag(repository)
    assert git(repository, "cat-file", "-t", "v1.2.3") == "tag"
    assert git(repository, "rev-parse", "v1.2.3^{commit}") == git(repository, "rev-parse", "HEAD")
    message = git(repository, "tag", "--list", "--format=%(contents)", "v1.2.3")
    assert message == "flash-sale 1.2.3\n\n### Added\n\n- a line"
    assert (repository.parent / "ran").read_text() == "ran\n"


def test_what_is_not_committed_is_not_released(repository: Path) -> None:
    (repository / "new.py").write_text("")
    assert "new.py" in refusal(repository)
    assert not (repository.parent / "ran").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## [1.2.3] - 2026-11-27", "## [1.2.3]"),
        ("## [1.2.3] - 2026-11-27", "## [1.2.4] - 2026-11-27"),
        ("### Added\n\n- a line\n", ""),
    ],
)
def test_a_version_without_notes_is_not_released(repository: Path, old: str, new: str) -> None:
    change(repository, "CHANGELOG.md", old, new)
    assert "## [1.2.3] - YYYY-MM-DD" in refusal(repository)


def test_what_is_still_listed_as_unreleased_is_not_released(repository: Path) -> None:
    change(repository, "CHANGELOG.md", "## Unreleased\n", "## Unreleased\n\n### Fixed\n\n- a fault\n")
    assert "Unreleased" in refusal(repository)


def test_a_tag_is_made_once(repository: Path) -> None:
    tag(repository)
    change(repository, "CHANGELOG.md", "- a line", "- another line")
    assert "already a tag here" in refusal(repository)


def test_a_tag_that_somebody_else_made_counts(repository: Path) -> None:
    git(repository, "tag", "v1.2.3")
    git(repository, "push", "--quiet", "origin", "v1.2.3")
    git(repository, "tag", "--delete", "v1.2.3")
    assert "already a tag at origin" in refusal(repository)


@pytest.mark.parametrize("image", ["flash-sale", "flash-sale-crowd"])
def test_the_images_have_the_version_too(repository: Path, image: str) -> None:
    change(repository, "docker-compose.yml", f"image: {image}:1.2.3", f"image: {image}:1.2.2")
    assert f"{image}:1.2.2" in refusal(repository)


def test_the_library_has_the_version_too(repository: Path) -> None:
    change(repository, "telemetry/pyproject.toml", "1.2.3", "1.2.2")
    assert "telemetry/pyproject.toml has 1.2.2" in refusal(repository)


@pytest.mark.parametrize("version", ["1.2", "1.2.3.dev0", "v1.2.3"])
def test_a_version_has_three_parts(repository: Path, version: str) -> None:
    change(repository, "pyproject.toml", "1.2.3", version)
    assert version in refusal(repository)


def test_a_check_that_fails_stops_it(repository: Path) -> None:
    (repository / ".ci/run").write_text("exit 3\n")
    commit(repository)
    assert "`.ci/run` failed" in refusal(repository)


def test_a_check_that_writes_into_the_tree_stops_it(repository: Path) -> None:
    """What was checked would not be what is tagged."""
    (repository / ".ci/run").write_text("echo >> CHANGELOG.md\n")
    commit(repository)
    assert "CHANGELOG.md" in refusal(repository)


def test_the_sections_of_a_changelog() -> None:
    known = sections(CHANGELOG)
    assert list(known) == ["Unreleased", "1.2.3", "1.2.2"]
    assert known["1.2.2"] == ("2026-11-01", "### Fixed\n\n- an old line")


def test_the_command_ends_with_one_line(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.release.ROOT", repository)
    assert main(["notes"]) == 0
    assert capsys.readouterr() == ("### Added\n\n- a line\n", "")
    assert main([]) == 0
    assert capsys.readouterr().out == "tagged v1.2.3; `git push origin v1.2.3` publishes it\n"
    assert main([]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("release: v1.2.3 is already a tag here")
    assert said.err.count("\n") == 1
