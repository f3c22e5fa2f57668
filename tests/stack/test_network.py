"""Names of one stack resolve for its processes only, whoever runs it, and two stacks never share an address."""

import os
from pathlib import Path

import pytest

from deploy.stack.network import Network, inside, missing
from tests.support import cannot_run, executable
from tests.support.processes import run


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if lack := missing():
        cannot_run(lack)


def resolve(hosts: Path, name: str, *before: str) -> str:
    """Ask the C library for a name, inside."""
    argv = [*before, *inside(hosts, ["getent", "hosts", name])]
    return run(argv).stdout


def test_a_name_resolves_inside_and_nowhere_else(tmp_path: Path) -> None:
    with Network(["jaeger"]) as network:
        network.write_hosts(tmp_path / "hosts")
        assert resolve(tmp_path / "hosts", "jaeger").split() == [network.addresses["jaeger"], "jaeger"]
    assert "jaeger" not in Path("/etc/hosts").read_text()


def test_it_needs_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user gets a user namespace."""
    if os.geteuid() != 0:
        cannot_run("to become another user takes root")
    shared = Path("/tmp") / f"flash-sale-hosts-{os.getpid()}"  # noqa: S108 - the tests' own directory is root's alone
    try:
        with Network(["jaeger"]) as network:
            network.write_hosts(shared)
            shared.chmod(0o644)
            monkeypatch.setattr(os, "geteuid", lambda: 65534)
            somebody = (executable("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups")
            assert network.addresses["jaeger"] in resolve(shared, "jaeger", *somebody)
    finally:
        shared.unlink()


def test_two_stacks_have_nothing_in_common() -> None:
    with Network(["a", "b"]) as first, Network(["a", "b"]) as second:
        addresses = [*first.addresses.values(), *second.addresses.values()]
        assert len(set(addresses)) == 4
        assert all(address.startswith("127.") for address in addresses)
