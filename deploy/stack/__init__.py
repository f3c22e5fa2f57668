"""The observability stack as native processes, from the very files that docker-compose.yml mounts.

    with Stack(state_directory) as stack:
        stack.url("prometheus")   # http://127.x.y.z:9090
        stack.stop("jaeger")      # and start(), kill(), restart()

`python -m deploy.stack up` is the same for people, `python -m deploy.stack tools` builds the programs. Linux only: each
process gets an `/etc/hosts` of its own in a mount namespace, so that the names in the files resolve to loopback.
"""

from deploy.stack.run import Stack, StackError
from deploy.stack.tools import ToolMissing, build, find

__all__ = ["Stack", "StackError", "ToolMissing", "build", "find"]
