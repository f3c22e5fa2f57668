"""What is in the repository belongs to no machine, and what it needs is pinned."""

import ast
import configparser
import os
import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.repository import ROOT, files, name

OF_A_MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home|Users)/[\w.-]+")
OF_A_REGISTRY = re.compile(
    r"(?<!no-emit-)index-url|files\.pythonhosted|artifactory|jfrog|devpi|//[\w.-]+(?::\d+)?/simple"
)
PINS = {
    "requirements/runtime.txt": ((), ()),
    "requirements/crowd.txt": ((), ("crowd",)),
    "requirements/dev.txt": (("dev",), ("crowd",)),
}
"""The groups and the extras that each file holds."""


def text_of(path: Path) -> str:
    """Return the text of a file, and nothing for what is no text."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def registries() -> set[str]:
    """Return the hosts from which this machine installs, where it was told of other ones than the public one."""
    urls = [value for key, value in os.environ.items() if key.endswith(("INDEX_URL", "INDEX", "PROXY", "proxy"))]
    for config in (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf", Path("/etc/pip.conf")):
        parser = configparser.ConfigParser(interpolation=None)
        if config.is_file():
            parser.read(config)
            urls += [value for section in parser.sections() for key, value in parser[section].items() if "url" in key]
    hosts = {urlsplit(url).hostname or "" for url in urls}
    return hosts - {"", "pypi.org", "localhost", "127.0.0.1"}


def test_no_file_has_the_marks_of_a_merge_conflict() -> None:
    """Seven signs at the beginning of a line, then a blank or the end; a heading's line of `=` may be longer."""
    marks = re.compile(r"^(?:<{7}|>{7}|\|{7})(?: |$)|^={7}$", re.MULTILINE)
    assert {name(path): found for path in files() if (found := marks.findall(text_of(path)))} == {}


def test_no_file_names_a_path_of_a_machine_or_a_registry() -> None:
    """Whoever clones it has neither."""
    hosts = registries()
    for path in files():
        if path == Path(__file__).resolve():
            continue
        text = text_of(path)
        assert OF_A_MACHINE.findall(text) == [], name(path)
        assert OF_A_REGISTRY.findall(text) == [], name(path)
        assert [host for host in hosts if host in text] == [], name(path)
        assert str(ROOT) == "/" or str(ROOT) not in text, name(path)


def pinned(file: str) -> dict[str, str]:
    """Return the version of each distribution that a file of pins holds, having checked that each has hashes."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / file).read_text().strip()):
        matched = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", entry)
        assert matched, f"{file}: {entry.splitlines()[0]!r} pins nothing"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), f"{file}: {matched[1]} has no hash"
        found[str(canonicalize_name(matched[1]))] = matched[2]
    return found


@pytest.mark.parametrize("file", PINS)
def test_the_pins_hold_every_dependency(file: str) -> None:
    """At a version that pyproject allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = list(project["project"]["dependencies"])
    groups, extras = PINS[file]
    for group in groups:
        wanted += project["dependency-groups"][group]
    for extra in extras:
        wanted += project["project"]["optional-dependencies"][extra]
    pins = pinned(file)
    for text in wanted:
        requirement = Requirement(text)
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{file} lacks {requirement.name}: `make lock`"
        assert requirement.specifier.contains(version, prereleases=True), f"{file} has {requirement.name} {version}"


@pytest.mark.parametrize("file", PINS)
def test_the_pins_name_no_address(file: str) -> None:
    """They install from whatever registry a machine has."""
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert " @ " not in text


@pytest.mark.parametrize("file", ["requirements/runtime.txt", "requirements/crowd.txt"])
def test_the_files_of_pins_agree(file: str) -> None:
    """What the service runs with is what it is tested with."""
    runs, dev = pinned(file), pinned("requirements/dev.txt")
    shared = runs.keys() & dev.keys()
    assert {key: runs[key] for key in shared} == {key: dev[key] for key in shared}


def test_tests_find_and_start_programs_in_one_way() -> None:
    """By `tests.support`: what the stack builds is on nobody's PATH, and what is started must end with the tests."""
    own_way = re.compile(
        r"shutil\.which|subprocess\.(run|Popen|call|check_\w+)|.*create_subprocess_\w+|os\.(kill|killpg)"
    )
    found = {}
    for path in (ROOT / "tests").rglob("*.py"):
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(text_of(path))) if isinstance(node, ast.Call)]
        found[name(path)] = {call for call in calls if own_way.fullmatch(call)}
    assert found.pop("tests/support/processes.py") == {"subprocess.run", "subprocess.Popen", "os.kill"}
    assert {file: calls for file, calls in found.items() if calls} == {}
