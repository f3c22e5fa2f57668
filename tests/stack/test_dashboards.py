"""The dashboards: made from code, whole, and about series that exist."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards import DASHBOARDS, FOLDER, text
from monitoring.dashboards.check import documents
from monitoring.dashboards.ledger import SCRAPE_SECONDS
from monitoring.dashboards.service import BUDGETS
from service.metrics import SPECS
from tests.stack.promql import metrics

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "monitoring" / "grafana"
PROMETHEUS = ROOT / "monitoring" / "prometheus"

OF_OTHERS = {
    *("up", "scrape_duration_seconds", "scrape_samples_scraped", "ALERTS"),
    *("prometheus_tsdb_head_series", "prometheus_tsdb_head_samples_appended_total"),
    *("prometheus_tsdb_exemplar_exemplars_appended_total", "prometheus_rule_group_last_duration_seconds"),
    *("process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"),
    *("process_open_fds", "process_max_fds", "target_info", "traces_span_metrics_calls_total"),
    *("otelcol_receiver_accepted_spans_total", "otelcol_receiver_refused_spans_total"),
    *("otelcol_exporter_sent_spans_total", "otelcol_exporter_queue_size", "otelcol_exporter_queue_capacity"),
    *("otelcol_process_memory_rss_bytes",),
}
"""Of Prometheus, its client, the collector and Jaeger; the live test finds each of them."""


def panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that show something."""
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def queries(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where a query stands and what it asks: of panels and annotations."""
    for panel in panels(document):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in document["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def exported() -> set[str]:
    """Return the names of all series that the service exports, and of those that rules record."""
    names = set(re.findall(r"^\| `(\w+)` \| (\w+)", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    found = {name for name, _ in names}
    found |= {f"{name}_{part}" for name, kind in names if kind == "histogram" for part in ("bucket", "sum", "count")}
    for path in (PROMETHEUS / "rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            found |= {rule["record"] for rule in group["rules"] if "record" in rule}
    return found


@pytest.fixture(params=sorted(DASHBOARDS))
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return a committed dashboard."""
    return documents()[request.param]


def test_the_files_are_what_the_code_makes() -> None:
    """`make dashboards` after a change; no file is left of a dashboard that is gone."""
    assert {path.stem: path.read_text() for path in FOLDER.glob("*")} == {n: text(d) for n, d in DASHBOARDS.items()}


def test_a_panel_says_what_it_shows(document: dict[str, Any]) -> None:
    """Title, sentence, unit, data source, thresholds; no two of a title."""
    for panel in panels(document):
        assert panel["title"], panel["id"]
        assert re.fullmatch(r"[A-Z0-9].{20,}\.", panel["description"]), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    titles = [panel["title"] for panel in panels(document)]
    assert len(titles) == len(set(titles))
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))


def test_no_panel_covers_another(document: dict[str, Any]) -> None:
    """And none leaves the page; each row of panels is filled to its end."""

    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    for one, other in combinations(document["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])
    taken = set().union(*(cells(panel) for panel in document["panels"]))
    height = max(y for _, y in taken) + 1
    assert taken == {(x, y) for x in range(24) for y in range(height)}


def test_a_query_asks_for_series_that_are_exported(document: dict[str, Any]) -> None:
    """A panel that shows a constant, or a name that nobody exports, is a lie."""
    known = exported() | OF_OTHERS
    for where, expr in queries(document):
        found = metrics(expr)
        assert found, f"{where} is a constant: {expr}"
        assert "vector(" not in expr, f"{where} makes a figure up where there is none: {expr}"
        plain = {name for name in found if not name.endswith(".+") and not name.startswith("otel_sdk_")}
        assert plain <= known, f"{where}: {plain - known}"
        assert all(
            any(re.fullmatch(name, one) for one in known) or name == "otel_sdk_.+"
            for name in found
            if name.endswith(".+")
        )


def test_figures_of_the_ledger_are_asked_for_as_one(document: dict[str, Any]) -> None:
    """Two processes may seem to export them at once, for a scrape: the greatest counts, never the sum."""
    of_ledger = [spec.prometheus_name for spec in SPECS if spec.scope == "fleet"]
    assert "flash_sale_orders_total" in of_ledger
    for where, expr in queries(document):
        for name in of_ledger:
            for hit in re.finditer(rf"\b{name}\b", expr):
                before = expr[: hit.start()]
                assert re.search(r"\bmax( by \(\w*\) )?\((max_over_time\()?$", before), f"{where}: {expr}"


def test_every_variable_is_declared_and_used(document: dict[str, Any]) -> None:
    """Grafana's own begin with two underscores."""
    declared = {variable["name"] for variable in document["templating"]["list"]}
    used = {name for _, expr in queries(document) for name in re.findall(r"\$\{?([a-z]+)\}?", expr)}
    assert used | {"datasource"} == declared
    known = exported() | OF_OTHERS
    for variable in document["templating"]["list"][1:]:
        assert metrics(re.sub(r"label_values\((.*), \w+\)", r"\1", variable["query"]["query"])) <= known


def test_grafana_knows_every_field(document: dict[str, Any]) -> None:
    """Read and written again by Grafana's own models, nothing is lost: a misspelt field would be."""
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(json.loads(json.dumps(document))), cls=JSONEncoder))
    lost = list(missing(document, again, ""))
    # What a Prometheus annotation adds is its plugin's business, and not in the models.
    allowed = r"\.annotations\.list\.\d+\.(step|titleFormat|textFormat|useValueForTime)"
    assert [path for path in lost if not re.fullmatch(allowed, path)] == []


