"""Door 2, private: a task comes in from the queue, and is answered when it may be forgotten.

    POST /task     the queue         200  done, or carried by another task       403  not who may call this path
    POST /sweep    the scheduler     500  could not be done, or handed on: try again
    POST /smoke    the queue         (never 429 or 503, which throttle the whole queue)
    GET  /health   anybody

SIGTERM cancels the turns at work; each hands over, and the process ends when they have.
"""

import asyncio
import functools
import logging
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from policy import policy
from spool import logs
from spool.errors import Ambiguous, BadInput, Misconfigured, NotHandedOn, SpoolError
from spool.google.logs import OWN, Place, configure, secrets_in, traceparent
from spool.local.children import children_die_too
from spool.local.token import is_queue
from spool.ports import Conversations, Tasks, Transcripts
from spool.settings import CALLERS, QUEUE, STORES, TARGET, Google, Settings, inherited
from spool.slack.chat import SlackChat
from spool.slack.permalink import permalink
from spool.task import Attempt, Task
from spool.turn.running import Agents, Turns
from spool.turn.smoke import smoke
from spool.turn.sweep import sweep
from spool.turn.work import Ports

BODY_LIMIT = 1 << 20
"""Bytes of a request; the queue takes no larger task."""

NAME_LIMIT = 500
"""Characters of a task's name; Cloud Tasks gives no longer one."""

_NUMBER = re.compile(r"[0-9]{1,9}")

log = logging.getLogger("spool.worker")
try:
    settings = Settings.read(need=("SLACK_BOT_TOKEN",), google=STORES + QUEUE + TARGET + CALLERS)
except Misconfigured as e:
    sys.exit(f"spool: {e}")


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        return time.time()  # noqa: TID251 - the door owns the clock

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a backend gives the worker. Its libraries are loaded before the server forks; it connects at its first use.

    refusal: why a request with this Authorization header may not call this path; empty: it may. Raises `Ambiguous`.
    """

    tasks: Tasks
    transcripts: Transcripts
    conversations: Conversations
    refusal: Callable[[str, str], Awaitable[str]]


def _local() -> Outside:
    from spool.local.conversations import LocalConversations  # noqa: PLC0415 - a door loads the adapters of one backend only
    from spool.local.tasks import LocalTasks  # noqa: PLC0415
    from spool.local.transcripts import LocalTranscripts  # noqa: PLC0415

    async def refusal(authorization: str, path: str) -> str:
        del path  # the dispatcher is the scheduler, too
        return "" if is_queue(authorization, state_dir=settings.state_dir) else "not the dispatcher's token"

    return Outside(
        tasks=LocalTasks(settings.state_dir),
        transcripts=LocalTranscripts(settings.state_dir),
        conversations=LocalConversations(settings.state_dir),
        refusal=refusal,
    )


def _google(at: Google) -> Outside:
    from spool.google.conversations import GoogleConversations  # noqa: PLC0415
    from spool.google.identity import Identity, Keys  # noqa: PLC0415
    from spool.google.tasks import GoogleTasks  # noqa: PLC0415
    from spool.google.transcripts import GoogleTranscripts  # noqa: PLC0415

    identity = Identity(
        keys=Keys(at.issuer),
        issuer=at.issuer,
        audience=at.audience,
        accounts={"/task": at.tasks_account, "/smoke": at.tasks_account, "/sweep": at.scheduler_account},
        behind_iam=bool(settings.service),
    )
    return Outside(
        tasks=GoogleTasks(
            project=at.project,
            location=at.location,
            queue=at.queue,
            worker_url=at.worker_url,
            audience=at.audience,
            service_account=at.tasks_account,
            emulator=at.tasks_emulator,
        ),
        transcripts=GoogleTranscripts(project=at.project, bucket=at.bucket, emulator=at.storage_emulator),
        conversations=GoogleConversations(project=at.project, database=at.database, emulator=at.firestore_emulator),
        refusal=identity.refusal,
    )


def _write_logs() -> None:
    """Plain lines on this machine, JSON on Google Cloud. The user's agent logs under its own name, and may."""
    if not settings.google:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
        return
    configure(
        Place(
            project=settings.google.project,
            service=settings.service or "spool-worker",
            version=settings.revision,
            own=(*OWN, settings.agent.partition(":")[0].partition(".")[0]),
            content=settings.log_content,
            secrets=secrets_in(inherited({}), policy.secrets),
        )
    )


_write_logs()
agents = Agents(settings.agent, model=settings.model)
try:
    agents()  # before the server forks: a worker process that takes over must be there at once
except Misconfigured as e:
    log.error("%s; messages wait until it is mended", e, extra={"event": "misconfigured"})  # noqa: TRY400 - the sentence names the line
