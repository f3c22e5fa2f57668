"""What the documentation names exists: files, modules, make targets and commands; its tables are those of the code."""

import importlib
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.architecture import packages
from tests.architecture.repository import ROOT, files, name

DOCUMENTS = [
    path for path in files(".md") if path.relative_to(ROOT).parts[0] != "tests" and path.name != "CHANGELOG.md"
]
OURS = ("service", "telemetry", "deploy", "monitoring", "benchmarks", "tests")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"\.?[\w-]+(?:/[\w.-]+)*(?:/|\.(?:py|lua|ya?ml|json|md|toml|js|css|html|txt|conf|go|png|svg))")
IN_TEXT = re.compile(rf"(?<![\w/.-])(?:{'|'.join(OURS)}|docs)(?:/[\w.-]+)+\.\w+\b")
IN_DIAGRAM = re.compile(r"[\w/]+\.(?:py|lua)\b")
DOTTED = re.compile(rf"(?:{'|'.join(OURS)})(?:\.[A-Za-z_]\w*)+")
OPENTELEMETRY = re.compile(r"(?:service|telemetry)\.(?:name|version|namespace|instance|sdk|distro)\b.*")
"""Attributes that OpenTelemetry specifies; they only look like modules of ours."""
OF_OTHERS = {"shop.py", "resolv.conf"}
"""What a reader is told to make, and files of other programs."""
METRIC = re.compile(r"(?<![\w.:])(?:flash_sale|telemetry|http_server)_[a-z]\w*")
VARIABLE = re.compile(r"(?<![\w./-])[A-Z][A-Z0-9]+_[A-Z0-9_]+\b")
VARIABLES_OF_OTHERS = {
    *("BIND_ADDRESS", "REDACTION_KEY", "FAULTS_SEED", "EXPORT_ORDERS"),  # of the stack, and of the tests
    *("OTEL_METRICS_EXEMPLAR_FILTER", "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "RECORD_ONLY"),
    *("SO_REUSEPORT", "IPPROTO_TCP", "PR_SET_PDEATHSIG"),
    "ENABLE_METRICS",  # of prometheus-fastapi-instrumentator
    *("FORWARDED_ALLOW_IPS", "UVICORN_HTTP", "WEB_CONCURRENCY"),  # of uvicorn
}
DECISIONS = ROOT / "docs/decisions"
RECORDS = [path for path in files(".md") if path.parent == DECISIONS and path.name != "README.md"]
STATUS = re.compile(r"\*\*Status:\*\* (?:accepted|proposed|superseded by \[.+\]\(.+\.md\)), [A-Z][a-z]+ 20\d\d\.")
LONG_RECORDS = {"telemetry-cost.md": 70}
"""It holds the figures of every step."""
NAMES = {path.name for path in files()}


def prose(document: Path) -> str:
    """Return the text without its blocks of code and the targets of its links."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", text)


def words(document: Path) -> Iterator[str]:
    """Yield what stands between backticks, outside of blocks of code."""
    yield from CODE.findall(prose(document))


def diagrams(document: Path) -> list[str]:
    """Return the Mermaid diagrams."""
    found: list[str] = re.findall(r"^```mermaid\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return found


def blocks(document: Path) -> Iterator[str]:
    """Yield the lines of the blocks of shell commands."""
    for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


def exists(document: Path, path: str) -> bool:
    """Whether there is such a file or folder, from the root or from the document; a bare name may stand anywhere."""
    return path in NAMES | OF_OTHERS or any((place / path).exists() for place in (ROOT, document.parent))


@cache
def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    module, rest = dotted, list[str]()
    while module:
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is not None:
            value: object = importlib.import_module(module) if rest else None
            for part in rest:
                if not hasattr(value, part):
                    return False
                value = getattr(value, part)
            return True
        module, _, last = module.rpartition(".")
        rest.insert(0, last)
    return False


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_file_that_a_document_names_exists(document: Path) -> None:
    """In backticks, as a path with a folder anywhere in the text, or in a diagram."""
    named = {word for word in words(document) if PATH.fullmatch(word) and ("/" in word or "." in word)}
    named |= set(IN_TEXT.findall(prose(document)))
    named |= {word.rpartition("/")[2] for word in IN_DIAGRAM.findall("".join(diagrams(document)))}
    assert [word for word in named if not exists(document, word)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_link_of_a_document_leads_somewhere(document: Path) -> None:
    """Files, and headings of the files that have them."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, heading = target.partition("#")
        where = (document.parent / path) if path else document
        assert where.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", where.read_text(), re.MULTILINE)
            known = {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in headings}
            assert heading in known, target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_dotted_name_of_a_document_exists(document: Path) -> None:
    """Of modules, and of what is in them; `telemetry.` with a small letter may stand for a `Telemetry` as well."""
    named = {word.partition("(")[0] for word in words(document)} - NAMES
    dotted = {word for word in named if DOTTED.fullmatch(word) and not OPENTELEMETRY.fullmatch(word)}
    missing = {word for word in dotted if not resolves(word)}
    assert {word for word in missing if not resolves(word.replace("telemetry.", "telemetry.Telemetry."))} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_command_of_a_document_exists(document: Path) -> None:
    """`make` targets and `python -m` modules; a command that a user is told to give names its virtual environment."""
    makefile = (ROOT / "Makefile").read_text()
    said = [*words(document), *blocks(document)]
    for target in {found for line in said for found in re.findall(r"(?:^|\s)make ([a-z][a-z-]+)", line)}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for module in {found for line in said for found in re.findall(r"python -m ([\w.]+)", line)}:
        assert importlib.util.find_spec(module.replace("truemeter", "telemetry")), module
    if (ROOT / "telemetry") in document.parents:
        return  # what is said there is done where the package was installed
    for line in blocks(document) if document in {packages.DOCUMENT, *RECORDS} else said:
        assert not re.match(r"\s*python\d? -m", line), f"{line!r} runs only where the virtual environment is active"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_metric_that_a_document_names_is_exported(document: Path) -> None:
    """As docs/metrics.md has it, which `make docs` writes from the declarations."""
    known = set(METRIC.findall((ROOT / "docs/metrics.md").read_text()))
    named = {re.sub(r"_(?:bucket|count|sum)$", "", word) for word in METRIC.findall(document.read_text())}
    assert named - known == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_variable_that_a_document_names_is_a_setting(document: Path) -> None:
    """That one of the two tables of settings has; what belongs to other programs is listed here."""
    tables = (ROOT / "README.md").read_text() + (ROOT / "telemetry/README.md").read_text()
    assert set(VARIABLE.findall(document.read_text())) - set(VARIABLE.findall(tables)) <= VARIABLES_OF_OTHERS


def test_the_table_of_packages_is_that_of_the_imports() -> None:
    """Packages, arrows and their numbers; the purposes are taken from the docstrings when `make docs` writes it."""
    document = packages.DOCUMENT.read_text()
    assert _structure(document) == _structure(packages.written(document)), "`make docs` writes it anew"


def test_no_arrow_points_back() -> None:
    rank = packages.ranks()
    for root in packages.ROOTS:
        assert packages.pointing_back(packages.arrows(root), rank) == []


def _structure(document: str) -> list[str]:
    return [re.sub(r"^(\| `[^|]*\|)[^|]*\|", r"\1", line) for line in document.splitlines()]


def test_an_arrow_that_points_back_is_seen() -> None:
    """Up, and to a neighbour of the same layer."""
    rank = {"service.a": 1, "service.b": 2, "service.c": 2}
    found = {"service.a": {"service.b"}, "service.b": {"service.a", "service.c", "telemetry"}, "service.c": set[str]()}
    assert packages.pointing_back(found, rank) == ["service.b -> service.a", "service.b -> service.c"]


def test_the_glossary_is_in_order_and_says_where_each_word_lives() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| `(.+)` \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    terms = [term for term, _, _ in rows]
    assert len(terms) >= 30
    assert terms == sorted(terms, key=str.lower)


def test_the_index_of_the_decisions_is_whole() -> None:
    """Each record once, under its own title."""
    listed = re.findall(r"^- \[(.+)\]\((.+\.md)\)$", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    titles = {path.name: path.read_text().splitlines()[0].removeprefix("# ") for path in RECORDS}
    assert sorted(listed) == sorted((title, file) for file, title in titles.items())


@pytest.mark.parametrize("record", RECORDS, ids=name)
def test_a_decision_has_a_status_and_says_what_was_rejected(record: Path) -> None:
    lines = record.read_text().splitlines()
    assert STATUS.fullmatch(lines[2]), "the third line: **Status:** accepted, November 2026."
    assert any(line.startswith("**Rejected.**") for line in lines), "a paragraph that begins with **Rejected.**"
    assert len(lines) <= LONG_RECORDS.get(record.name, 50)
