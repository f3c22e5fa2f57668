"""`python -m deploy.kubernetes` writes what follows from the stack's files: the rules and the gateway's configuration.

The rules are those of `monitoring/rules`, with the targets that are scraped in the cluster; the gateway is configured
by `otel-collector.yaml`, with another address for the traces. `make rules` calls it.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import yaml

from monitoring.rules.alerts import alert_groups
from monitoring.rules.model import RUNBOOK, Alert, Group, Timescale
from monitoring.rules.objectives import Promises, objective_groups
from monitoring.rules.recording import recording_groups
from monitoring.rules.watch_alerts import missing_targets

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RULES = HERE / "monitoring" / "prometheus-rules.yaml"
GATEWAY = HERE / "base" / "collector-gateway-config.yaml"
HEAD = "# Made by `make rules` from monitoring/rules/, monitoring/slo.yaml and otel-collector.yaml: change those.\n"
JAEGER = "jaeger-collector.monitoring:4317"
OWN_JOBS = ("otel-collector", "spans")
"""What is scraped here besides API and worker; Prometheus and what else watches the cluster is not ours to watch."""
_ELSEWHERE = {"FrontDown", "Watchdog", "AlertsNotDelivered", "PrometheusFaulty"}
"""There is no front of ours: what ends TLS belongs to the cluster, and so do Prometheus and Alertmanager."""


def rules() -> str:
    """Return the rules as the Prometheus Operator reads them."""
    t = Timescale()
    groups = (*recording_groups(t), *alert_groups(t), *objective_groups(Promises.read(), t))
    told = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "flash-sale", "namespace": "flash-sale"},
        "spec": {"groups": [group.group() for group in _of_a_cluster(groups)]},
    }
    text = yaml.safe_dump(told, sort_keys=False, width=1000)
    return HEAD + text.replace(RUNBOOK, "docs/runbook.md")  # its Prometheus does not serve ours


def _of_a_cluster(groups: Iterable[Group]) -> Iterable[Group]:
    for group in groups:
        kept = [rule for rule in group.rules if not (isinstance(rule, Alert) and rule.name in _ELSEWHERE)]
        if not kept:
            continue
        yield replace(
            group,
            rules=[
                replace(rule, expr=missing_targets(OWN_JOBS))
                if isinstance(rule, Alert) and rule.name == "MonitoringTargetMissing"
                else rule
                for rule in kept
            ],
        )


def gateway() -> str:
    """Return the gateway's configuration."""
    text = (ROOT / "otel-collector.yaml").read_text()
    if text.count("endpoint: jaeger:4317") != 1:
        raise ValueError("otel-collector.yaml: the address of Jaeger is not where it was")
    return HEAD + text.replace("endpoint: jaeger:4317", f"endpoint: {JAEGER}")


def main() -> None:
    """Write the files."""
    RULES.write_text(rules())
    GATEWAY.write_text(gateway())


if __name__ == "__main__":
    main()
