"""The public door: every request, however hostile, gets a clear answer; nothing is acked that is not in the queue."""

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from alone import alone, free_port
from functions_framework.aio import create_asgi_app  # pyright: ignore[reportUnknownVariableType] - untyped
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message

from emulated import Place
from frames import counted, listening
from spool.errors import Ambiguous, Refused, Throttled
from spool.google.emulated import make_queue
from spool.local.queue import Queue as StoredQueue
from spool.local.tasks import LocalTasks
from spool.policy import Policy
from spool.ports import Tasks
from spool.slack.signature import sign
from spool.task import Task

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TS, NOW = "1715000000.000200", 1715000100.0

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("SLACK_SIGNING_SECRET", SECRET)
    import ingress


def event(**fields: Any) -> bytes:
    message = {
        "type": "app_mention",
        "user": "U0ANNA",
        "text": "<@U0BOT> my salary?",
        "ts": "1715000000.000200",
        "channel": "C0A",
    }
    return json.dumps({"type": "event_callback", "team_id": "T0A", "event_id": "Ev1", "event": message | fields}).encode()


@dataclass
class Queue:
    """A queue that keeps tasks in memory, or fails as it is told to."""

    trouble: Exception | None = None
    hangs: bool = False
    tasks: list[Task] = field(default_factory=list[Task])

    async def create(self, task: Task, *, delay: float = 0.0) -> None:
        assert delay == 0.0
        if self.hangs:
            await asyncio.Event().wait()
        if self.trouble:
            raise self.trouble
        self.tasks.append(task)


def door(queue: Tasks, *, secrets: tuple[str, ...] = (SECRET,), patience: float = 60.0) -> ingress.Door:
    return ingress.Door(secrets=secrets, policy=Policy(), tasks=queue, now=lambda: NOW, patience=patience)


def signed(body: bytes, *, secret: str = SECRET, at: float = NOW) -> dict[str, str]:
    stamp = str(int(at))
    return {"x-slack-request-timestamp": stamp, "x-slack-signature": sign(secret, body, stamp)}


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def post(door: ingress.Door, body: bytes, headers: dict[str, str] | None = None, path: str = "/slack/events") -> Response:
    return await door.answer("POST", path, signed(body) if headers is None else headers, stream(body))


@pytest.mark.parametrize("path", ["/slack/events", "/"])
async def test_a_message_is_queued_once_before_it_is_acked(path: str) -> None:
    queue, body = Queue(), event()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = await post(door(queue), body, signed(body) | {"traceparent": trace}, path)
    assert (response.status_code, response.body) == (200, b"")
    [task] = queue.tasks
    assert task.envelope
    assert (task.envelope.key, task.first_seen, task.trace, task.hop) == (f"C0A:{TS}", NOW, trace, 0)


async def test_a_body_in_many_chunks_is_one_body() -> None:
    queue, body = Queue(), event()
    response = await door(queue).answer("POST", "/slack/events", signed(body), stream(*(bytes([b]) for b in body)))
    assert (response.status_code, len(queue.tasks)) == (200, 1)


async def test_a_retry_of_slack_is_queued_like_a_first_try() -> None:
    queue, body = Queue(), event()
    retry = {"x-slack-retry-num": "3", "x-slack-retry-reason": "http_timeout"}
    assert (await post(door(queue), body, signed(body) | retry)).status_code == 200
    assert len(queue.tasks) == 1


async def test_while_rotating_both_secrets_are_good() -> None:
    queue, body = Queue(), event()
    for secret in ("old", "new"):
        assert (await post(door(queue, secrets=("new", "old")), body, signed(body, secret=secret))).status_code == 200
    assert len(queue.tasks) == 2


FORGED: dict[str, dict[str, str]] = {
    "no headers": {},
    "another secret": signed(event(), secret="other"),
    "another body": signed(event() + b" "),
    "a stale timestamp": signed(event(), at=NOW - 301),
    "a timestamp of the future": signed(event(), at=NOW + 301),
    "a timestamp that is none": signed(event()) | {"x-slack-request-timestamp": "now"},
    "a timestamp in other digits": signed(event()) | {"x-slack-request-timestamp": "\u0661" * 10},
    "a huge timestamp": signed(event()) | {"x-slack-request-timestamp": "9" * 10_000},
    "an empty signature": signed(event()) | {"x-slack-signature": ""},
    "a signature of garbage": signed(event()) | {"x-slack-signature": "v0=\xff\xfe"},
    "a later version": signed(event()) | {"x-slack-signature": "v1=00"},
}