def missing(ours: Any, theirs: Any, path: str) -> Iterator[str]:
    """Yield the paths of what is in the first document and not, or differently, in the second."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            if not isinstance(theirs, dict) or key not in theirs:
                if value not in ({}, [], None):
                    yield f"{path}.{key}"
            else:
                yield from missing(value, theirs[key], f"{path}.{key}")
    elif isinstance(ours, list):
        if not isinstance(theirs, list) or len(theirs) != len(ours):
            yield path
        else:
            for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                yield from missing(one, other, f"{path}.{place}")
    elif ours != theirs:
        yield path


def test_links_lead_somewhere() -> None:
    """To a dashboard that there is, over the same time."""
    found = documents()
    uids = {document["uid"] for document in found.values()}
    for document in found.values():
        assert document["links"][0]["tags"] == document["tags"]
        assert document["links"][0]["keepTime"]
        for link in re.findall(r"/d/([\w-]+)([^\"]*)", json.dumps(document)):
            assert link[0] in uids
            assert "${__url_time_range}" in link[1]


def provisioned(kind: str) -> dict[str, Any]:
    """Return a provisioning file."""
    (path,) = (GRAFANA / "provisioning" / kind).glob("*.yml")
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def test_the_data_sources_lead_to_each_other() -> None:
    """An exemplar to its trace, a span to the metrics of its route; the interval is that of the scrapes."""
    sources = {source["uid"]: source for source in provisioned("datasources")["datasources"]}
    assert sources.keys() == {"prometheus", "jaeger"}
    data = sources["prometheus"]["jsonData"]
    links = data["exemplarTraceIdDestinations"]
    assert {link["name"] for link in links} == {"trace_id"}
    assert [link.get("url") or link["datasourceUid"] for link in links] == [
        "$JAEGER_URL/trace/$${__value.raw}",  # for everybody: an anonymous viewer has no Explore
        "jaeger",
    ]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services["grafana"]["environment"]["JAEGER_URL"] == services["api-1"]["environment"]["JAEGER_URL"]
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert scraped == data["timeInterval"] == f"{SCRAPE_SECONDS}s"
    back = sources["jaeger"]["jsonData"]["tracesToMetrics"]
    assert back["datasourceUid"] == "prometheus"
    for query in back["queries"]:
        assert metrics(query["query"].replace("$$__tags", "")) <= exported(), query["name"]
    assert not re.search(r"(?<!\$)\$(?!\$)", json.dumps(back)), (
        "Grafana would take it for a variable of the environment"
    )


def test_compose_mounts_what_is_provisioned() -> None:
    """The folder of the dashboards, where the provider looks for it, and the data sources at their services."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounts["./monitoring/grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = provisioned("dashboards")["providers"]
    assert mounts["./monitoring/grafana/dashboards"] == provider["options"]["path"]
    for source in provisioned("datasources")["datasources"]:
        assert re.fullmatch(r"http://([\w-]+):\d+", source["url"])[1] in services  # type: ignore[index]


def test_the_budgets_are_those_of_the_objectives() -> None:
    objectives = yaml.safe_load((ROOT / "monitoring" / "slo.yaml").read_text())["objectives"]
    assert {one["name"]: pytest.approx(1 - one["percent"] / 100) for one in objectives} == BUDGETS


def test_what_the_guide_points_to_is_there() -> None:
    """Its pictures and pages, and a picture of every dashboard."""
    guide = ROOT / "docs" / "observability.md"
    links = re.findall(r"\]\(([^)#:]+)\)", guide.read_text())
    assert [link for link in links if not (guide.parent / link).exists()] == []
    assert {f"pictures/dashboard-{name}.png" for name in DASHBOARDS} <= set(links)


def test_each_metric_of_the_service_is_watched() -> None:
    """By a panel or a rule; what nobody looks at costs its series all the same."""
    shown = "".join(path.read_text() for path in [*FOLDER.glob("*.json"), *(PROMETHEUS / "rules").glob("*.yml")])
    unseen = {spec.prometheus_name for spec in SPECS if spec.prometheus_name not in shown}
    # Its histogram says more on the dashboards: the mean is for those who take one figure.
    assert unseen == {"flash_sale_processing_time_avg"}
