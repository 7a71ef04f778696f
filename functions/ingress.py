"""Door 1, public: Slack's requests come in, are verified and classified, and 200 is said once the task is durable.

    POST /slack/events         the Events API; POST / is the same address
    POST /slack/commands       slash commands, verified and not answered yet
    POST /slack/interactions   buttons, modals and shortcuts, verified and not answered yet
    GET  /health

    200  taken, or nothing to do        401  not signed by Slack        413  too large
    503  not taken: Slack sends it again, at once, after a minute and after five (https://docs.slack.dev/apis/events-api)

Nothing is remembered here, and a retry is as good as a first try: whether a message was answered is the worker's to know.
Cold starts count against Slack's three seconds, so nothing heavy may be imported here: tests/doors/test_ingress.py.
"""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import functions_framework.aio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from policy import policy
from spool import logs
from spool.envelope import Envelope
from spool.errors import BadInput, Misconfigured, Refused, SpoolError
from spool.google.logs import Place, configure, secrets_in, traceparent
from spool.local.children import children_die_too
from spool.policy import Policy
from spool.settings import QUEUE, TARGET, Settings, inherited
from spool.slack import events, signature
from spool.slack.permalink import permalink
from spool.task import Task

if TYPE_CHECKING:
    from spool.ports import Tasks  # the ports know transcripts, and those pydantic: too heavy for this door

PATIENCE = 2.0
"""Seconds from a request's arrival until it is answered, whatever hangs; Slack itself waits three."""

BODY_LIMIT = 1 << 20
"""Bytes of a request; Slack's own stay far below."""

_TRACE_LIMIT = 128
_FORM = "application/x-www-form-urlencoded"
_METHODS: Mapping[str, tuple[str, ...]] = {
    "/": ("POST",),
    "/slack/events": ("POST",),
    "/slack/commands": ("POST",),
    "/slack/interactions": ("POST",),
    "/health": ("GET", "HEAD"),
}
_log = logging.getLogger("spool.ingress")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What answering needs; the queue opens at its first use, for the server forks after this module was loaded.

    revision: which deployment this is; GET /health names it.
    """

    secrets: tuple[str, ...]
    policy: Policy
    tasks: "Tasks"
    now: Callable[[], float]
    patience: float = PATIENCE
    revision: str = ""

    async def answer(self, method: str, path: str, headers: Mapping[str, str], chunks: AsyncIterable[bytes]) -> Response:
        """The response to one request, within `patience` seconds; `headers` are named in lower case."""
        methods = _METHODS.get(path)
        if methods is None:
            return Response(status_code=404)
        if method not in methods:
            return Response(status_code=405, headers={"allow": ", ".join(methods)})
        if path == "/health":
            return Response(f"ok {self.revision}".strip())
        now = self.now()
        with logs.about(trace=traceparent(headers)[:_TRACE_LIMIT]):
            try:
                async with asyncio.timeout(self.patience):
                    return await self._take(path, headers, chunks, now=now)
            except ClientDisconnect:
                return Response(status_code=503)
            except Exception as e:  # noqa: BLE001 - of whatever kind: the message is not in the queue, and only Slack still has it
                return self._not_taken(e, now=now)

    def _not_taken(self, error: Exception, *, now: float) -> Response:
        known = isinstance(error, SpoolError | TimeoutError)
        fields = {"event": "not_queued", "error": type(error).__name__, "latency_ms": self._ms_since(now), "status": 503}
        why = str(error) if isinstance(error, SpoolError) else type(error).__name__  # whose words may quote the message
        if isinstance(error, TimeoutError):
            why = f"no answer within {self.patience} seconds"
        _log.error("503: not queued, Slack will send it again: %s", why, exc_info=None if known else error, extra=fields)
        return Response(status_code=503)

    def _ms_since(self, then: float) -> float:
        return round(1000 * (self.now() - then), 1)

    async def _take(self, path: str, headers: Mapping[str, str], chunks: AsyncIterable[bytes], *, now: float) -> Response:
        body = await _bytes(chunks)
        if body is None:
            return Response(status_code=413)
        stamp, signed = headers.get("x-slack-request-timestamp"), headers.get("x-slack-signature")
        if not signature.verify(self.secrets, body, timestamp=stamp, signature=signed, now=now):
            text = "401: not signed by Slack in the last five minutes, or SLACK_SIGNING_SECRET is another app's"
            _log.warning(text, extra={"event": "unsigned", "status": 401})
            return Response(status_code=401)
        if path in ("/slack/commands", "/slack/interactions") or headers.get("content-type", "").startswith(_FORM):
            _log.debug("ignored: commands and interactions are not answered yet")
            return Response()
        return await self._event(body, now=now)

    async def _event(self, body: bytes, *, now: float) -> Response:
        try:
            found = events.read(body, policy=self.policy)
        except BadInput as e:
            _log.warning("200, but not usable: %s", e, extra={"event": "unusable"})
            return Response()
        if isinstance(found, events.Challenge):
            return JSONResponse({"challenge": found.challenge})
        if isinstance(found, events.Ignored):
            _log.debug("ignored: %s", found.reason)
            return Response()
        return await self._enqueue(found, now=now)

    async def _enqueue(self, envelope: Envelope, *, now: float) -> Response:
        """The one call to the outside. What the queue refuses for good, Slack's sending it again would not mend."""
        key = envelope.conversation
        link = permalink(key.channel, envelope.ts, thread_ts=key.thread_ts)
        logs.add(conversation=str(key), key=envelope.key, permalink=link)
        try:
            await self.tasks.create(Task.of(envelope, first_seen=now, trace=logs.current()["trace"]))
        except Refused as e:
            text = "200, but %s is refused for good and will not be answered: %s"
            _log.error(text, envelope.key, e, extra={"event": "refused"})
        else:
            _log.info("acked %s", envelope.key, extra={"event": "acked", "latency_ms": self._ms_since(now)})
        return Response()


