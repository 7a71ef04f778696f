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
import time
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import functions_framework.aio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from policy import policy
from spool.envelope import Envelope
from spool.errors import BadInput, Refused, SpoolError
from spool.local.children import children_die_too
from spool.policy import Policy
from spool.settings import Settings
from spool.slack import events, signature
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
    """What answering needs; the queue opens at its first use, for the server forks after this module was loaded."""

    secrets: tuple[str, ...]
    policy: Policy
    tasks: "Tasks"
    now: Callable[[], float]
    patience: float = PATIENCE

    async def answer(self, method: str, path: str, headers: Mapping[str, str], chunks: AsyncIterable[bytes]) -> Response:
        """The response to one request, within `patience` seconds; `headers` are named in lower case."""
        methods = _METHODS.get(path)
        if methods is None:
            return Response(status_code=404)
        if method not in methods:
            return Response(status_code=405, headers={"allow": ", ".join(methods)})
        if path == "/health":
            return Response("ok")
        try:
            async with asyncio.timeout(self.patience):
                return await self._take(path, headers, chunks)
        except ClientDisconnect:
            return Response(status_code=503)
        except Exception as e:  # noqa: BLE001 - of whatever kind: the message is not in the queue, and only Slack still has it
            bug = not isinstance(e, SpoolError | TimeoutError)
            _log.error("503: not queued, Slack will send it again: %r", e, exc_info=bug)
            return Response(status_code=503)

    async def _take(self, path: str, headers: Mapping[str, str], chunks: AsyncIterable[bytes]) -> Response:
        now = self.now()
        body = await _bytes(chunks)
        if body is None:
            return Response(status_code=413)
        stamp, signed = headers.get("x-slack-request-timestamp"), headers.get("x-slack-signature")
        if not signature.verify(self.secrets, body, timestamp=stamp, signature=signed, now=now):
            _log.warning("401: not signed by Slack in the last five minutes, or SLACK_SIGNING_SECRET is another app's")
            return Response(status_code=401)
        if path in ("/slack/commands", "/slack/interactions") or headers.get("content-type", "").startswith(_FORM):
            _log.debug("ignored: commands and interactions are not answered yet")
            return Response()
        return await self._event(body, trace=headers.get("traceparent", ""), now=now)

    async def _event(self, body: bytes, *, trace: str, now: float) -> Response:
        try:
            found = events.read(body, policy=self.policy)
        except BadInput as e:
            _log.warning("200, but not usable: %s", e)
            return Response()
        if isinstance(found, events.Challenge):
            return JSONResponse({"challenge": found.challenge})
        if isinstance(found, events.Ignored):
            _log.debug("ignored: %s", found.reason)
            return Response()
        return await self._enqueue(found, trace=trace, now=now)

    async def _enqueue(self, envelope: Envelope, *, trace: str, now: float) -> Response:
        """The one call to the outside. What the queue refuses for good, Slack's sending it again would not mend."""
        try:
            await self.tasks.create(Task.of(envelope, first_seen=now, trace=trace[:_TRACE_LIMIT]))
        except Refused as e:
            _log.error("200, but %s is refused for good and will not be answered: %s", envelope.key, e)
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
    """The queue of `settings.backend`, which is "local" so far."""
    from spool.local.tasks import LocalTasks  # noqa: PLC0415 - a door loads the adapters of one backend only

    return LocalTasks(settings.state_dir, timeout=PATIENCE / 2 - 0.1)  # to open the file, and to write: both fit in


_settings = Settings.read(need=("SLACK_SIGNING_SECRET",))
children_die_too()
_door = Door(secrets=_settings.signing_secrets, policy=policy, tasks=_tasks(_settings), now=time.time)  # noqa: TID251 - a door's clock


@functions_framework.aio.http
async def ingress(request: Request) -> Response:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
    return await _door.answer(request.method, request.scope["path"], headers, request.stream())
