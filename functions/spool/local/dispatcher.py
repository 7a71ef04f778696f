"""Carries tasks from queue.db to the worker, as Cloud Tasks does: at least once, 2xx or again.

    queue.db ──claim──► POST /task ──2xx──► ack
        ▲                  │
        └──retry, later────┘ anything else, a lost connection, the deadline

It is the scheduler, too: a POST /sweep each minute, whatever comes of it.

An attempt is counted in the file before its request leaves, and nothing else is written until its end is known: this process
may be killed at any instant. One dispatcher works on a state directory; a second one waits for the first to end.

New tasks come from other processes. They are noticed by asking SQLite every few milliseconds whether anybody wrote, which
reads no file; the table itself is looked at only after a yes, when a delivery ends, and when the next task is due.
"""

import asyncio
import errno
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from spool.errors import Ambiguous
from spool.local.lock import Lock
from spool.local.queue import Backoff, Dispatch, Queue

POLL = 0.01
"""Seconds between two looks for new tasks: half of it is what a task waits on average; costs about 1 % of a core."""

_WAIT = 0.05
_TROUBLE_PAUSE = 1.0
SWEEP = 60.0
"""Seconds between two sweeps, and what one may take."""

_OK = range(200, 300)
_BACK_OFF = (429, 503)
_NO_ANSWER = 504
"""What Cloud Tasks reports of an attempt without an answer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What became of an attempt. after: seconds the worker asks to wait. reached: whether anybody listened."""

    status: int
    after: float = 0.0
    reached: bool = True


