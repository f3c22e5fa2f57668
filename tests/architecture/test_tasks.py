"""A task that ends must not be missed by nobody: whoever starts one is listed here, with what looks after it."""

import ast

from tests.architecture.repository import ROOT

STARTERS = {"create_task", "ensure_future", "TaskGroup"}
LOOKED_AFTER = {
    "service/background.py": "begun anew, however it ends",
    "service/cancellation.py": "awaited in the same call",
    "service/store/batching.py": "each caller is told what became of its batch; who waits begins the next",
    "service/store/cluster.py": "awaited by the call whose node has failed; the next one that fails begins another",
    "service/ending.py": "waits for an event that is set once; ended by the block that it runs beside",
    "service/ledger/write_check.py": "looked at by each round, which begins the next",
    "service/ledger/feed_tail.py": "who waits for it is told how it ended, and begins another",
    "service/webhooks/attempts.py": "awaited in the same call",
    "service/webhooks/delivery.py": "looked at by each round, which ends them where it breaks off",
    "service/orders/worker.py": "a loop that ends, ends the process; an order's is found again in the pending list",
    "service/processes/server.py": "a server that ends, ends the process",
    "service/processes/supervisor.py": "a keeper that ends, ends the fleet",
    "service/processes/fleet.py": "a store that cannot be kept, ends the fleet",
    "service/api/websocket.py": "ends with its connection",
    "service/cli/processes.py": "is the process",
    "service/crowd/engine.py": "awaited in the same call",
    "service/processes/startup.py": "says what is waited for; ended by the same call",
    "telemetry/prometheus/background.py": "what its work raises is logged, and the block that it runs beside ends it",
}


def test_every_task_is_looked_after() -> None:
    found = {
        str(path.relative_to(ROOT))
        for package in ("service", "telemetry")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in STARTERS
    }
    assert found == LOOKED_AFTER.keys()
