"""Processes that never outlive who started them, even when that is killed with SIGKILL.

gunicorn forks, and its master may be killed alone: its children would go on serving, and hold the port. So every process
asks the kernel for SIGKILL at its parent's death, again after each fork, which clears the wish.
"""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_LOOK = 0.2


def die_with_parent(parent: int) -> None:
    """Ask for the end of this process at the end of `parent`, its parent at the fork, which may have ended since.

    Where there is no prctl, a thread looks who the parent is.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def children_die_too() -> None:
    """The same for whatever this process, and its children, fork from now on."""
    forking = [os.getpid()]

    def before() -> None:
        forking[0] = os.getpid()

    os.register_at_fork(before=before, after_in_child=lambda: die_with_parent(forking[0]))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGKILL)