@pytest.mark.parametrize("path", ["/slack/events", "/slack/commands", "/slack/interactions", "/"])
@pytest.mark.parametrize("name", FORGED)
async def test_what_slack_did_not_sign_is_unauthorized(name: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue()
    assert (await post(door(queue), event(), FORGED[name], path)).status_code == 401
    assert not queue.tasks
    assert [record.levelname for record in caplog.records] == ["WARNING"]


UNUSABLE: dict[str, bytes] = {
    "no UTF-8": b'{"type":"\xff\xfe"}',
    "no JSON": b"hello",
    "nothing": b"",
    "an array": b"[1,2,3]",
    "deep nesting": b"[" * 100_000,
    "a path for a thread": event(thread_ts="../../etc/passwd"),
    "another path": event(channel="../../etc"),
    "NaN": b'{"type":NaN}',
    "half a character": event(text="\ud83d"),
    "an event that is no object": b'{"type":"event_callback","event":[]}',
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_a_signed_body_without_use_is_acked_with_one_warning(name: str, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue()
    assert (await post(door(queue), UNUSABLE[name])).status_code == 200
    assert not queue.tasks
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "\n" not in record.getMessage()


IGNORED: dict[str, bytes] = {
    "an unknown event": event(type="brand_new_event"),
    "another bot": event(bot_id="B0X"),
    "a rate limit, without an event": b'{"token":"x","type":"app_rate_limited","team_id":"T0A","api_app_id":"A0A"}',
    "another type": b'{"type":"block_actions"}',
}


@pytest.mark.parametrize("name", IGNORED)
async def test_what_is_not_for_the_agent_is_acked_in_silence(name: str, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue()
    with caplog.at_level(logging.INFO):
        assert (await post(door(queue), IGNORED[name])).status_code == 200
    assert not queue.tasks
    assert not caplog.records


async def test_a_challenge_is_said_back_as_json() -> None:
    response = await post(door(Queue()), b'{"type":"url_verification","challenge":"3eZbrw1aB"}')
    assert response.headers["content-type"] == "application/json"
    assert json.loads(bytes(response.body)) == {"challenge": "3eZbrw1aB"}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/slack/commands", b"command=%2Fagent&text=hello"),
        ("/slack/interactions", b"payload=%7B%22type%22%3A%22block_actions%22%7D"),
        ("/slack/events", b"ssl_check=1&token=x"),
    ],
)
async def test_a_form_is_verified_and_acked(path: str, form: bytes, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue()
    headers = signed(form) | {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    response = await post(door(queue), form, headers, path)
    assert (response.status_code, response.body, queue.tasks) == (200, b"", [])
    assert not caplog.records


async def test_a_large_body_is_refused_before_it_is_read_to_its_end() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65_536
            yield b"x" * 65_536

    response = await door(Queue()).answer("POST", "/slack/events", {}, endless())
    assert response.status_code == 413
    assert read <= ingress.BODY_LIMIT + 65_536


async def test_a_body_of_just_the_limit_is_read() -> None:
    body = event().ljust(ingress.BODY_LIMIT)
    queue = Queue()
    assert (await post(door(queue), body)).status_code == 200
    assert len(queue.tasks) == 1
    assert (await post(door(queue), body + b" ")).status_code == 413


@pytest.mark.parametrize(
    "trouble",
    [Ambiguous("reset"), Throttled("later", after=1), TimeoutError(), OSError("disk full"), RuntimeError("a bug")],
)
async def test_what_could_not_be_queued_is_left_to_slack(trouble: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert (await post(door(Queue(trouble=trouble)), event())).status_code == 503
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_queue_that_cannot_be_opened_is_left_to_slack(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (await post(door(LocalTasks(tmp_path / "file")), event())).status_code == 503


async def test_a_queue_that_hangs_is_left_to_slack_within_the_patience() -> None:
    assert ingress.PATIENCE == 2.0
    assert (await post(door(Queue(hangs=True), patience=0.0), event())).status_code == 503


async def test_a_body_that_never_ends_is_left_within_the_patience() -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    assert (await door(Queue(), patience=0.0).answer("POST", "/slack/events", {}, stalled())).status_code == 503


async def test_a_sender_who_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def gone() -> AsyncIterator[bytes]:
        yield b"{"
        raise ClientDisconnect

    assert (await door(Queue()).answer("POST", "/slack/events", {}, gone())).status_code == 503
    assert not caplog.records


async def test_what_is_refused_for_good_is_acked_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue(trouble=Refused("over 1 MiB", reason="too_large"))
    assert (await post(door(queue), event())).status_code == 200
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"C0A:{TS}" in caplog.text


async def test_no_line_of_the_log_holds_a_secret_or_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for queue in (Queue(), Queue(trouble=Ambiguous("reset")), Queue(trouble=Refused("no", reason="no")), Queue(hangs=True)):
        for body in (event(), event(user="anna"), event(type="other"), event()[:-1], event(text="salary \ud800")):
            await post(door(queue, patience=0.0), body)
            await post(door(queue), body, {})
    assert caplog.records
    assert "salary" not in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("POST", "/health", 405),
        ("GET", "/slack/events", 405),
        ("GET", "/", 405),
        ("PUT", "/slack/commands", 405),
        ("GET", "/healthz", 404),
        ("POST", "/slack/events/", 404),
        ("POST", "/task", 404),
        ("GET", "/../etc/passwd", 404),
    ],
)
async def test_other_paths_and_methods_are_told_so(method: str, path: str, status: int) -> None:
    response = await door(Queue()).answer(method, path, {}, stream())
    assert response.status_code == status
    assert (status == 405) == ("allow" in response.headers)


async def ask(app: ASGIApp, body: bytes, headers: dict[str, str]) -> int:
    """POST to an app as a server does it; the status."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/slack/events", "query_string": b"", "headers": raw}
    await app(scope, receive, send)
    return sent[0]["status"]


async def test_under_functions_framework_an_acked_message_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_SIGNING_SECRET", f"another,{SECRET}")
    monkeypatch.setenv("SPOOL_STATE_DIR", str(tmp_path / "state"))
    app: ASGIApp = create_asgi_app(target="ingress", source=ingress.__file__)
    now = time.time()  # noqa: TID251 - the door looks at the real clock here
    assert await ask(app, event(), signed(event(), at=now)) == 200
    assert await ask(app, event(), signed(event(), at=now - 400)) == 401
    assert await ask(app, b"x" * (2 << 20), {}) == 413
    queue = StoredQueue(tmp_path / "state")
    [stored] = queue.claim(now=now + 60, limit=10, running=())
    queue.close()
    envelope = Task.decode(stored.body).envelope
    assert envelope
    assert envelope.text == "<@U0BOT> my salary?"


HEAVY = ["pydantic", "pydantic_ai", "slack_sdk", "slack_bolt", "google.cloud.firestore", "google.cloud.storage"]
PROBE = """
import sys
import ingress
print(*sorted(set(sys.modules) & set(sys.argv[1:])))
"""


ON_GOOGLE = {
    "SPOOL_BACKEND": "google",
    "GOOGLE_CLOUD_PROJECT": "p",
    "SPOOL_LOCATION": "europe-west1",
    "SPOOL_QUEUE": "spool",
    "SPOOL_WORKER_URL": "https://worker.example.com",
    "SPOOL_WORKER_AUDIENCE": "spool-worker",
    "SPOOL_TASKS_SERVICE_ACCOUNT": "spool-tasks@p.iam.gserviceaccount.com",
}
LOADED: dict[str, tuple[dict[str, str], list[str]]] = {
    "local": ({}, ["aiohttp", "google.auth", "google.api_core", "grpc"]),
    "google": (ON_GOOGLE, ["sqlite3", "spool.local.tasks", "jwt"]),  # aiohttp is never beside it: google-auth would load it
}


@pytest.mark.parametrize("backend", LOADED)
def test_the_door_loads_nothing_heavy_and_the_adapters_of_one_backend(tmp_path: Path, backend: str) -> None:
    settings, other = LOADED[backend]
    environ = {"SLACK_SIGNING_SECRET": SECRET, "SPOOL_STATE_DIR": str(tmp_path / "state"), **settings}
    command = [sys.executable, "-c", PROBE, *HEAVY, *other, "typer", "rich"]
    done = subprocess.run(command, env=environ, cwd=tmp_path, check=True, capture_output=True, text=True)  # noqa: S603 - our own probe
    assert done.stdout.strip() == ""


async def test_health_names_the_revision() -> None:
    named = ingress.Door(secrets=(SECRET,), policy=Policy(), tasks=Queue(), now=lambda: NOW, revision="spool-ingress-abc")
    assert bytes((await named.answer("GET", "/health", {}, stream())).body) == b"ok spool-ingress-abc"


async def test_the_other_header_of_googles_frontend_names_the_trace_as_well() -> None:
    queue, body = Queue(), event()
    await post(door(queue), body, signed(body) | {"x-cloud-trace-context": "0af7651916cd43dd8448eb211c80319c/11;o=1"})
    assert queue.tasks[0].trace == "00-0af7651916cd43dd8448eb211c80319c-000000000000000b-01"


async def test_one_line_says_what_was_acked_and_how_fast(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await post(door(Queue()), event())
    [record] = caplog.records
    assert (record.levelname, record.__dict__["event"], record.__dict__["latency_ms"]) == ("INFO", "acked", 0.0)


# ---- on Google Cloud's queue


def slack_says(n: int) -> str:
    return f"171500{n:04}.000100"


async def test_an_ack_costs_one_call_to_the_queue_and_one_line(place: Place, tmp_path: Path) -> None:
    async with counted(place.emulators.tasks) as wire:
        environment = {**place.environment, "CLOUD_TASKS_EMULATOR_HOST": f"127.0.0.1:{wire.port}"}
        async with alone("ingress", tmp_path, environment) as running:
            trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            assert [await running.event("my salary?", ts=slack_says(n), traceparent=trace) for n in range(10)] == [200] * 10
            log, told = running.log, running.events()
    assert (wire.calls, wire.connections) == (10, 1)
    assert [line["event"] for line in told] == ["acked"] * 10
    assert told[0]["key"] == f"C0A:{slack_says(0)}"
    assert told[0]["logging.googleapis.com/trace"] == f"projects/{place.project}/traces/0af7651916cd43dd8448eb211c80319c"
    assert 0 < told[0]["latency_ms"] < 2500
    assert "salary" not in log


async def test_without_its_queue_the_ingress_says_503_and_why_once_and_takes_the_retry(place: Place, tmp_path: Path) -> None:
    async with alone("ingress", tmp_path, {**place.environment, "SPOOL_QUEUE": "late"}) as running:
        assert await running.event("hello", ts=slack_says(1)) == 503
        [line] = running.events()
        make_queue(project=place.project, location=place.location, queue="late", emulator=place.emulators.tasks)
        assert await running.event("hello", ts=slack_says(1), X_Slack_Retry_Num="1") == 200
        assert [line["event"] for line in running.events()] == ["not_queued", "acked"]
    assert (line["severity"], line["conversation"]) == ("ERROR", f"T0A/C0A/{slack_says(1)}")
    assert "SPOOL_QUEUE" in line["message"]


async def test_an_unreachable_queue_is_waited_for_no_longer_than_slack_waits(place: Place, tmp_path: Path) -> None:
    port = free_port()
    environment = {**place.environment, "CLOUD_TASKS_EMULATOR_HOST": f"127.0.0.1:{port}"}
    async with alone("ingress", tmp_path, environment) as running:
        assert await running.event("hello", ts=slack_says(1)) == 503
        async with counted(place.emulators.tasks, port=port):
            assert await running.event("hello", ts=slack_says(1), X_Slack_Retry_Num="1") == 200
        refused, acked = running.events()
    assert (refused["event"], acked["event"]) == ("not_queued", "acked")
    assert refused["latency_ms"] < 2500


async def test_a_queue_that_never_answers_is_left_within_two_seconds(place: Place, tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hang) as port:
        environment = {**place.environment, "CLOUD_TASKS_EMULATOR_HOST": f"127.0.0.1:{port}"}
        async with alone("ingress", tmp_path, environment) as running:
            assert await running.event("hello", ts=slack_says(1)) == 503
            [line] = running.events()
    assert 1000 < line["latency_ms"] < 2500
    assert line["severity"] == "ERROR"


@pytest.mark.parametrize("target", ["ingress", "worker"])
def test_a_missing_setting_is_one_sentence(target: str, tmp_path: Path) -> None:
    environ = {"SPOOL_BACKEND": "google", "SPOOL_STATE_DIR": str(tmp_path), "PYTHONPATH": str(Path(ingress.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", f"import {target}"], env=environ, check=False, capture_output=True, text=True)  # noqa: S603
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("spool: set SLACK_")
    assert "GOOGLE_CLOUD_PROJECT, " in done.stderr
    assert done.stderr.count("\n") == 1
