"""What the tests stand on: real stores, real HTTP servers, free ports, conditions with a deadline."""

from tests.support.http import serve
from tests.support.machine import cannot_run, executable
from tests.support.program import Program
from tests.support.stores import RedisServer
from tests.support.waiting import eventually, free_port, wait_until

__all__ = ["Program", "RedisServer", "cannot_run", "eventually", "executable", "free_port", "serve", "wait_until"]
