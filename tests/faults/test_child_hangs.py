"""A child that is alive and answers nobody is replaced; a parent that is killed leaves none."""

import signal

from tests.support import RedisServer, eventually
from tests.support.processes import alive
from tests.support.service import Fleet

NOTICED_WITHIN_SECONDS = 40


def test_children_that_were_stopped_are_replaced(durable: RedisServer) -> None:
    """An API process and an order worker at once: both are killed, and both serve again."""
    with Fleet(durable.url, command="run", workers=1) as fleet:
        stopped = {role: fleet.kill(role, signal.SIGSTOP) for role in ("api-0", "order-0")}
        for role, pid in stopped.items():
            fleet.wait_for_restart(role, pid, NOTICED_WITHIN_SECONDS)
            assert not alive(pid)
        fleet.wait_until_ready()
        assert fleet.log.count("role does not answer and is killed") == len(stopped)


def test_a_parent_that_is_killed_leaves_no_child(durable: RedisServer) -> None:
    """The kernel ends them, those that are stopped, too."""
    with Fleet(durable.url, command="run", workers=1) as fleet:
        pids = fleet.everybody() - {fleet.program.pid}
        assert pids >= {fleet.template, *map(fleet.pid, ("api-0", "order-0"))}
        fleet.kill("order-0", signal.SIGSTOP)
        fleet.program.kill9()
        eventually(lambda: not any(map(alive, pids)), 10, "no child is left")
