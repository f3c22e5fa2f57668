"""The steps of the container test, run where the engine's ports and processes are. Ends all that it starts."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deploy.ship import runbook
from deploy.ship.commands import containers, documented, holds, query, run, until
from deploy.ship.shoppers import Shoppers, StepFailed, call
from deploy.stack.compose import ROOT

UNITS = 100_000
MANY = 17_000
TARGETS = 9
"""Of Prometheus: two replicas, the front, the worker, two ports of the collector, Jaeger, Alertmanager, itself."""
KILLED = "137"
RESTORED = "flash-sale-ship-restored"
ALONE = "flash-sale-ship-alone"


def main(pull: str) -> int:
    """Run every step until one fails, and return the status."""
    steps: dict[str, Callable[[], str]] = {
        "build": lambda: _build(pull),
        "up": lambda: _up(pull),
        "hardening": _hardening,
        "sell": _sell,
        "scrape": _scrape,
        "upgrade": lambda: _upgrade(pull),
        "audit": _audit,
        "backup and restore": _backup_and_restore,
        "runbook": runbook.run_all,
        "front down": _front_down,
        "large audit": _large_audit,
        "stop": _stop,
        "sale alone": lambda: _sale_alone(pull),
    }
    failed, project = "", os.environ["COMPOSE_PROJECT_NAME"]
    _remove_all(pull, project)  # a run that was killed may have left some
    try:
        for name, step in steps.items():
            begun = time.monotonic()
            try:
                seen = step()
            except (StepFailed, OSError) as error:
                failed, seen = name, f"FAILED: {error}"
            sys.stdout.write(f"{name:20} {time.monotonic() - begun:6.1f} s  {seen}\n")
            sys.stdout.flush()
            if failed:
                break
    finally:
        _remove_all(pull, project)
    return 1 if failed else 0


def _remove_all(pull: str, project: str) -> None:
    """Remove the containers, networks and volumes of every project; of an engine of ours what is a week old, too."""
    for name in (project, RESTORED, ALONE):
        down = ("docker", "compose", "--project-name", name, "--profile", "*", "down")
        run(*down, "--volumes", "--remove-orphans", "--timeout", "5", check=False)
    if pull == "never":
        run("docker", "image", "prune", "--force", "--filter", "until=168h", check=False)


def _build(pull: str, *more: str) -> str:
    options = ["--pull=false", *more] if pull == "never" else more
    for target, image in (("service", "flash-sale:0.1.0"), ("crowd", "flash-sale-crowd:0.1.0")):
        run("docker", "build", "--quiet", *options, f"--target={target}", f"--tag={image}", ".")
    size = int(run("docker", "image", "inspect", "--format={{.Size}}", "flash-sale:0.1.0"))
    return f"the unmodified Dockerfile, {size / 1e6:.0f} MB"


def _up(pull: str) -> str:
    run("docker", "compose", "up", "--detach", "--wait", "--no-build", f"--pull={pull}")
    return f"{len(containers())} containers of the unmodified docker-compose.yml, healthy"


def _hardening() -> str:
    wrong = []
    for name, state in containers().items():
        lines = Path(f"/proc/{state['State']['Pid']}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        host = state["HostConfig"]
        seen = {
            "root": status["Uid"].split()[0] == "0",
            "capabilities": int(status["CapEff"], 16) != 0,
            "new privileges": status["NoNewPrivs"] != "1",
            "no seccomp filter": status["Seccomp"] != "2",
            "writable root": not host["ReadonlyRootfs"],
            "no memory limit": not host["Memory"],
        }
        wrong += [f"{name}: {what}" for what, bad in seen.items() if bad]
    holds(not wrong, "; ".join(wrong))
    return "each: not root, no capability, no new privileges, seccomp, read-only root, memory limit"


def _sell() -> str:
    product = {"name": "Lamp", "stock": UNITS, "price": 100, "currency": "EUR"}
    token = {"Authorization": f"Bearer {os.environ['ADMIN_TOKEN']}"}
    status, body = call("PUT", "/inventory/lamp", product, token)
    holds(status in {200, 201}, f"PUT /inventory/lamp: {status} {body}")
    with Shoppers() as shoppers:
        time.sleep(5)
    return shoppers.check()


def _scrape() -> str:
    def all_up() -> bool:
        values = [sample["value"][1] for sample in query("up")]
        return len(values) >= TARGETS and set(values) == {"1"}

    until(all_up, f"{TARGETS} targets are up")
    return f"{len(query('up'))} targets up"


def _upgrade(pull: str) -> str:
    """Replace each replica by one of another image while it sells, as the guide says."""
    replaced = ("api-1", "api-2", "worker")
    before = {name: containers()[name]["Id"] for name in replaced}
    _build(pull, "--label=org.opencontainers.image.revision=next")
    with Shoppers() as shoppers, tempfile.TemporaryDirectory() as directory:
        documented("A new version, one replica after the other", directory)
        orders = {name: _handled(name) for name in ("api-1", "api-2")}
        until(lambda: all(_handled(name) > orders[name] for name in orders), "both new replicas are sent orders")
    told = shoppers.check()
    stayed = [name for name, number in before.items() if containers()[name]["Id"] == number]
    holds(not stayed, f"not replaced: {', '.join(stayed)}")
    return f"both replicas and the worker replaced; meanwhile {told}"


def _audit() -> str:
    with tempfile.TemporaryDirectory() as directory:
        return _clean(documented("Under compose", directory))


def _backup_and_restore() -> str:
    """Copy the store's files while it sells, start a store of the copy, and audit it."""
    with tempfile.TemporaryDirectory(prefix="fs-backup-") as directory:
        with Shoppers() as shoppers:
            time.sleep(1)
            known = Shoppers.total
            documented("Backup", directory)
        shoppers.check()
        told = documented("Restore", directory, COMPOSE_PROJECT_NAME=RESTORED)
    found = re.search(r"(\d+) orders;", told)
    kept = int(found[1]) if found else 0
    holds(known <= kept <= Shoppers.total, f"{known} orders before the copy was taken, {kept} in it")
    return f"{known} orders before the copy of the live store, {Shoppers.total} after; in it {_clean(told)}"


