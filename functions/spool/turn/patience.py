"""Asking again, where asking twice does no harm."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

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


class Patience:
    """Seconds for one side that may not answer: for all calls to it together, and for each of them.

    left: how many there still are. A process that stood still meanwhile has not waited.
    """

    def __init__(self, seconds: float, *, each: float) -> None:
        self.left, self._each = seconds, each

    async def answer(self, call: Coroutine[Any, Any, T]) -> T:
        """How the call ends. Raises `Ambiguous` when patience does first: the call is cut off, and may have had its effect."""
        loop, limit = asyncio.get_running_loop(), min(self.left, self._each)
        began, asked = loop.time(), asyncio.ensure_future(call)
        try:
            await asyncio.wait({asked}, timeout=limit)
            if not asked.done():
                msg = "no answer in time"
                raise Ambiguous(msg)
            return asked.result()
        finally:
            asked.cancel()
            self.left -= min(limit, loop.time() - began)

    async def rest(self, seconds: float, *, clock: Clock) -> None:
        """Wait before the next try, not longer than patience lasts."""
        seconds = min(seconds, self.left)
        await clock.sleep(seconds)
        self.left -= seconds


def pause(error: Ambiguous, n: int) -> float:
    """Seconds to wait before try `n + 1`."""
    return min(error.after, LONGEST_WAIT) if isinstance(error, Throttled) else 0.5 * 2**n


def is_cancelled() -> bool:
    """Whether somebody cancelled me, at a `CancelledError`: code of others may raise one of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
