"""Asking again, where asking twice does no harm."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from spool.errors import Ambiguous, Throttled
from spool.ports import Clock
from spool.turn.signals import HandOver

T = TypeVar("T")
LONGEST_WAIT = 60.0
"""Seconds. What asks us to wait longer is trouble: a successor comes back for it."""


async def persist(call: Callable[[], Awaitable[T]], *, clock: Clock, tries: int = 4) -> T:
    """The answer of an idempotent call, repeated while it is ambiguous: after 0.5, 1, 2, … seconds, or when the other side
    said. Raises `HandOver` when patience ends; lets every clear answer through."""
    last: Ambiguous | None = None
    for n in range(tries):
        try:
            return await call()
        except Ambiguous as e:
            last = e
            await clock.sleep(pause(e, n))
    msg = f"no clear answer in {tries} tries: {last}"
    raise HandOver(msg)


def pause(error: Ambiguous, n: int) -> float:
    """Seconds to wait before try `n + 1`."""
    return min(error.after, LONGEST_WAIT) if isinstance(error, Throttled) else 0.5 * 2**n


def is_cancelled() -> bool:
    """Whether somebody cancelled me, at a `CancelledError`: code of others may raise one of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
