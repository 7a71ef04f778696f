"""The queue on this machine, as the ingress and the worker see it: `spool.ports.Tasks`.

Light: part of the ingress' cold start, so neither ports nor transcripts are imported here.
"""

import time
from collections.abc import Callable
from pathlib import Path

from spool.errors import Refused
from spool.local.database import TIMEOUT
from spool.local.queue import Queue
from spool.task import Task

LIMIT = 1_000_000
"""Bytes of a body; Cloud Tasks takes 1 MB with everything around it."""


class LocalTasks:
    """Tasks in queue.db, delivered by `spool.local.dispatcher`. timeout: seconds that another process's write may take."""

    def __init__(
        self,
        state_dir: Path,
        *,
        now: Callable[[], float] = time.time,  # noqa: TID251 - this adapter owns the clock
        timeout: float = TIMEOUT,
    ) -> None:
        self._queue = Queue(state_dir, timeout=timeout)
        self._now = now

    async def create(self, task: Task, *, delay: float = 0.0) -> None:
        body = task.encode()
        if len(body) > LIMIT:
            msg = f"a task of {len(body)} bytes is larger than the {LIMIT} that the queue takes"
            raise Refused(msg, reason="too_large")
        self._queue.add(body, due=self._now() + delay)

    def close(self) -> None:
        self._queue.close()
