"""The OpenAPI document tells the truth: thousands of generated requests get no answer that it does not describe."""

import os
import random
import sys
from pathlib import Path

from tests.support import RedisServer
from tests.support.processes import run
from tests.support.service import ADMIN, Fleet

SECONDS = 35
CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_no_answer_is_undocumented_and_none_is_a_server_error(valkey_server: RedisServer, tmp_path: Path) -> None:
    """Status codes, content types, headers, bodies, missing tokens, wrong methods; SEED=... repeats a run."""
    seed = os.environ.get("SEED") or str(random.randrange(2**32))
    with Fleet(valkey_server.url) as fleet:
        argv = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run"]
        argv += [f"{fleet.url}/openapi.json", "--max-time", str(SECONDS), "--seed", seed, "--no-color"]
        argv += [
            "--header",
            f"Authorization: {ADMIN['Authorization']}",
            "--continue-on-failure",
        ]
        done = run(argv, cwd=tmp_path, timeout=150)
        assert done.returncode == 0, f"SEED={seed}\n{done.stdout}\n{done.stderr}"
        assert [line for line in fleet.lines if line["level"] == "error"] == []
        assert f"Seed: {seed}" in done.stdout
