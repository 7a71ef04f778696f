"""One real task to a deployment that has no traffic yet: the way of every message, with nothing to show in Slack.

The queue calls `{worker_url}/smoke` as it calls `/task`, with a token of the same service account, until the answer is 200;
then it forgets the task, and that is the proof. Least rights: create, look at, and take away again a task of this queue.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksRestTransport
from google.protobuf.duration_pb2 import Duration

from spool.google import trouble

DEADLINE = 60
"""Seconds of one attempt: a cold start, and six calls to the outside."""

TIMEOUT = 20.0
LOOK = 1.0
"""Seconds between two looks at the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the task. said: the last attempt's answer in the queue's words, empty where there was none."""

    answered: bool
    attempts: int = 0
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """Whom the queue calls, and as whom; the words are those of the settings. emulator: host:port, or empty."""

    project: str
    location: str
    queue: str
    worker_url: str
    audience: str
    service_account: str
    emulator: str = ""

    def run(self, *, looks: int, sleep: Callable[[float], None]) -> Outcome:
        """Create the task and look `looks` times, a second apart, whether it was answered with 200; if not, take it away.

        Raises `Ambiguous` where the queue itself cannot be used.
        """
        parent = f"projects/{self.project}/locations/{self.location}/queues/{self.queue}"
        try:
            with self._client() as client:
                task = client.create_task(parent=parent, task=self._task(), timeout=TIMEOUT)
                return _watch(client, task, looks=looks, sleep=sleep)
        except trouble.CALL as e:
            raise trouble.meaning(
                e,
                what=f"the queue {parent}",
                missing="make it with infra/, or mend GOOGLE_CLOUD_PROJECT, SPOOL_LOCATION or SPOOL_QUEUE",
                denied=f"grant enqueuer, viewer and taskDeleter on the queue and serviceAccountUser on {self.service_account}",
            ) from e

    def _task(self) -> tasks_v2.Task:
        token = tasks_v2.OidcToken(service_account_email=self.service_account, audience=self.audience)
        request = tasks_v2.HttpRequest(
            url=f"{self.worker_url}/smoke", http_method=tasks_v2.HttpMethod.POST, body=b"{}", oidc_token=token
        )
        return tasks_v2.Task(http_request=request, dispatch_deadline=Duration(seconds=DEADLINE))

    def _client(self) -> Any:
        if not self.emulator:
            return tasks_v2.CloudTasksClient()
        transport = CloudTasksRestTransport(host=self.emulator, url_scheme="http", credentials=AnonymousCredentials())
        return tasks_v2.CloudTasksClient(transport=transport)


def _watch(client: Any, task: tasks_v2.Task, *, looks: int, sleep: Callable[[float], None]) -> Outcome:
    seen = task
    for _ in range(looks):
        sleep(LOOK)
        try:
            seen = client.get_task(name=task.name, timeout=TIMEOUT)
        except exceptions.NotFound:
            return Outcome(answered=True, attempts=seen.dispatch_count)
    with contextlib.suppress(exceptions.NotFound):
        client.delete_task(name=task.name, timeout=TIMEOUT)
    return Outcome(answered=False, attempts=seen.dispatch_count, said=seen.last_attempt.response_status.message)
