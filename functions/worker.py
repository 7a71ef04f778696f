"""Door 2, private: a task comes in from the queue, and is answered when it may be forgotten.

    POST /task     200  answered, or carried by another task      403  not the queue
    GET  /health   500  could not even be handed on: try again    (never 429 or 503, which throttle the whole queue)

SIGTERM cancels the turns at work; each hands over, and the process ends when they have.
"""

import asyncio
import functools
import logging
import signal
import time
import uuid
from collections.abc import Callable
from types import FrameType
from typing import Any

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from policy import policy
from spool.agents import Loaded, load
from spool.errors import BadInput, Misconfigured, NotHandedOn
from spool.local.children import children_die_too
from spool.local.conversations import LocalConversations
from spool.local.tasks import LocalTasks
from spool.local.token import is_queue
from spool.local.transcripts import LocalTranscripts
from spool.settings import Settings
from spool.slack.chat import SlackChat
from spool.task import Attempt, Task
from spool.turn.take import take
from spool.turn.work import Ports

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
log = logging.getLogger("spool.worker")
settings = Settings.read(need=("SLACK_BOT_TOKEN",))


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        return time.time()  # noqa: TID251 - the door owns the clock

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Agents:
    """The user's agent: loaded once; while it is broken, tried again with every message."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None

    def __call__(self) -> Loaded:
        if self._loaded is None:
            self._loaded = load(settings.agent, model=settings.model)
            if self._loaded.notice:
                log.warning("%s", self._loaded.notice)
            if self._loaded.undeclared:
                log.info("tools that run at most once, because they declare nothing: %s", ", ".join(self._loaded.undeclared))
        return self._loaded


class Turns:
    """The turns at work in this process. Told to stop, it hands them over and begins no other."""

    def __init__(self) -> None:
        self._running = set[asyncio.Task[None]]()
        self._stopping = False

    async def work(self, task: Task, attempt: Attempt) -> None:
        """Until the task may be acked. Raises `NotHandedOn`."""
        if self._stopping:
            msg = "this process is ending: the queue finds the next one"
            raise NotHandedOn(msg)
        turn = asyncio.create_task(take(task, attempt, ports=ports()))
        self._running.add(turn)
        turn.add_done_callback(self._running.discard)
        await asyncio.wait({turn})
        turn.result()

    def stop(self) -> None:
        self._stopping = True
        for turn in self._running:
            turn.cancel()


turns = Turns()
agents = Agents()
try:
    agents()  # before the server forks: a worker process that takes over must be there at once
except Misconfigured as e:
    log.error("%s; messages wait until it is mended", e)  # noqa: TRY400 - the sentence names the line
children_die_too()


@functools.cache
def ports() -> Ports:
    """Everything outside, made at the first request: connections belong to this process and its loop."""
    _hear_sigterm(asyncio.get_running_loop())
    return Ports(
        tasks=LocalTasks(settings.state_dir),
        transcripts=LocalTranscripts(settings.state_dir),
        conversations=LocalConversations(settings.state_dir),
        chat=SlackChat(token=settings.bot_token, api_url=settings.slack_api_url, unfurl=policy.unfurl),
        clock=SystemClock(),
        ids=lambda: uuid.uuid4().hex,  # noqa: TID251 - the door owns the names
        agent=agents,
        policy=policy,
        revision=settings.revision,
    )


def _hear_sigterm(loop: asyncio.AbstractEventLoop) -> None:
    """Hand over first, then let the server do what it does at SIGTERM."""
    before: Any = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(turns.stop)
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, stop)


@functions_framework.aio.http
async def worker(request: Request) -> Response:
    routes: dict[tuple[str, str], Callable[[], Any]] = {
        ("POST", "/task"): lambda: _task(request),
        ("GET", "/health"): _health,
    }
    route = routes.get((request.method, request.url.path))
    return await route() if route else Response(status_code=404)


async def _health() -> Response:
    return Response(f"ok {settings.revision}".strip())


async def _task(request: Request) -> Response:
    if not is_queue(request.headers.get("authorization", ""), state_dir=settings.state_dir):
        log.warning("403: a request to /task that did not come from the queue")
        return Response(status_code=403)
    try:
        task, attempt = Task.decode(await request.body()), _attempt(request)
    except BadInput as e:
        log.error("500: the queue keeps a task that this version cannot read: %s", e)  # noqa: TRY400
        return Response(status_code=500)
    try:
        await turns.work(task, attempt)
    except NotHandedOn as e:
        log.error("500: %s", e)  # noqa: TRY400
        return Response(status_code=500)
    return Response()


def _attempt(request: Request) -> Attempt:
    """Which attempt of which task, as the queue says."""
    retry = request.headers.get("x-cloudtasks-taskretrycount", "0")
    name = request.headers.get("x-cloudtasks-taskname", "")
    return Attempt(name=name, retry=int(retry) if retry.isascii() and retry.isdigit() else 0)
