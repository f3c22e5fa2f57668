"""The benchmarks have an environment of their own: whatever they import is in it."""

import re
import sys
from importlib.metadata import packages_distributions

import grimp

from tests.architecture.repository import ROOT

OURS = ("benchmarks", "deploy", "monitoring", "service", "telemetry")
ELSEWHERE = {"trio"}
"""What is imported only where it is there."""


def imported(graph: grimp.ImportGraph, root: str) -> set[str]:
    """Return all modules that importing a package or any of its modules imports: with a module goes its package."""
    seen: set[str] = set()
    waiting = {root, *graph.find_descendants(root)}
    while waiting:
        module = waiting.pop()
        seen.add(module)
        package = module.rpartition(".")[0]
        waiting |= ({package} if package else set()) - seen
        if module in graph.modules:
            waiting |= graph.find_modules_directly_imported_by(module) - seen
    return seen


def normal(name: str) -> str:
    """Return the name of a distribution as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_all_that_is_imported_is_pinned() -> None:
    """In what `make bench` installs, by way of other packages of ours, too."""
    graph = grimp.build_graph(*OURS, include_external_packages=True, cache_dir=None)
    tops = {module.partition(".")[0] for module in imported(graph, "benchmarks")}
    foreign = tops - set(OURS) - sys.stdlib_module_names - ELSEWHERE
    texts = [(ROOT / "requirements" / f"{name}.txt").read_text() for name in ("crowd", "bench")]
    pinned = {normal(name) for text in texts for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    distributions = packages_distributions()
    missing = {top for top in foreign if not pinned & {normal(name) for name in distributions.get(top, [top])}}
    assert len(foreign) > 10
    assert not missing