def _clean(told: str) -> str:
    lines = told.splitlines()
    holds(lines[-1] == "clean", " / ".join(lines[-5:]))
    return f"{lines[-2].partition(';')[0]}, audit clean"


def _front_down() -> str:
    begun = time.monotonic()
    run("docker", "compose", "stop", "front")
    stopped = time.monotonic() - begun
    firing = 'ALERTS{alertname="FrontDown",alertstate="firing"}'
    until(lambda: bool(query(firing)), "FrontDown fires")
    told = time.monotonic() - begun
    run("docker", "compose", "up", "--detach", "--no-deps", "--no-build", "--wait", "front")
    until(lambda: not query(firing), "FrontDown ends")
    return f"stopped in {stopped:.1f} s, FrontDown after {told:.0f} s, and it ended"


def _large_audit() -> str:
    """Audit very many orders that wait, as the guide says; the worker's own processes must not suffer from it."""
    worker = containers()["worker"]
    before = _processes(worker["Id"])
    fill = (ROOT / "deploy" / "ship" / "fill.py").read_text()
    once = ("docker", "compose", "run", "--rm", "--no-deps", "-T")
    run(*once, "--entrypoint", "python", "worker", "-c", fill, str(MANY))
    told = _audit()
    after = _processes(worker["Id"])
    holds(before == after, f"the worker's processes were {before}, and are {after}")
    return f"{told}, in {worker['HostConfig']['Memory'] >> 20} MiB; the worker's {len(after)} processes are the same"


def _processes(container: str) -> set[str]:
    """Return the ids of its processes, but for a health check that happens to run."""
    lines = run("docker", "top", container, "-eo", "pid,args").splitlines()
    return {line.split()[0] for line in lines if "flash-sale" in line}


def _stop() -> str:
    run("docker", "compose", "stop")
    ended = {name: str(state["State"]["ExitCode"]) for name, state in containers("--all").items()}
    killed = [name for name, code in ended.items() if code == KILLED]
    holds(not killed, f"killed: {', '.join(killed)}")
    return "all ended by themselves"


def _sale_alone(pull: str) -> str:
    """Start and sell without what watches it."""
    os.environ["COMPOSE_FILE"] = "docker-compose.yml:docker-compose.sale-only.yml"
    os.environ["COMPOSE_PROJECT_NAME"] = ALONE
    _up(pull)
    names = sorted(containers())
    holds(names == ["api-1", "api-2", "front", "redis", "worker"], f"there are {', '.join(names)}")
    return f"{len(names)} containers of both files; {_sell()}"


def _handled(name: str) -> float:
    series = f'sum(http_server_request_duration_seconds_count{{instance="{name}:8000",http_route="/orders"}})'
    return sum(float(sample["value"][1]) for sample in query(series))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
