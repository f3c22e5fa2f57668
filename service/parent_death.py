"""Children that do not outlive their parent: `die_with_parent(argv)` is `argv`, bound to the life of this process.

On Linux the kernel sees to it (`PR_SET_PDEATHSIG`): it works for any program and after `kill -9` of the
parent, and costs one start of the interpreter. The tie is to the thread that starts the child, so
children are started from the main thread. On other systems `argv` comes back as it is, and a child may
outlive a parent that was killed.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(argv: Sequence[str], when_parent_dies: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return the command that runs `argv` in its own place and sends it a signal when this process ends."""
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(when_parent_dies)), *argv]


def end_with(parent: int, when_parent_dies: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent ends (Linux only)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, when_parent_dies)
    if os.getppid() != parent:  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> bool:
    """Have the kernel make this process the parent of what its children leave behind; return whether it does."""
    return int(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0


def _become(parent: int, when_parent_dies: int, argv: list[str]) -> None:
    end_with(parent, when_parent_dies)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - to become the program is the point
    except OSError as error:
        sys.exit(f"cannot start {argv[0]}: {error.strerror}")


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