async def _bytes(chunks: AsyncIterable[bytes]) -> bytes | None:
    """The whole body, or None as soon as it is over the limit: a stranger may send what fits into no memory."""
    parts: list[bytes] = []
    room = BODY_LIMIT
    async for chunk in chunks:
        room -= len(chunk)
        if room < 0:
            return None
        parts.append(chunk)
    return b"".join(parts)


def _tasks(settings: Settings) -> "Tasks":
    """The queue of the chosen backend. Its library is loaded now, before the server forks; it connects at its first use."""
    if at := settings.google:
        from spool.google.tasks import GoogleTasks  # noqa: PLC0415 - a door loads the adapters of one backend only

        return GoogleTasks(
            project=at.project,
            location=at.location,
            queue=at.queue,
            worker_url=at.worker_url,
            audience=at.audience,
            service_account=at.tasks_account,
            emulator=at.tasks_emulator,
            timeout=PATIENCE - 0.2,  # below the door's own: the error then says what hung
        )
    from spool.local.tasks import LocalTasks  # noqa: PLC0415

    return LocalTasks(settings.state_dir, timeout=PATIENCE / 2 - 0.1)  # to open the file, and to write: both fit in


try:
    _settings = Settings.read(need=("SLACK_SIGNING_SECRET",), google=QUEUE + TARGET)
except Misconfigured as e:
    sys.exit(f"spool: {e}")
if _settings.google:
    configure(
        Place(
            project=_settings.google.project,
            service=_settings.service or "spool-ingress",
            version=_settings.revision,
            content=_settings.log_content,
            secrets=secrets_in(inherited({})),
        )
    )
children_die_too()
_door = Door(
    secrets=_settings.signing_secrets,
    policy=policy,
    tasks=_tasks(_settings),
    now=time.time,  # noqa: TID251 - a door's clock
    revision=_settings.revision,
)


@functions_framework.aio.http
async def ingress(request: Request) -> Response:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
    return await _door.answer(request.method, request.scope["path"], headers, request.stream())
