"""What checks this repository is checked too: workflows, templates, hooks, and the version that stands in one place."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.newest import without_upper_bounds
from deploy.release import sections
from tests.architecture.repository import ROOT, files, name
from tests.support import processes

BIN = Path(sys.executable).parent
WORKFLOWS = {path.name: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
SCHEMAS = {
    "vendor.github-workflows": sorted(WORKFLOWS.values()),
    "vendor.dependabot": [ROOT / ".github/dependabot.yml"],
    "vendor.github-issue-forms": [ROOT / ".github/ISSUE_TEMPLATE/bug.yml", ROOT / ".github/ISSUE_TEMPLATE/idea.yml"],
    "vendor.github-issue-config": [ROOT / ".github/ISSUE_TEMPLATE/config.yml"],
}
MAY_WRITE = {("release.yml", "publish"): {"contents": "write"}}
PINNED = re.compile(r"uses: +[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
BINARY = {".png", ".ico"}


def workflow(file: str) -> dict[str, Any]:
    """Return a workflow; YAML reads its key `on` as true."""
    loaded: dict[str, Any] = yaml.safe_load(WORKFLOWS[file].read_text())
    return loaded


def run(*argv: str | Path, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the virtual environment, or git."""
    return processes.run(argv, cwd=cwd, env=os.environ | environ, timeout=120)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_github_reads_has_the_form_it_asks_for(schema: str) -> None:
    done = run(BIN / "check-jsonschema", "--builtin-schema", schema, *SCHEMAS[schema])
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing_that_an_attacker_could_use() -> None:
    """Offline: injected expressions, credentials that stay behind, permissions that nobody needs, actions by tag."""
    done = run(BIN / "zizmor", "--offline", "--no-progress", "--min-severity=medium", ".")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", WORKFLOWS)
def test_a_workflow_may_do_only_what_it_must(file: str) -> None:
    """No permissions but what a job names; reading, but for what is listed; an end to every job; actions by commit."""
    known = workflow(file)
    assert known["permissions"] == {}
    for job, what in known["jobs"].items():
        assert what["permissions"] == MAY_WRITE.get((file, job), {"contents": "read"}), job
        assert "uses" in what or what["timeout-minutes"] <= 90, job
    foreign = [line.strip() for line in WORKFLOWS[file].read_text().splitlines() if re.search(r"uses: +[^.]", line)]
    assert [line for line in foreign if not PINNED.search(line)] == []


def test_each_workflow_that_checks_calls_ci_run() -> None:
    """Itself or by the one that does, so that what is checked is said in one place."""
    steps = workflow("ci.yml")["jobs"]["check"]["steps"]
    assert steps[-1] == {"run": "bash .ci/run"}
    assert (ROOT / ".ci/run").is_file()
    for file in ("newest.yml", "release.yml"):
        assert workflow(file)["jobs"]["check"]["uses"] == "./.github/workflows/ci.yml"
    assert workflow("newest.yml")["jobs"]["check"]["with"] == {"newest": True}
    assert workflow("release.yml")["jobs"]["publish"]["needs"] == "check"


def test_the_devcontainer_installs_what_ci_installs() -> None:
    known = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert known["postCreateCommand"] == "sudo bash .ci/packages && make hooks"
    assert "bash .ci/packages\n" in (ROOT / ".ci/run").read_text()


def test_the_versions_of_python_that_are_promised_are_those_that_are_checked() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    promised = [line.rpartition(" ")[2] for line in classifiers if re.search(r"Python :: 3\.\d+$", line)]
    assert workflow("ci.yml")["jobs"]["check"]["strategy"]["matrix"]["python"] == promised


def test_every_make_target_that_a_workflow_calls_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for path in WORKFLOWS.values():
        for call in re.findall(r"\bmake ((?:[a-z-]+ ?)+)", path.read_text().partition("\nname:")[2]):
            for target in call.split():
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name(path)}: make {target}"


