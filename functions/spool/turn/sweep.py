"""Leases that ran out while nobody noticed: a killed worker's task comes again at once, a hanging one's only at its deadline.

    lease 60 s  +  30 s  +  up to a minute until the next sweep  =  a hang costs two and a half minutes, not thirty

Not needed for safety, and any sweep may come twice: of two tasks the first to be admitted takes the lease over, which counts
as a take-over of the turn, and the other finds its message answered. Nothing is remembered between two sweeps: where the
queue stands still, each adds a task, until the lease is taken away after an hour; each of them costs one read in the end.
"""

import logging
from contextlib import suppress
from dataclasses import replace

from spool.conversation import Document
from spool.envelope import ConversationKey
from spool.errors import Conflict, Refused
from spool.task import Task
from spool.turn.work import Ports

log = logging.getLogger(__name__)
OVERDUE = 30.0
"""Seconds after a lease ran out until its owner is taken for hanging: a heartbeat may be late."""

HOPELESS = 3600.0
"""Seconds after which a lease is just taken away: whoever could go on has been asked sixty times."""


async def sweep(*, ports: Ports, limit: int = 50) -> int:
    """Have at most `limit` conversations whose owner hangs gone on with; how many tasks were made.

    Such a task carries the oldest message that waits there, as old as it is: whoever takes it finds the rest in the document
    and the transcript. Raises `Ambiguous`; the next sweep tries again.
    """
    found = await ports.conversations.expired(seconds=OVERDUE, limit=limit)
    return sum([await _goes_on(key, document, ports) for key, document in found])


async def _goes_on(key: ConversationKey, document: Document, ports: Ports) -> bool:
    """Whether a task was made."""
    lease, about = document.lease, {"conversation": str(key), "event": "hang"}
    if lease and ports.clock.now() - (lease.at or 0.0) > lease.ttl_s + HOPELESS:
        await _take_away(key, ports)
        return False
    waiting = [e for e in document.inbox.values() if e.key not in document.answered]
    if not waiting:
        return False
    oldest = min(waiting, key=lambda e: e.ts)
    try:
        await ports.tasks.create(Task.of(oldest, first_seen=float(oldest.ts)))
    except Refused as e:
        log.error("%s: its owner hangs, and no task can be made: %s", key, e, extra=about)  # noqa: TRY400
        return False
    log.warning("%s: its owner hangs; a task goes on", key, extra=about)
    return True


async def _take_away(key: ConversationKey, ports: Ports) -> None:
    """The lease, but no message that waits; by the server's clock."""
    seen = await ports.conversations.read(key)
    if seen and seen.ran_out(HOPELESS):
        with suppress(Conflict):
            await ports.conversations.write(key, replace(seen.document, lease=None), token=seen.token)