class Dispatcher:
    """Delivers the tasks of `state_dir` to `worker_url`, for as long as `run` runs.

    token: proves this queue to the worker, as `Authorization: Bearer`.
    concurrency: tasks in flight at once. deadline: seconds that one attempt may take.
    A worker that answers 429 or 503 is left alone altogether, as long as a task's own backoff or its Retry-After says.
    Where nobody listens, all tasks wait for the port to open, and then go at once.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        worker_url: str,
        token: str,
        queue_name: str = "spool",
        concurrency: int = 8,
        deadline: float = 1800.0,
        backoff: Backoff = Backoff(),  # noqa: B008 - a frozen value
        now: Callable[[], float] = time.time,  # noqa: TID251 - this adapter owns the clock
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._queue = Queue(state_dir, synchronous="NORMAL")
        self._lock = Lock(state_dir / "dispatcher.lock")
        self._state_dir = state_dir
        self._worker_url = worker_url.rstrip("/")
        self._fixed = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "User-Agent": "Google-Cloud-Tasks",
            "X-CloudTasks-QueueName": queue_name,
        }
        self._concurrency = concurrency
        self._deadline = deadline
        self._backoff = backoff
        self._now = now
        self._sleep = sleep
        self._running: set[str] = set()
        self._look_again = True
        self._reachable = False
        self._held_until = 0.0
        self._holds = 0
        self._next_sweep = 0.0

    async def run(self) -> None:
        """Until cancelled; attempts in flight are then cut, and due again at the next start."""
        self._state_dir.mkdir(parents=True, exist_ok=True)
        while not self._lock.take():
            await self._sleep(_WAIT)
        try:
            # A connection that the worker closes while it idles would look like a failed attempt: one for each task.
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            timeout = aiohttp.ClientTimeout(total=self._deadline)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
                asyncio.TaskGroup() as group,
            ):
                await self._forever(session, group)
        finally:
            self._queue.close()
            self._lock.give()

    async def _forever(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> None:
        next_due: float | None = None
        self._next_sweep = self._now() + SWEEP  # who hangs has run that long; whoever died before is known to the queue
        while True:
            if not self._reachable:
                await self._worker_listens()
            try:
                if self._queue.changed() or self._look_again or (next_due is not None and next_due <= self._now()):
                    next_due = self._start_what_is_due(session, group)
            except Ambiguous:
                _log.exception("the queue cannot be read; the next try is in %s s", _TROUBLE_PAUSE)
                self._look_again = True
                await self._sleep(_TROUBLE_PAUSE)
            if self._next_sweep <= self._now():
                self._next_sweep = self._now() + SWEEP
                group.create_task(self._sweep(session))
            await self._sleep(POLL)

    async def _worker_listens(self) -> None:
        """Return once the worker's port is open: an attempt before that would only count up."""
        url = urlsplit(self._worker_url)
        while not self._reachable:
            try:
                _, writer = await asyncio.open_connection(url.hostname, url.port or (443 if url.scheme == "https" else 80))
            except OSError:
                await self._sleep(_WAIT)
            else:
                writer.close()
                self._reachable = self._look_again = True

    def _start_what_is_due(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> float | None:
        """Dispatch as much as may be in flight; when to look again unasked, None while only an end or a newcomer matters."""
        now = self._now()
        if now < self._held_until:
            return self._held_until
        free = self._concurrency - len(self._running)
        for dispatch in self._queue.claim(now=now, limit=free, running=self._running) if free else ():
            self._running.add(dispatch.name)
            group.create_task(self._deliver(session, dispatch))
        self._look_again = False
        return self._queue.next_due(running=self._running) if len(self._running) < self._concurrency else None

    async def _deliver(self, session: aiohttp.ClientSession, dispatch: Dispatch) -> None:
        try:
            self._settle(dispatch, await self._post(session, dispatch))
        except Ambiguous:
            # Still due in the file: it is delivered again, which the worker knows how to take.
            _log.exception("task %s: how its attempt ended could not be stored", dispatch.name)
        finally:
            self._running.discard(dispatch.name)
            self._look_again = True

    async def _post(self, session: aiohttp.ClientSession, dispatch: Dispatch) -> _Answer:
        url = f"{self._worker_url}/task"
        headers = self._fixed | task_headers(dispatch)
        try:
            async with session.post(url, data=dispatch.body, headers=headers, allow_redirects=False) as response:
                await response.read()
                return _Answer(status=response.status, after=seconds(response.headers.get("Retry-After", "")))
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            _log.warning("task %s, retry %d: no answer: %r", dispatch.name, dispatch.retry, e)
            return _Answer(status=_NO_ANSWER, reached=getattr(e, "errno", None) != errno.ECONNREFUSED)

    async def _sweep(self, session: aiohttp.ClientSession) -> None:
        """Whatever becomes of it: there is a next one."""
        url, timeout = f"{self._worker_url}/sweep", aiohttp.ClientTimeout(total=SWEEP)
        try:
            async with session.post(url, headers=self._fixed, timeout=timeout, allow_redirects=False) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            _log.debug("sweep: no answer: %r", e)

    def _settle(self, dispatch: Dispatch, answer: _Answer) -> None:
        """Write down how an attempt ended."""
        if answer.status in _OK:
            self._holds = 0
            self._queue.ack(dispatch.name)
            return
        if not answer.reached:
            self._reachable = False
            return
        wait = max(self._backoff.after(dispatch.retry + 1), min(answer.after, self._backoff.maximum))
        if answer.status in _BACK_OFF:
            self._hold(answer.after)
        _log.warning("task %s, retry %d: %d, again in %.1f s", dispatch.name, dispatch.retry, answer.status, wait)
        self._queue.retry(dispatch.name, due=self._now() + wait, status=answer.status)

    def _hold(self, after: float) -> None:
        """Leave the worker alone; the longer, the more often in a row it asked for it."""
        self._holds += 1
        wait = max(self._backoff.after(self._holds), min(after, self._backoff.maximum))
        self._held_until = max(self._held_until, self._now() + wait)


def task_headers(dispatch: Dispatch) -> dict[str, str]:
    """What Cloud Tasks tells of an attempt (cloud.google.com/tasks/docs/creating-http-target-tasks, "Task request headers")."""
    headers = {
        "X-CloudTasks-TaskName": dispatch.name,
        "X-CloudTasks-TaskRetryCount": str(dispatch.retry),
        "X-CloudTasks-TaskExecutionCount": str(dispatch.executions),
        "X-CloudTasks-TaskETA": f"{dispatch.due:.6f}",
    }
    if dispatch.previous is not None:
        headers["X-CloudTasks-TaskPreviousResponse"] = str(dispatch.previous)
    return headers


def seconds(text: str) -> float:
    """A Retry-After in seconds; a date, or nonsense, asks for nothing."""
    return float(text) if text.isascii() and text.isdigit() else 0.0
