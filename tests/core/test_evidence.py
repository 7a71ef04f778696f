"""What Google Cloud's own services show to people who ask why: read on their wire, from a server that speaks it."""

import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from spool.envelope import ConversationKey, Envelope
from spool.errors import Refused
from spool.google.evidence import GoogleEvidence
from spool.task import Task

Json = dict[str, Any]
KEY = ConversationKey(team="T1", channel="C1", thread_ts="1715000000.000100")
SAID = Envelope(conversation=KEY, ts="1715000050.000200", user="U1", text="words", addressed="mention")
NOTHING: tuple[int, Json] = (404, {})


class _Service(BaseHTTPRequestHandler):
    """Answers by path, from `answers`; keeps what it was asked."""

    answers: dict[str, tuple[int, Json]]
    asked: list[tuple[str, Json]]

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: Json) -> None:
        self.asked.append((self.path, body))
        status, found = next((a for part, a in self.answers.items() if part in self.path), NOTHING)
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Quiet."""


@contextmanager
def service(**answers: tuple[int, Json]) -> Generator[tuple[str, list[tuple[str, Json]]]]:
    """A server that speaks the JSON APIs' wire; its address, and what it is asked."""
    asked: list[tuple[str, Json]] = []
    handler = type("Handler", (_Service,), {"answers": answers, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def evidence(host: str) -> GoogleEvidence:
    url = f"http://{host}"
    return GoogleEvidence(
        project="p", location="l", queue="q", bucket="b", tasks_emulator=host, storage_emulator=url, logging=url
    )


async def test_the_log_is_asked_for_the_message_and_read_oldest_first() -> None:
    entries = [
        {
            "timestamp": "2024-05-06T12:54:15.123456789Z",
            "severity": "ERROR",
            "jsonPayload": {"message": "later", "conversation": str(KEY)},
        },
        {"timestamp": "2024-05-06T12:54:11Z", "textPayload": "plain"},
    ]
    with service(entries=(200, {"entries": entries})) as (host, asked):
        lines, note = await evidence(host).logs(SAID.key, KEY)
    assert [(line.text, line.severity, line.conversation) for line in lines] == [
        ("plain", "DEFAULT", ""),
        ("later", "ERROR", str(KEY)),
    ]
    assert lines[1].at == pytest.approx(1_715_000_055.123)
    assert note == ""
    (path, body) = asked[0]
    assert (path, body["resourceNames"]) == ("/v2/entries:list", ["projects/p"])
    assert f'jsonPayload.key="{SAID.key}" OR jsonPayload.conversation="{KEY}"' in body["filter"]
    assert 'timestamp>="2024-05-06T12:53:10' in body["filter"]


async def test_the_log_of_a_turn_that_ended_is_not_that_of_the_turns_after_it() -> None:
    with service(entries=(200, {})) as (host, asked):
        await evidence(host).logs(SAID.key, KEY)
        await evidence(host).logs(f"{SAID.key}@1715000099.000100", KEY, until=1_715_000_160.5)
    open_end, ended = (body["filter"] for _, body in asked)
    assert "timestamp<=" not in open_end
    assert 'timestamp>="2024-05-06T12:53:10' in ended
    assert 'timestamp<="2024-05-06T12:56:00.5' in ended


async def test_every_generation_of_a_versioned_bucket_is_told() -> None:
    items = [
        {"name": KEY.path, "generation": "7", "updated": "2024-05-06T12:54:12.5Z", "size": "20"},
        {
            "name": KEY.path,
            "generation": "5",
            "updated": "2024-05-06T12:54:11Z",
            "size": "10",
            "timeDeleted": "2024-05-06T12:54:12.5Z",
        },
        {"name": KEY.path + "x", "generation": "6", "updated": "2024-05-06T12:54:11Z", "size": "1"},
    ]
    with service(o=(200, {"items": items})) as (host, asked):
        versions, note = await evidence(host).versions(KEY.path)
    assert [(v.generation, v.size, v.live) for v in versions] == [(5, 10, False), (7, 20, True)]
    assert versions[1].updated - versions[0].updated == 1.5
    assert note == ""
    assert "versions=true" in asked[0][0]


async def test_tasks_are_read_with_what_they_carry_and_how_often_they_were_tried() -> None:
    last = {"responseStatus": {"code": 13, "message": "INTERNAL(13): HTTP status code 500"}}
    body = base64.b64encode(Task.of(SAID, first_seen=1.0).encode()).decode()
    task = {
        "name": "projects/p/x/tasks/4711",
        "httpRequest": {"body": body},
        "scheduleTime": "2024-05-06T12:54:12Z",
        "dispatchCount": 3,
        "lastAttempt": last,
    }
    strange = {"name": "projects/p/x/tasks/1", "httpRequest": {"body": "bm90IG91cnM="}}
    with service(tasks=(200, {"tasks": [task, strange]})) as (host, asked):
        (found,), note = await evidence(host).tasks("C1")
    assert (found.name, found.attempts, found.previous, found.due) == ("4711", 3, 500, 1_715_000_052.0)
    assert found.task
    assert found.task.envelope == SAID
    assert note == ""
    assert "responseView=FULL" in asked[0][0]


async def test_an_api_that_is_off_is_not_called_a_missing_permission() -> None:
    off = {"reason": "SERVICE_DISABLED", "metadata": {"service": "cloudtasks.googleapis.com"}}
    with (
        service(**{"tasks?": (403, {"error": {"message": "off", "details": [off]}})}) as (host, _),
        pytest.raises(Refused, match=r"cloudtasks\.googleapis\.com is not enabled"),
    ):
        await evidence(host).tasks("C1")


async def test_who_may_not_see_bodies_is_told_which_permission_is_missing_and_sees_the_task_at_work() -> None:
    known = (200, {"name": "projects/p/x/tasks/4711", "dispatchCount": 1})
    with service(**{"tasks/4711": known, "tasks?": (403, {"error": {"message": "no"}})}) as (host, _):
        found, note = await evidence(host).tasks("C1", name="4711")
        nothing, _ = await evidence(host).tasks("C1")
    assert [(q.name, q.task, q.attempts) for q in found] == [("4711", None, 1)]
    assert nothing == []
    assert "cloudtasks.tasks" in note
