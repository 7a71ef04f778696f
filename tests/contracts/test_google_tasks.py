"""Cloud Tasks: what the worker receives, what a create costs, and what trouble on the way means.

The emulator knows no permissions: those are said by a server before it. It sends tokens to plain http URLs, too, which Cloud
Tasks does not.
"""

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import pytest
from backends import Google, envelope
from proxy import Fault, Line, http_proxy, line
from rpcs import Rpcs, rpcs

from spool.errors import Ambiguous, Refused, Throttled
from spool.google.tasks import GoogleTasks
from spool.task import Task

TASK = Task.of(envelope("secret words"), first_seen=1.5)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def proxy(google: Google) -> Iterator[Rpcs]:
    with rpcs(google.place.emulators.tasks) as proxy:
        yield proxy


@pytest.fixture
def wire(google: Google) -> Iterator[Line]:
    with line(google.place.emulators.tasks) as made:
        yield made


async def test_the_worker_gets_a_post_with_the_queues_token(google: Google) -> None:
    await google.tasks().create(Task.of(envelope(), first_seen=1.5, trace=TRACE))
    await google.delivered()
    delivery = google.worker.deliveries[0]
    assert delivery.path == "/task"
    assert delivery.headers["content-type"] == "application/json"
    assert delivery.headers["traceparent"] == TRACE
    assert delivery.headers["x-cloudtasks-taskretrycount"] == "0"
    scheme, _, jwt = delivery.headers["authorization"].partition(" ")
    payload = jwt.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    account = f"spool-tasks@{google.place.project}.iam.gserviceaccount.com"
    assert (scheme, claims["aud"], claims["email"]) == ("Bearer", "spool-worker", account)


async def test_a_task_has_no_name_of_ours_and_half_an_hour(google: Google) -> None:
    await google.tasks().create(TASK)
    (task,) = google.admin.tasks()
    assert task["dispatchDeadline"] == "1800s"
    assert task["name"].rpartition("/")[2].isdigit()


@pytest.mark.parametrize("trace", ["", "no trace", "00-abc\r\nX-Evil: 1", "00-" + "0" * 500])
async def test_what_is_no_traceparent_is_not_passed_on_as_one(google: Google, trace: str) -> None:
    await google.tasks().create(Task.of(envelope(), first_seen=1.5, trace=trace))
    await google.delivered()
    headers = google.worker.deliveries[0].headers
    assert "traceparent" not in headers
    assert "x-evil" not in headers


async def test_a_create_is_one_rpc(google: Google, proxy: Rpcs) -> None:
    tasks = google.tasks(through=proxy.address)
    for n in range(5):
        await tasks.create(TASK, delay=float(n))
    assert proxy.seen == ["CreateTask"] * 5
    await tasks.close()


def test_the_ingress_loads_no_model_library_and_no_other_client_with_its_queue() -> None:
    """It must be awake within Slack's 3 seconds. (google-auth loads aiohttp wherever it is: it is never beside the ingress.)"""
    heavy = {"pydantic", "spool.ports", "spool.transcript", "google.cloud.storage", "google.cloud.firestore_v1"}
    light = f"import sys, spool.google.tasks; sys.exit(bool({heavy!r} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", light], check=True, timeout=60)  # noqa: S603 - our own text


# ---- answers that get lost


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL])
async def test_a_create_whose_answer_is_lost_costs_at_most_one_double(
    google: Google, proxy: Rpcs, code: grpc.StatusCode
) -> None:
    tasks = google.tasks(through=proxy.address)
    proxy.after, proxy.answers = True, [(code, "lost")]
    await tasks.create(TASK)
    assert proxy.seen == ["CreateTask"] * 2
    assert await google.delivered() == [TASK, TASK]
    proxy.answers, proxy.seen[:] = [(code, "lost")] * 9, []
    with pytest.raises(Ambiguous):
        await tasks.create(TASK)
    assert proxy.seen == ["CreateTask"] * 2
    await tasks.close()


async def test_a_connection_that_dies_as_the_answer_comes_costs_at_most_one_double(google: Google, wire: Line) -> None:
    tasks = google.tasks(through=wire.address)
    for n in range(1, 6):
        wire.cuts = 1
        await tasks.create(TASK)
        assert len(google.admin.tasks()) == 2 * n
    await tasks.close()


