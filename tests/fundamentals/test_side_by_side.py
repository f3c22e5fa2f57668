"""Tests run side by side in several processes, and what shares servers stays in one of them."""

import os
import re
import sys
from collections import defaultdict

from tests.support.processes import run

FILES = ("tests/fundamentals/test_keys.py", "tests/fundamentals/test_store_address.py")
RUN = re.compile(r"^\[(gw\d+)\] \[ *\d+%\] PASSED (tests/[a-z_/]+\.py)::", re.MULTILINE)


def test_the_tests_of_a_file_stay_in_one_process() -> None:
    """What pytest-xdist is told of groups is told before it looks, in a way that this pytest hands on."""
    argv = [sys.executable, "-m", "pytest", "-v", "-n2", "--dist=loadgroup", "--no-loadscope-reorder", *FILES]
    done = run(argv, env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")})
    processes = defaultdict(set)
    for process, file in RUN.findall(done.stdout):
        processes[file].add(process)
    assert processes.keys() == set(FILES), done.stdout
    assert all(len(found) == 1 for found in processes.values()), processes
