"""`make stack` as a person has it: one command, its URLs, parts that come back, and an end that leaves nothing."""

import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support import Program, eventually, executable
from tests.support.http import http_get
from tests.support.processes import send_signal

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def up(tmp_path: Path) -> Program:
    """Return the running command, to be ended by the test."""
    for name in ("prometheus", "alertmanager", "jaeger", "otelcol"):
        executable(name)
    env = {"DATA_DIR": str(tmp_path), "CROWD": "5"}
    return Program([sys.executable, "-m", "deploy.stack", "up"], env=env)


def left(directory: Path) -> dict[int, str]:
    """Return the processes whose output goes below a directory, and where it goes."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            log = str((process / "fd/1").readlink())
            if log.startswith(str(directory)):
                found[int(process.name)] = log
    return found


def answers(url: str) -> bool:
    """Whether a page is there."""
    try:
        return http_get(url, timeout=20).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_it_prints_its_urls_keeps_its_parts_alive_and_ends_by_ctrl_c(up: Program, tmp_path: Path) -> None:
    with up:
        output = up.wait_for_output("Ctrl-C stops everything", 150)
        url = dict(re.findall(r"^(\S.*?) +(http://\S+)$", output, re.MULTILINE))
        assert {"Prometheus", "Alertmanager", "Jaeger", "the sale, replica 1"} <= url.keys(), output
        assert len(http_get(f"{url['the sale, replica 1']}/inventory", timeout=20).json()["products"]) == 6
        page = http_get(url["the sale, replica 1"], timeout=20).text
        assert f'data-jaeger-url="{url["Jaeger"]}"' in page, "the live page links its traces to this stack's Jaeger"
        query = {"query": 'sum(flash_sale_orders_total{status="confirmed"})'}

        def sold() -> float:
            found = http_get(f"{url['Prometheus']}/api/v1/query", params=query, timeout=20).json()["data"]["result"]
            return float(found[0]["value"][1]) if found else 0

        eventually(sold, 60, "Prometheus sees the crowd's orders")
        (pid,) = [pid for pid, log in left(tmp_path).items() if log.endswith("alertmanager/log")]
        send_signal(pid, signal.SIGKILL)
        up.wait_for_line("alertmanager ended and was started again", 30)
        eventually(lambda: answers(f"{url['Alertmanager']}/-/ready"), 30, "it is back")
        assert up.signal(signal.SIGINT, 60) == 0
        assert left(tmp_path) == {}


def test_a_crowd_that_is_no_number_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path), "CROWD": "many"}
    with Program([sys.executable, "-m", "deploy.stack", "up"], env=env) as program:
        assert program.process.wait(60) == 1
        assert program.output.startswith("stack: CROWD: ")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_it_is_killed(up: Program, tmp_path: Path) -> None:
    """The kernel ends the parts with their parent."""
    with up:
        up.wait_for_output("Ctrl-C stops everything", 150)
        assert len(left(tmp_path)) > 8
        up.kill9()
        eventually(lambda: left(tmp_path) == {}, 30, "all have ended")