def test_the_newest_release_of_everything_has_no_upper_bound() -> None:
    """But for a version with an epoch, and what is to be kept; names, extras, lower bounds and markers stay."""
    text = (ROOT / "pyproject.toml").read_text()
    before, after = (tomllib.loads(one) for one in (text, without_upper_bounds(text)))
    wanted = after["project"]["dependencies"] + [one for group in after["dependency-groups"].values() for one in group]
    assert [
        one for one in wanted if re.search(r"[<=~]\d|==", one.replace(">=", "")) and "!" not in one.split(";")[0]
    ] == re.findall(r'"(.+)",  # keep: ', text)
    names = re.compile(r"[\w.-]+(?:\[[\w,]+\])?(?:>=?[^,;]+)?")
    for old, new in zip(before["project"]["dependencies"], after["project"]["dependencies"], strict=True):
        kept = names.match(old.replace("==", ">="))
        assert kept is not None
        assert new.startswith(kept[0])
    assert before["tool"] == after["tool"]


def test_a_commit_that_ruff_would_refuse_is_refused_by_the_hooks(tmp_path: Path) -> None:
    """With the ruff of the virtual environment; the same hooks let a good file pass."""
    (tmp_path / ".venv").symlink_to(BIN.parent)
    for file in (".pre-commit-config.yaml", "pyproject.toml"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    assert run("git", "init", "--quiet", cwd=tmp_path).returncode == 0
    where = {"cwd": tmp_path, "PRE_COMMIT_HOME": str(tmp_path / "cache"), "SKIP": "import-contracts"}
    (tmp_path / "module.py").write_text('"""A module."""\n\nNUMBER = 1\n')
    assert run("git", "add", "module.py", cwd=tmp_path).returncode == 0
    done = run(BIN / "pre-commit", "run", **where)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "module.py").write_text('"""A module."""\n\nNUMBER = unknown\n')
    assert run("git", "add", "module.py", cwd=tmp_path).returncode == 0
    done = run(BIN / "pre-commit", "run", **where)  # type: ignore[arg-type]
    assert done.returncode == 1
    assert "F821" in done.stdout


def test_the_hook_of_the_contracts_runs_for_every_package_that_they_are_about() -> None:
    """A commit in any of them may break one."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    (pattern,) = [hook["files"] for hook in hooks if hook["id"] == "import-contracts"]
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    assert [package for package in packages if not re.search(pattern, f"{package}/module.py")] == []


def test_no_other_file_pins_ruff() -> None:
    """The hooks, the editor's settings and the workflows take the one in requirements/dev.txt."""
    for path in files():
        if path.suffix in {".yml", ".yaml", ".json", ".toml"} and path.name != "pyproject.toml":
            assert not re.search(r"ruff[-\w]*(?:==|@)\s*v?\d|rev: *v?\d", path.read_text()), name(path)


def test_the_version_stands_in_one_place() -> None:
    """In pyproject.toml: code asks the distribution; the tags of the images and the library's are held against it."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version("flash-sale") == known, "installed from another version: run `make` again"
    assert tomllib.loads((ROOT / "telemetry/pyproject.toml").read_text())["project"]["version"] == known
    for path in files(".py"):
        if path.relative_to(ROOT).parts[0] in {"service", "telemetry", "deploy"}:
            assert f'"{known}"' not in path.read_text(), name(path)
    assert re.findall(r"image: flash-sale(?:-crowd)?:(\S+)", (ROOT / "docker-compose.yml").read_text()) == [known] * 2
    assert known not in (ROOT / "Dockerfile").read_text()


def test_the_changelog_keeps_its_form() -> None:
    """Sections newest first, Unreleased before them, each in the six parts of Keep a Changelog."""
    known = sections((ROOT / "CHANGELOG.md").read_text())
    assert next(iter(known)) == "Unreleased"
    dates = [date for date, _ in list(known.values())[1:]]
    assert all(dates)
    assert dates == sorted(dates, key=str, reverse=True)
    parts = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for section, (_, text) in known.items():
        found = re.findall(r"^### (.+)$", text, re.MULTILINE)
        assert set(found) <= parts, section
        assert len(found) == len(set(found)), section


def test_text_files_are_as_editorconfig_asks() -> None:
    """UTF-8, a line feed at each end of line and at the end, nothing behind a line."""
    for path in files():
        if path.suffix in BINARY or not path.read_bytes():
            continue
        text = path.read_bytes().decode()
        assert "\r" not in text, name(path)
        assert text.endswith("\n"), name(path)
        if path.suffix != ".svg":
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), name(path)
