"""deploy/kubernetes: what kustomize makes of it is hardened, whole, and says of the service what the service says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.kubernetes.__main__ import GATEWAY, RULES, gateway, rules
from service.settings import Settings, unknown_variables
from tests.architecture.repository import ROOT
from tests.support.machine import executable
from tests.support.processes import run

HOME = ROOT / "deploy/kubernetes"
OVERLAYS = ("one-node", "production")
Object = dict[str, Any]


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """What an overlay comes to."""
    done = run([executable("kustomize"), "build", str(HOME / "overlays" / request.param)])
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [found for found in objects if found["kind"] in kinds]


def workloads(objects: list[Object]) -> dict[str, Object]:
    """Return the pod templates by the name of their workload."""
    kinds = ("Deployment", "StatefulSet", "DaemonSet")
    return {found["metadata"]["name"]: found["spec"]["template"] for found in of_kind(objects, *kinds)}


def environment(container: Object) -> dict[str, str]:
    """Return what a container's environment says, secrets left out."""
    return {entry["name"]: entry["value"] for entry in container.get("env", ()) if "value" in entry}


def test_every_container_is_hardened(objects: list[Object]) -> None:
    """Not root, nothing to write to, no capability, the runtime's seccomp profile, no token, a limit of memory."""
    found = workloads(objects)
    assert {"api", "worker", "collector-agent", "collector-gateway"} <= set(found)
    for name, template in found.items():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert re.search(r":\d", container["image"]), f"{name}: the image has no version"


def test_probes_and_the_end_agree_with_the_service(objects: list[Object]) -> None:
    """Readiness and life are different questions; who ends is seen before it closes, and has the time that it takes."""
    for name in ("api", "worker"):
        pod = workloads(objects)[name]["spec"]
        (container,) = pod["containers"]
        paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")}
        assert paths == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
        told = environment(container)
        drain, shutdown = float(told.get("DRAIN_SECONDS", 0)), float(told["SHUTDOWN_SECONDS"])
        assert pod["terminationGracePeriodSeconds"] > drain + shutdown + 1
        if name == "api":
            ready = container["readinessProbe"]
            assert drain > ready["periodSeconds"] * ready["failureThreshold"]


def test_the_service_takes_every_variable(objects: list[Object], tmp_path: Path) -> None:
    """The settings are made of it, with the secrets in files as they are mounted; no name is a slip of the pen."""
    secret = {"redis-url": "redis://store:6379", "jwt-public-key": public_key()}
    for name in ("api", "worker"):
        (container,) = workloads(objects)[name]["spec"]["containers"]
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "secrets"]
        told = environment(container)
        for variable, value in list(told.items()):
            if variable.endswith("_FILE"):
                assert value.startswith(mount["mountPath"] + "/")
                file = tmp_path / Path(value).name
                file.write_text(secret.get(file.name, "a-secret-of-some-length"))
                told[variable] = str(file)
        assert unknown_variables(told) == []
        settings = Settings.from_env(told)
        assert settings.redis_url
        assert name == "worker" or settings.auth_jwt.enabled or settings.allow_anonymous


def public_key() -> str:
    """Return a key that a shop's tokens could be checked with."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def selectors(objects: list[Object]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield who chooses pods, and by which labels."""
    for found in of_kind(objects, "Service", "PodDisruptionBudget", "NetworkPolicy"):
        spec, name = found["spec"], f"{found['kind']} {found['metadata']['name']}"
        chosen = spec.get("podSelector", spec.get("selector"))
        yield name, chosen if found["kind"] == "Service" else chosen.get("matchLabels", {})
        for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
            for peer in (*rule.get("from", ()), *rule.get("to", ())):
                if "podSelector" in peer:
                    yield name, peer["podSelector"]["matchLabels"]


def test_every_selector_finds_a_pod_and_every_port_is_one(objects: list[Object]) -> None:
    """Labels that nobody has choose nothing, in silence; so does a target port without its name."""
    pods = workloads(objects).values()
    for who, wanted in selectors(objects):
        assert any(wanted.items() <= pod["metadata"]["labels"].items() for pod in pods), (who, wanted)
    for service in of_kind(objects, "Service"):
        (pod,) = [p for p in pods if service["spec"]["selector"].items() <= p["metadata"]["labels"].items()]
        names = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for monitor in of_kind(objects, "ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [s for s in of_kind(objects, "Service") if labels <= s["metadata"]["labels"].items()]
        assert {e["port"] for e in monitor["spec"]["endpoints"]} <= {p["name"] for p in service["spec"]["ports"]}


def test_what_is_referred_to_is_there(objects: list[Object]) -> None:
    """Config maps, claims, the targets of scaling; the metric that the workers are scaled by is one of ours."""
    known = {(found["kind"], found["metadata"]["name"]) for found in objects}
    for template in workloads(objects).values():
        for volume in template["spec"].get("volumes", ()):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in known
            if "secret" in volume and of_kind(objects, "Secret"):
                assert ("Secret", volume["secret"]["secretName"]) in known
    for scaled in of_kind(objects, "HorizontalPodAutoscaler"):
        assert ("Deployment", scaled["spec"]["scaleTargetRef"]["name"]) in known
        for metric in scaled["spec"]["metrics"]:
            if metric["type"] == "External":
                assert f"`{metric['external']['metric']['name']}`" in (ROOT / "docs/metrics.md").read_text()
    assert ("NetworkPolicy", "deny-all") in known


def test_rules_and_gateway_are_made_from_the_stacks_own_files() -> None:
    """`make rules` was run; every alert of the stack is there but those of its own front and Prometheus."""
    assert RULES.read_text() == rules()
    assert GATEWAY.read_text() == gateway()
    stack = yaml.safe_load((ROOT / "monitoring/prometheus/rules/alerts.yml").read_text())
    cluster = yaml.safe_load(RULES.read_text())["spec"]
    names = [{rule.get("alert") for group in of["groups"] for rule in group["rules"]} for of in (stack, cluster)]
    assert names[0] - names[1] == {"FrontDown", "Watchdog", "AlertsNotDelivered", "PrometheusFaulty"}
    assert all(group["rules"] for group in cluster["groups"])
