"""What each of several processes does that start at once. A module of its own: they load it, and nothing heavy with it."""

from multiprocessing.synchronize import Barrier
from pathlib import Path

from spool.local.address import worker_port
from spool.local.queue import Queue

ROUNDS = 30


def start_rounds(parent: Path, together: Barrier) -> None:
    """Begin each round at the same instant as the others, in a directory that nobody has made yet."""
    for n in range(ROUNDS):
        queue = Queue(parent / str(n), synchronous="NORMAL")
        together.wait(30)
        queue.add(b"%d" % worker_port(parent / str(n)), due=1.0)
        queue.close()
