"""Limits of the operating system that no service can live with: said at once, by the names that the shell has for them.

A process that has used up its CPU time is killed without a word, and one that cannot open a file fails at odd places,
children more than once; so a role looks before it starts anything.
"""

import resource
from typing import Final

from service.cli.errors import OperatorError
from service.cli.streams import complain

MIN_CPU_SECONDS: Final = 60
MIN_OPEN_FILES: Final = 192
"""What a process opens for itself (128), and as many places for probes and for clients (32 each)."""


def refuse_limits() -> None:
    """Refuse to start a service under a limit that would end or cripple it; warn of one that ends it later.

    Raises:
        OperatorError: There is too little of something.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)  # the soft one is raised by whoever needs it
    if files != resource.RLIM_INFINITY and files < MIN_OPEN_FILES:
        raise OperatorError(f"ulimit -n: {files} open files are too few for a process, {MIN_OPEN_FILES} are needed")
    seconds = min(_finite(limit) for limit in resource.getrlimit(resource.RLIMIT_CPU))
    if seconds < MIN_CPU_SECONDS:
        raise OperatorError(f"ulimit -t: a process would be killed after {seconds:.0f} s of CPU time; lift that limit")
    if seconds != float("inf"):
        complain(f"ulimit -t: each process will be killed after {seconds:.0f} s of CPU time; lift that limit", 0)


def _finite(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else float(limit)
