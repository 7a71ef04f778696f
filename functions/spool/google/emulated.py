"""What Google Cloud has made before Spool starts, made in its emulators: the bucket, the queue, and the scheduler's calls.

Nothing here is for Google Cloud itself: there Terraform makes all this (infra/).

The clients speak HTTP: this runs beside code that forks, which gRPC's threads do not bear.
"""

import contextlib
from collections.abc import Generator
from typing import Any

from google.api_core.exceptions import Conflict, GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import tasks_v2
from google.cloud.storage import Client  # pyright: ignore[reportMissingTypeStubs] - it is typed in part only
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksRestTransport
from google.protobuf.duration_pb2 import Duration

from spool.errors import Ambiguous

TIMEOUT = 10.0
CONCURRENCY = 8
"""Tasks in flight at once: one worker process takes them, as behind the dispatcher of `spool.local`."""


def make_bucket(*, project: str, bucket: str, emulator: str) -> None:
    """Make the bucket if it is missing. emulator: the storage emulator's URL."""
    client: Any = Client(project=project, credentials=AnonymousCredentials(), client_options={"api_endpoint": emulator})
    with contextlib.closing(client), _translated("storage", emulator), contextlib.suppress(Conflict):
        client.create_bucket(bucket, timeout=TIMEOUT, retry=None)


def make_queue(*, project: str, location: str, queue: str, emulator: str) -> None:
    """Make the queue if it is missing, with the product's retries. emulator: the tasks emulator's host:port."""
    parent = f"projects/{project}/locations/{location}"
    with _queues(emulator) as client, contextlib.suppress(Conflict):
        client.create_queue(parent=parent, queue=_queue(f"{parent}/queues/{queue}"), timeout=TIMEOUT)


def call_sweep(
    *, project: str, location: str, queue: str, emulator: str, worker_url: str, audience: str, service_account: str
) -> None:
    """Have the worker's POST /sweep called once, as the scheduler does each minute; the scheduler itself has no emulator."""
    request = tasks_v2.HttpRequest(
        url=f"{worker_url}/sweep",
        http_method=tasks_v2.HttpMethod.POST,
        oidc_token=tasks_v2.OidcToken(service_account_email=service_account, audience=audience),
    )
    once = tasks_v2.RetryConfig(max_attempts=1)  # the next one comes in a minute
    task = tasks_v2.Task(http_request=request, retry_config=once)
    parent = f"projects/{project}/locations/{location}/queues/{queue}"
    with _queues(emulator) as client:
        client.create_task(parent=parent, task=task, timeout=TIMEOUT)


@contextlib.contextmanager
def _queues(emulator: str) -> Generator[Any]:
    """A client of the tasks emulator."""
    transport = CloudTasksRestTransport(host=emulator, url_scheme="http", credentials=AnonymousCredentials())
    with _translated("Cloud Tasks", emulator), tasks_v2.CloudTasksClient(transport=transport) as client:
        yield client


@contextlib.contextmanager
def _translated(what: str, emulator: str) -> Generator[None]:
    """Raises `Ambiguous` instead of what two libraries raise."""
    try:
        yield
    except Conflict:
        raise
    except (GoogleAPICallError, OSError) as e:
        msg = f"the {what} emulator at {emulator} does not do what is asked ({type(e).__name__}): is it running?"
        raise Ambiguous(msg) from e


def _queue(name: str) -> tasks_v2.Queue:
    """As infra/ makes it: an attempt after 2 s, then up to 60 s apart, for as long as Cloud Tasks keeps a task."""
    retries = tasks_v2.RetryConfig(
        max_attempts=-1, min_backoff=Duration(seconds=2), max_backoff=Duration(seconds=60), max_doublings=5
    )
    rates = tasks_v2.RateLimits(max_concurrent_dispatches=CONCURRENCY)
    return tasks_v2.Queue(name=name, retry_config=retries, rate_limits=rates)
