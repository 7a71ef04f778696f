"""The queue on Cloud Tasks, as the ingress and the worker see it: `spool.ports.Tasks`.

A task has no name of its own choice: one would be refused for hours after its task is gone, and the message lost. So an
answer that got lost may cost a second task of the same message, which is harmless.

Light: part of the ingress' cold start, so neither ports nor transcripts are imported here.
https://docs.cloud.google.com/tasks/docs/creating-http-target-tasks
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import grpc.aio
from google.api_core import exceptions
from google.auth.credentials import Credentials
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcAsyncIOTransport
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spool.errors import Refused
from spool.google import trouble
from spool.google.connection import Connection
from spool.task import Task

LIMIT = 1_000_000
"""Bytes of a body; Cloud Tasks takes 1 MB with everything around it."""

DISPATCH_DEADLINE = 1800
"""Seconds that one attempt may take: the longest that Cloud Tasks allows."""

_FIRST_SHARE = 0.6
"""Of the time for both tries: what the first may use up without an answer."""

_PAUSE = 0.1
_MAY_PASS = (
    TimeoutError,
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.Unknown,
    exceptions.Cancelled,
    exceptions.Aborted,
)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}(-[0-9a-f]{2,32}){3}")
_HOST = "cloudtasks.googleapis.com"


class GoogleTasks:
    """Tasks that Cloud Tasks posts to `{worker_url}/task`, with an OIDC token of `service_account` for `audience`.

    timeout: seconds that `create` takes at most, whatever hangs: credentials, connection and one retry are within it.
    """

    def __init__(
        self,
        *,
        project: str,
        location: str,
        queue: str,
        worker_url: str,
        audience: str,
        service_account: str,
        emulator: str = "",
        timeout: float = 10.0,
        now: Callable[[], float] = time.time,  # noqa: TID251 - this adapter owns the clock
    ) -> None:
        self._queue = f"projects/{project}/locations/{location}/queues/{queue}"
        self._url = f"{worker_url}/task"
        self._token = tasks_v2.OidcToken(service_account_email=service_account, audience=audience)
        self._timeout, self._now = timeout, now
        self._connection = Connection[Any](_HOST, emulator=emulator, make=_client)

    async def create(self, task: Task, *, delay: float = 0.0) -> None:
        body = task.encode()
        if len(body) > LIMIT:
            msg = f"a task of {len(body)} bytes is larger than the {LIMIT} that the queue takes"
            raise Refused(msg, reason="too_large")
        request = tasks_v2.CreateTaskRequest(parent=self._queue, task=self._task(body, trace=task.trace, delay=delay))
        try:
            await self._send(request)
        except trouble.CALL as e:
            raise self._meaning(e) from e

    async def close(self) -> None:
        await self._connection.close()

    def _task(self, body: bytes, *, trace: str, delay: float) -> tasks_v2.Task:
        headers = {"Content-Type": "application/json"}
        if _TRACEPARENT.fullmatch(trace):
            headers["traceparent"] = trace
        return tasks_v2.Task(
            http_request=tasks_v2.HttpRequest(
                url=self._url, http_method=tasks_v2.HttpMethod.POST, headers=headers, body=body, oidc_token=self._token
            ),
            dispatch_deadline=Duration(seconds=DISPATCH_DEADLINE),
            schedule_time=_timestamp(self._now() + delay) if delay > 0 else None,
        )

    async def _send(self, request: tasks_v2.CreateTaskRequest) -> None:
        """Create it; once more, over a new connection, when the first try has no answer."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._timeout

        async def send(seconds: float) -> None:
            await self._connection.call(lambda c: c.create_task(request, timeout=seconds, retry=None), timeout=seconds)

        try:
            await send(self._timeout * _FIRST_SHARE)
        except _MAY_PASS:
            await asyncio.sleep(_PAUSE)
            await send(end - clock())

    def _meaning(self, error: Exception) -> Exception:
        """Only the size comes from outside: whatever else is invalid is a setting, and mending it loses no message."""
        if isinstance(error, exceptions.InvalidArgument) and "too large" in str(error):
            return Refused(f"the queue will never take this task: {trouble.said(error)}", reason="too_large")
        account = self._token.service_account_email
        return trouble.meaning(
            error,
            what=f"the queue {self._queue}",
            missing="make it with infra/, or mend GOOGLE_CLOUD_PROJECT, SPOOL_LOCATION or SPOOL_QUEUE",
            denied=f"grant roles/cloudtasks.enqueuer on the queue and roles/iam.serviceAccountUser on {account}",
        )


def _client(channel: grpc.aio.Channel, _: Credentials) -> Any:
    return tasks_v2.CloudTasksAsyncClient(transport=CloudTasksGrpcAsyncIOTransport(channel=channel))


def _timestamp(seconds: float) -> Timestamp:
    whole = int(seconds)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))