outside = _google(settings.google) if settings.google else _local()
children_die_too()


@functools.cache
def chat() -> SlackChat:
    return SlackChat(token=settings.bot_token, api_url=settings.slack_api_url, unfurl=policy.unfurl)


@functools.cache
def ports() -> Ports:
    """Everything outside, made at the first request: connections belong to this process and its loop."""
    turns.hear_sigterm()
    return Ports(
        tasks=outside.tasks,
        transcripts=outside.transcripts,
        conversations=outside.conversations,
        chat=chat(),
        clock=SystemClock(),
        ids=lambda: uuid.uuid4().hex,  # noqa: TID251 - the door owns the names
        agent=agents,
        policy=policy,
        revision=settings.revision,
    )


turns = Turns(ports)


@functions_framework.aio.http
async def worker(request: Request) -> Response:
    path = request.scope["path"]  # not the URL's: a stranger's Host header is part of that
    if (request.method, path) == ("GET", "/health"):
        return Response(f"ok {settings.revision}".strip())
    route = ROUTES.get(path) if request.method == "POST" else None
    if route is None:
        return Response(status_code=404)
    attempt = _attempt(request.headers)
    with logs.about(task=attempt.name, attempt=attempt.retry, trace=traceparent(request.headers)):
        try:
            return await _admitted(request, attempt, route)
        except Exception as e:  # the server would print it with words that nobody may see
            log.exception("500: an unexpected error", extra={"event": "crashed", "error": type(e).__name__})
            return Response(status_code=500)


async def _admitted(request: Request, attempt: Attempt, route: "Route") -> Response:
    """The answer to whoever may call. Nothing of a stranger's request is read but this header."""
    path = request.scope["path"]
    try:
        why = await outside.refusal(request.headers.get("authorization", ""), path)
    except Ambiguous as e:  # not a 403: it may be the queue, and an operator must see that this is our trouble
        return _failed("unverified", "nobody can say who is calling", e)
    if why:
        log.warning("403: a request to %s: %s", path, why, extra={"event": "forbidden", "status": 403})
        return Response(status_code=403)
    return await route(request, attempt)


async def _task(request: Request, attempt: Attempt) -> Response:
    try:
        task = Task.decode(await _body(request.stream()))
    except BadInput as e:
        return _failed("unreadable_task", "the queue keeps a task that this version cannot read", e)
    _name(task)
    try:
        await turns.work(task, attempt)
    except NotHandedOn as e:
        return _failed("not_handed_on", "the queue keeps the task", e)
    return Response()


async def _sweep(request: Request, attempt: Attempt) -> Response:
    del request, attempt
    try:
        made = await sweep(ports=ports())
    except SpoolError as e:
        return _failed("sweep_failed", "the next minute's sweep tries again", e)
    if made:
        log.info("swept: %d conversation(s) go on", made, extra={"event": "swept", "count": made})
    return JSONResponse({"resumed": made})


async def _smoke(request: Request, attempt: Attempt) -> Response:
    del request, attempt
    try:
        await smoke(ports=ports(), who=chat().who)
    except SpoolError as e:
        return _failed("smoke_failed", "this deployment cannot answer", e)
    return Response()


Route = Callable[[Request, Attempt], Awaitable[Response]]
ROUTES: Mapping[str, Route] = {"/task": _task, "/sweep": _sweep, "/smoke": _smoke}


def _failed(event: str, text: str, error: SpoolError) -> Response:
    extra = {"event": event, "error": type(error).__name__, "status": 500}
    log.error("500: %s: %s", text, error, extra=extra)
    return Response(status_code=500)


async def _body(chunks: AsyncIterator[bytes]) -> bytes:
    """Raises `BadInput` as soon as it is over the limit."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > BODY_LIMIT:
            msg = f"a task has at most {BODY_LIMIT} bytes"
            raise BadInput(msg)
    return bytes(body)


def _name(task: Task) -> None:
    """Whose message it is, on every line from here on; its trace began at the ingress."""
    key = task.conversation
    said = task.envelope
    link = permalink(key.channel, said.ts if said else key.thread_ts, thread_ts=key.thread_ts)
    about = {"conversation": str(key), "key": said.key if said else "", "permalink": link, "kind": task.kind, "hop": task.hop}
    logs.add(**about, **({"trace": task.trace} if task.trace else {}))


def _attempt(headers: Mapping[str, str]) -> Attempt:
    """Which attempt of which task, as the queue says."""
    retry = headers.get("x-cloudtasks-taskretrycount", "0")
    name = headers.get("x-cloudtasks-taskname", "")[:NAME_LIMIT]
    return Attempt(name=name, retry=int(retry) if _NUMBER.fullmatch(retry) else 0)