async def test_deliveries_may_come_twice_late_and_out_of_order(google: Google) -> None:
    """As Cloud Tasks may bring them; the emulator does not, so what stands before the worker does."""
    with http_proxy(google.worker.url) as proxy:
        tasks = google.tasks(worker=proxy.url)
        proxy.faults = [Fault(kind="overtaken"), Fault(kind="late", seconds=0.05), Fault(kind="twice")]
        sent = [Task.of(envelope(n=n), first_seen=1.5) for n in range(3)]
        for task in sent:
            await tasks.create(task)
        delivered = await google.delivered()
        assert (len(delivered), set(delivered)) == (3, set(sent))
        bodies = [delivery.body for delivery in google.worker.deliveries]
        assert {Task.decode(body) for body in bodies} == set(sent)
        assert not proxy.faults
        await tasks.close()
        google.admin.remove_queue()


# ---- trouble


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (
            grpc.StatusCode.PERMISSION_DENIED,
            r"grant roles/cloudtasks\.enqueuer on the queue and roles/iam\.serviceAccountUser on spool",
        ),
        (grpc.StatusCode.UNAUTHENTICATED, r"grant roles/cloudtasks\.enqueuer"),
        (grpc.StatusCode.NOT_FOUND, "make it with infra/, or mend GOOGLE_CLOUD_PROJECT, SPOOL_LOCATION or SPOOL_QUEUE"),
        (grpc.StatusCode.FAILED_PRECONDITION, "gave no clear answer"),
        (grpc.StatusCode.INVALID_ARGUMENT, "gave no clear answer"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down"),
    ],
)
async def test_what_a_person_can_mend_is_ambiguous_asked_once_and_says_how(
    google: Google, proxy: Rpcs, code: grpc.StatusCode, mend: str
) -> None:
    """The message waits: Slack sends it again, or the queue keeps the task that carries it."""
    tasks = google.tasks(through=proxy.address)
    proxy.answers = [(code, "the server's own words")]
    with pytest.raises(Ambiguous, match=mend) as raised:
        await tasks.create(TASK)
    assert f"the queue projects/{google.place.project}/locations/" in str(raised.value)
    assert "the server's own words" in str(raised.value)
    assert "secret words" not in str(raised.value)
    assert isinstance(raised.value, Throttled) == (code == grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert proxy.seen == ["CreateTask"]
    await tasks.create(TASK)
    assert await google.delivered() == [TASK]
    await tasks.close()


async def test_a_task_that_only_the_queue_finds_too_large_is_refused(google: Google, proxy: Rpcs) -> None:
    tasks = google.tasks(through=proxy.address)
    proxy.answers = [(grpc.StatusCode.INVALID_ARGUMENT, "Task size too large")]
    with pytest.raises(Refused, match="too large"):
        await tasks.create(TASK)
    await tasks.close()


async def test_a_missing_queue_says_so_and_is_there_again(google: Google) -> None:
    tasks = google.tasks()
    google.admin.remove_queue()
    with pytest.raises(Ambiguous, match=f"queues/{google.place.queue} is not there: make it"):
        await tasks.create(TASK)
    await tasks.close()


async def test_a_queue_that_cannot_be_reached_says_so_in_time(google: Google, unreachable: str) -> None:
    tasks = google.tasks(through=unreachable, timeout=1.8)
    began = time.monotonic()  # noqa: TID251 - how long it takes is the subject
    with pytest.raises(Ambiguous, match="gave no clear answer"):
        await tasks.create(TASK)
    assert time.monotonic() - began < 2.0  # noqa: TID251
    await tasks.close()


async def test_a_silent_line_is_left_for_a_new_one_within_the_time_that_slack_waits(google: Google, wire: Line) -> None:
    tasks = google.tasks(through=wire.address, timeout=1.8)
    await tasks.create(TASK)
    wire.fall_silent()
    began = time.monotonic()  # noqa: TID251 - how long it takes is the subject
    await tasks.create(TASK)
    assert time.monotonic() - began < 2.0  # noqa: TID251
    await tasks.close()


async def test_when_all_lines_are_silent_it_says_so_in_time_and_leaves_them(google: Google, wire: Line) -> None:
    tasks = google.tasks(through=wire.address, timeout=1.8)
    wire.silent = 1_000_000
    began = time.monotonic()  # noqa: TID251 - how long it takes is the subject
    with pytest.raises(Ambiguous, match="gave no clear answer"):
        await tasks.create(TASK)
    assert time.monotonic() - began < 2.0  # noqa: TID251
    wire.fall_silent()
    began = time.monotonic()  # noqa: TID251
    await tasks.create(TASK)
    assert time.monotonic() - began < 1.0  # noqa: TID251 - at once, not after another silence
    await tasks.close()


async def test_many_creates_at_once_share_one_connection(google: Google, wire: Line) -> None:
    tasks: GoogleTasks = google.tasks(through=wire.address)
    await asyncio.gather(*[tasks.create(TASK) for _ in range(50)])
    assert wire.connections == 1
    assert len(google.admin.tasks()) == 50
    await tasks.close()
