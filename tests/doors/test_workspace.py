"""The Slack workspace on this machine: as strict as Slack, as forgetful as Slack, and never more than that."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from spool.console.deliveries import Terms
from spool.console.faults import Fault, Kind
from spool.console.server import serve, serving
from spool.console.workspace import Workspace
from spool.envelope import Envelope
from spool.policy import Policy
from spool.slack import events
from spool.slack.signature import verify

SECRET = "the signing secret"
TOKEN = "xoxb-spool-local"
Json = dict[str, Any]


class Ingress:
    """Somebody who gets events: remembers them, and answers each as told."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[int], Response | None] = lambda _: Response("ok")
        self.came = asyncio.Event()
        self.hang = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.got.append((dict(request.headers), await request.body()))
        self.came.set()
        answer = self.answer(len(self.got))
        if answer is None:
            await self.hang.wait()
        await (answer or Response("late"))(scope, receive, send)

    @property
    def payloads(self) -> list[Json]:
        return [json.loads(body) for _, body in self.got]

    @property
    def events(self) -> list[Json]:
        return [p["event"] for p in self.payloads]

    @property
    def retries(self) -> list[tuple[str | None, str | None]]:
        return [(h.get("x-slack-retry-num"), h.get("x-slack-retry-reason")) for h, _ in self.got]


@pytest_asyncio.fixture
async def ingress() -> AsyncGenerator[Ingress]:
    fake = Ingress()
    async with serving(fake) as port:
        fake.url = f"http://127.0.0.1:{port}/slack/events"
        yield fake
        fake.hang.set()


@pytest_asyncio.fixture
async def workspace(tmp_path: Path, ingress: Ingress) -> AsyncGenerator[Workspace]:
    yield fresh(tmp_path, ingress.url)


@pytest_asyncio.fixture
async def api(workspace: Workspace) -> AsyncGenerator["Api"]:
    async with open_api(workspace) as api:
        yield api


def fresh(tmp_path: Path, url: str, delays: tuple[float, ...] = (0.0, 0.01, 0.02)) -> Workspace:
    return Workspace(tmp_path, terms=Terms(ingress=url, secret=SECRET, retry_delays=delays, ack_timeout=1.0))


class Api:
    """A client of the Web API that knows nothing of slack_sdk."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session, self.base = session, base

    async def __call__(self, method: str, *, token: str = TOKEN, **arguments: Any) -> Json:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.post(f"{self.base}/api/{method}", json=arguments, headers=headers) as response:
            return await response.json()

    async def error(self, method: str, **arguments: Any) -> str:
        answer = await self(method, **arguments)
        assert answer["ok"] is False
        return answer["error"]


@contextlib.asynccontextmanager
async def open_api(workspace: Workspace) -> AsyncGenerator[Api]:
    async with serve(workspace) as port, aiohttp.ClientSession() as session:
        yield Api(session, f"http://127.0.0.1:{port}")


def markdown(*texts: str) -> list[Json]:
    return [{"type": "markdown", "text": text} for text in texts]


def section(text: str) -> Json:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


# Events


async def test_a_mention_comes_as_two_signed_events_of_one_ts(workspace: Workspace, api: Api, ingress: Ingress) -> None:
    del api
    ts = await workspace.say("C0GENERAL", "U0ADA", "<@U0SPOOL> hello", files=[{"id": "F1", "name": "a.txt"}])
    await workspace.settled()
    assert {(e["type"], e["ts"], e["channel"]) for e in ingress.events} == {
        ("message", ts, "C0GENERAL"),
        ("app_mention", ts, "C0GENERAL"),
    }
    assert len({p["event_id"] for p in ingress.payloads}) == 2
    assert all(("files" in e) == (e["type"] == "message") for e in ingress.events)
    for headers, body in ingress.got:
        timestamp = headers["x-slack-request-timestamp"]
        signature = headers["x-slack-signature"]
        assert verify([SECRET], body, timestamp=timestamp, signature=signature, now=float(timestamp))
        envelope = events.read(body, policy=Policy())
        assert isinstance(envelope, Envelope)
        assert (envelope.key, envelope.addressed) == (f"C0GENERAL:{ts}", "mention")


async def test_a_direct_message_comes_as_one_event_of_its_kind(workspace: Workspace, api: Api, ingress: Ingress) -> None:
    del api
    await workspace.say("D0ADA", "U0ADA", "<@U0SPOOL> hello")
    await workspace.settled()
    assert [(e["type"], e["channel_type"]) for e in ingress.events] == [("message", "im")]


async def test_what_the_app_says_comes_back_to_it_under_its_own_name(workspace: Workspace, api: Api, ingress: Ingress) -> None:
    posted = await api("chat.postMessage", channel="C0GENERAL", text="I am <@U0SPOOL>")
    await api("chat.update", channel="C0GENERAL", ts=posted["ts"], text="I was")
    await api("chat.delete", channel="C0GENERAL", ts=posted["ts"])
    await workspace.settled()
    assert sorted(e.get("subtype", "") for e in ingress.events) == ["", "message_changed", "message_deleted"]
    said = next(e for e in ingress.events if "subtype" not in e)
    assert (said["user"], said["bot_id"], said["app_id"]) == ("U0SPOOL", "B0SPOOL", "A0SPOOL")
    assert not any(isinstance(events.read(body, policy=Policy(listen="all")), Envelope) for _, body in ingress.got)


async def test_an_edit_is_told_and_a_mention_that_it_brings(workspace: Workspace, api: Api, ingress: Ingress) -> None:
    del api
    ts = await workspace.say("C0GENERAL", "U0ADA", "hello")
    await workspace.edit("C0GENERAL", ts, "<@U0SPOOL> hello")
    await workspace.settled()
    assert sorted(e.get("subtype", e["type"]) for e in ingress.events) == ["app_mention", "message", "message_changed"]
    assert next(e for e in ingress.events if e["type"] == "app_mention")["edited"]["user"] == "U0ADA"


async def test_where_the_app_is_no_member_it_hears_nothing(workspace: Workspace, api: Api, ingress: Ingress) -> None:
    del api
    workspace.settle_channel("C0SECRET", is_member=False)
    await workspace.say("C0SECRET", "U0ADA", "<@U0SPOOL>")
    assert workspace.deliveries() == []
    assert ingress.got == []


async def test_an_event_that_is_not_acked_comes_three_times_more_and_says_why(
    workspace: Workspace, api: Api, ingress: Ingress
) -> None:
    del api
    ingress.answer = lambda n: Response(status_code=503) if n != 2 else None
    await workspace.say("C0GENERAL", "U0ADA", "hello")
    await workspace.settled()
    assert ingress.retries == [(None, None), ("1", "http_error"), ("2", "http_timeout"), ("3", "http_error")]
    assert len({p["event_id"] for p in ingress.payloads}) == 1
    assert [(d.outcome, d.attempts) for d in workspace.deliveries()] == [("lost", 4)]


async def test_an_event_is_not_repeated_once_it_is_acked(workspace: Workspace, api: Api, ingress: Ingress) -> None:
    del api
    ingress.answer = lambda n: Response(status_code=503 if n == 1 else 204)
    await workspace.say("C0GENERAL", "U0ADA", "hello")
    await workspace.settled()
    assert [n for n, _ in ingress.retries] == [None, "1"]
    assert [d.outcome for d in workspace.deliveries()] == ["acked"]


async def test_the_ingress_may_ask_for_no_retry(workspace: Workspace, api: Api, ingress: Ingress) -> None:
    del api
    ingress.answer = lambda _: Response(status_code=401, headers={"X-Slack-No-Retry": "1"})
    await workspace.say("C0GENERAL", "U0ADA", "hello")
    await workspace.settled()
    assert len(ingress.got) == 1


async def test_slacks_own_delays_are_the_default(tmp_path: Path, ingress: Ingress) -> None:
    slept = list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds))
        await asyncio.sleep(0)

    ingress.answer = lambda _: Response(status_code=500)
    workspace = Workspace(tmp_path, terms=Terms(ingress=ingress.url, secret=SECRET), sleep=sleep)
    async with serve(workspace):
        await workspace.say("C0GENERAL", "U0ADA", "hello")
        await workspace.settled()
    assert slept == [0, 0, 60, 300]


async def test_what_is_not_acked_goes_on_after_a_restart(tmp_path: Path, ingress: Ingress) -> None:
    workspace = fresh(tmp_path, "http://127.0.0.1:9/", delays=(0.0, 3600.0))
    async with serve(workspace):
        ts = await workspace.say("C0GENERAL", "U0ADA", "hello")
        await workspace.until(lambda: workspace.deliveries()[0].attempts == 2)
    again = Workspace(tmp_path, terms=Terms(secret=SECRET, retry_delays=(0.0, 0.0)), now=lambda: 4_000_000_000.0)
    async with serve(again):
        assert ingress.got == []
        again.connect(ingress.url)
        await again.settled()
    assert ingress.retries == [("2", "connection_failed")]
    assert ingress.events[0]["ts"] == ts


@pytest.mark.parametrize("kind", ["late", "reordered"])
async def test_an_event_may_come_after_the_next_one(tmp_path: Path, ingress: Ingress, kind: Kind) -> None:
    async def sleep(seconds: float) -> None:
        await (ingress.came.wait() if seconds else asyncio.sleep(0))

    workspace = Workspace(tmp_path, terms=Terms(ingress=ingress.url, secret=SECRET), sleep=sleep)
    workspace.faults.add(Fault(method="events", kind=kind, seconds=60))
    async with serve(workspace):
        await workspace.say("C0GENERAL", "U0ADA", "one")
        await workspace.say("C0GENERAL", "U0ADA", "two")
        await workspace.settled()
    assert [e["text"] for e in ingress.events] == ["two", "one"]


async def test_an_event_that_waits_for_the_next_one_does_not_wait_for_ever(
    workspace: Workspace, api: Api, ingress: Ingress
) -> None:
    del api
    workspace.faults.add(Fault(method="events", kind="reordered", seconds=0.02))
    await workspace.say("C0GENERAL", "U0ADA", "one")
    await workspace.settled()
    assert [e["text"] for e in ingress.events] == ["one"]


async def test_an_event_may_come_twice_under_one_id(workspace: Workspace, api: Api, ingress: Ingress) -> None:
    del api
    workspace.faults.add(Fault(method="events", kind="twice"))
    await workspace.say("C0GENERAL", "U0ADA", "one")
    await workspace.settled()
    assert [p["event_id"] for p in ingress.payloads] == ["Ev000000001"] * 2


async def test_an_ack_may_be_lost(workspace: Workspace, api: Api, ingress: Ingress) -> None:
    del api
    workspace.faults.add(Fault(method="events", kind="lost"))
    await workspace.say("C0GENERAL", "U0ADA", "one")
    await workspace.settled()
    assert ingress.retries == [(None, None), ("1", "http_timeout")]


# The Web API


async def test_the_token_is_checked(api: Api) -> None:
    assert await api.error("auth.test", token="") == "not_authed"
    assert await api.error("auth.test", token="xoxb-wrong") == "invalid_auth"
    assert (await api("auth.test"))["bot_id"] == "B0SPOOL"


async def test_what_slack_does_not_know_is_refused(api: Api) -> None:
    assert await api.error("chat.shout") == "unknown_method"
    assert await api.error("chat.delete", channel="C0GENERAL", ts="1.1", loudly=True) == "invalid_arguments"
    assert await api.error("users.info", user="U0NOBODY") == "user_not_found"
    assert (await api("users.info", user="U0ADA"))["user"]["name"] == "ada"
    assert (await api("conversations.info", channel="D0ADA"))["channel"]["is_im"]


@pytest.mark.parametrize("method", ["chat.postMessage", "chat.update", "chat.delete"])
async def test_a_channel_must_be_there_open_and_joined(workspace: Workspace, api: Api, method: str) -> None:
    arguments = {"text": "x"} if method != "chat.delete" else {}
    workspace.settle_channel("C0OLD", is_archived=True)
    workspace.settle_channel("C0SECRET", is_member=False)
    assert await api.error(method, channel="C0NOWHERE", **arguments) == "channel_not_found"
    assert await api.error(method, channel="C0OLD", **arguments) == "is_archived"
    assert await api.error(method, channel="C0SECRET", **arguments) == "not_in_channel"
    assert await api.error("conversations.replies", channel="C0SECRET", ts="1") == "not_in_channel"


async def test_a_form_and_a_query_are_read_as_json_is(workspace: Workspace, api: Api) -> None:
    blocks = json.dumps(markdown("hi"))
    form = {"channel": "C0GENERAL", "text": "hi", "blocks": blocks, "token": TOKEN}
    async with api.session.post(f"{api.base}/api/chat.postMessage", data=form) as response:
        posted = await response.json()
    assert workspace.messages("C0GENERAL")[0]["blocks"] == markdown("hi")
    query = {"channel": "C0GENERAL", "ts": posted["ts"], "limit": "1", "token": TOKEN}
    async with api.session.get(f"{api.base}/api/conversations.replies", params=query) as response:
        assert (await response.json())["messages"][0]["text"] == "hi"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "no_text"),
        ({"text": " "}, "no_text"),
        ({"blocks": "["}, "invalid_blocks_format"),
        ({"blocks": {"type": "divider"}}, "invalid_blocks_format"),
        ({"blocks": ["x"]}, "invalid_blocks"),
        ({"blocks": [{"type": "sektion"}]}, "invalid_blocks"),
        ({"blocks": [{"type": "section"}]}, "invalid_blocks"),
        ({"blocks": [section("x" * 3001)]}, "invalid_blocks"),
        ({"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]}, "invalid_blocks"),
        ({"blocks": markdown("")}, "invalid_blocks"),
        ({"blocks": [{"type": "divider"}] * 51}, "msg_blocks_too_many"),
        ({"blocks": markdown("x" * 6000, "x" * 6001)}, "msg_blocks_too_long"),
        ({"markdown_text": "x", "text": "x"}, "markdown_text_conflict"),
        ({"markdown_text": "x" * 12_001}, "msg_too_long"),
        ({"text": "x", "metadata": "{"}, "invalid_metadata_format"),
        ({"text": "x", "metadata": {"event_type": "x"}}, "invalid_metadata_format"),
        ({"text": "x", "metadata": {"event_type": "x", "event_payload": {"x": "x" * 9000}}}, "metadata_too_large"),
        ({"text": "x", "thread_ts": "1715000000.000100"}, "thread_not_found"),
    ],
)
async def test_a_message_must_be_within_slacks_limits(workspace: Workspace, api: Api, arguments: Json, error: str) -> None:
    assert await api.error("chat.postMessage", channel="C0GENERAL", **arguments) == error
    assert workspace.messages("C0GENERAL") == []


async def test_what_is_within_the_limits_is_taken(workspace: Workspace, api: Api) -> None:
    blocks = [*markdown("x" * 6000, "x" * 6000), section("x" * 3000), *([{"type": "divider"}] * 47)]
    await api("chat.postMessage", channel="C0GENERAL", text="x" * 50_000, blocks=blocks)
    assert [(len(m["text"]), m["blocks"]) for m in workspace.messages("C0GENERAL")] == [(40_000, blocks)]


async def test_an_update_is_shorter_keeps_metadata_and_is_only_for_ones_own(workspace: Workspace, api: Api) -> None:
    metadata = {"event_type": "x", "event_payload": {"n": 1}}
    ts = (await api("chat.postMessage", channel="C0GENERAL", text="x", metadata=metadata))["ts"]
    assert await api.error("chat.update", channel="C0GENERAL", ts=ts, text="x" * 4001) == "msg_too_long"
    assert (await api("chat.update", channel="C0GENERAL", ts=ts, text="y", blocks=markdown("y")))["ok"]
    shown = workspace.messages("C0GENERAL")[0]
    assert (shown["text"], shown["metadata"], shown["edited"]["user"]) == ("y", metadata, "B0SPOOL")
    await api("chat.update", channel="C0GENERAL", ts=ts, text="z", metadata={})
    assert (workspace.messages("C0GENERAL")[0]["metadata"], "blocks" in workspace.messages("C0GENERAL")[0]) == ({}, False)
    foreign = await workspace.say("C0GENERAL", "U0ADA", "mine")
    assert await api.error("chat.update", channel="C0GENERAL", ts=foreign, text="x") == "cant_update_message"
    assert await api.error("chat.delete", channel="C0GENERAL", ts=foreign) == "cant_delete_message"
    assert (await api("chat.delete", channel="C0GENERAL", ts=ts))["ok"]
    assert await api.error("chat.update", channel="C0GENERAL", ts=ts, text="x") == "message_not_found"
    assert await api.error("chat.delete", channel="C0GENERAL", ts=ts) == "message_not_found"


async def test_the_same_client_msg_id_twice_is_two_messages(workspace: Workspace, api: Api) -> None:
    for _ in range(2):
        await api("chat.postMessage", channel="C0GENERAL", text="x", client_msg_id="one")
    assert len(workspace.messages("C0GENERAL")) == 2


async def test_a_thread_is_read_in_pages_with_its_root_first(workspace: Workspace, api: Api) -> None:
    root = await workspace.say("C0GENERAL", "U0ADA", "root")
    replies = [await workspace.say("C0GENERAL", "U0ADA", f"{n}", thread_ts=root) for n in range(5)]
    seen, cursor = list[str](), ""
    while True:
        page = await api("conversations.replies", channel="C0GENERAL", ts=root, limit=2, cursor=cursor)
        seen += [m["ts"] for m in page["messages"]]
        cursor = page["response_metadata"]["next_cursor"]
        if not page["has_more"]:
            break
    assert seen == [root, *replies]
    between = await api("conversations.replies", channel="C0GENERAL", ts=root, oldest=replies[1], latest=replies[3])
    assert [m["ts"] for m in between["messages"]] == [root, replies[2]]
    one = await api("conversations.replies", channel="C0GENERAL", ts=root, oldest=replies[1], latest=replies[1], inclusive=True)
    assert [m["ts"] for m in one["messages"]] == [root, replies[1]]
    assert await api.error("conversations.replies", channel="C0GENERAL", ts=root, cursor="?") == "invalid_cursor"
    assert await api.error("conversations.replies", channel="C0GENERAL", ts="1.1") == "thread_not_found"


async def test_history_is_newest_first_and_without_replies(workspace: Workspace, api: Api) -> None:
    one = await workspace.say("C0GENERAL", "U0ADA", "one")
    await workspace.say("C0GENERAL", "U0ADA", "reply", thread_ts=one)
    two = await workspace.say("C0GENERAL", "U0ADA", "two")
    history = await api("conversations.history", channel="C0GENERAL")
    assert [m["ts"] for m in history["messages"]] == [two, one]


async def test_metadata_is_shown_in_full_only_when_asked_for(api: Api) -> None:
    metadata = {"event_type": "x", "event_payload": {"n": 1}}
    ts = (await api("chat.postMessage", channel="C0GENERAL", text="x", metadata=metadata))["ts"]
    short = await api("conversations.replies", channel="C0GENERAL", ts=ts)
    full = await api("conversations.replies", channel="C0GENERAL", ts=ts, include_all_metadata=True)
    assert short["messages"][0]["metadata"] == {"event_type": "x", "event_payload": {}}
    assert full["messages"][0]["metadata"] == metadata


async def test_a_deleted_root_leaves_a_tombstone_as_long_as_it_has_replies(workspace: Workspace, api: Api) -> None:
    root = await workspace.say("C0GENERAL", "U0ADA", "root")
    reply = await workspace.say("C0GENERAL", "U0ADA", "reply", thread_ts=root)
    await workspace.remove("C0GENERAL", root)
    left = (await api("conversations.replies", channel="C0GENERAL", ts=root))["messages"]
    assert [(m["ts"], m.get("subtype")) for m in left] == [(root, "tombstone"), (reply, None)]
    assert await api.error("chat.postMessage", channel="C0GENERAL", text="x", thread_ts=root) == "cannot_reply_to_message"
    await workspace.remove("C0GENERAL", reply)
    assert await api.error("conversations.replies", channel="C0GENERAL", ts=root) == "thread_not_found"


async def test_every_ts_is_later_than_the_one_before_though_the_clock_stands_still(tmp_path: Path) -> None:
    times = list[str]()
    for _ in range(2):
        workspace = Workspace(tmp_path, now=lambda: 1_715_000_000.0)
        times += [await workspace.say("C0GENERAL", "U0ADA", "x") for _ in range(3)]
        await workspace.close()
    assert times == [f"1715000000.00000{n}" for n in range(6)]


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    async with open_api(workspace) as api:
        root = await workspace.say("C0GENERAL", "U0ADA", "root")
        ts = (await api("chat.postMessage", channel="C0GENERAL", text="x", thread_ts=root))["ts"]
        await workspace.remove("C0GENERAL", ts)
        workspace.settle_channel("C0RANDOM", is_archived=True)
        before = workspace.messages("C0GENERAL")
    again = Workspace(tmp_path)
    async with open_api(again) as api:
        assert again.messages("C0GENERAL") == before
        assert await api.error("chat.update", channel="C0GENERAL", ts=ts, text="x") == "message_not_found"
        assert await api.error("chat.postMessage", channel="C0RANDOM", text="x") == "is_archived"


async def test_killing_it_loses_nothing(tmp_path: Path) -> None:
    script = """
import asyncio, os, pathlib, signal, sys
from spool.console.workspace import Workspace
workspace = Workspace(pathlib.Path(sys.argv[1]))
asyncio.run(workspace.say("C0GENERAL", "U0ADA", "<@U0SPOOL> still here?"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path))
    assert await process.wait() == -signal.SIGKILL
    workspace = Workspace(tmp_path)
    assert [m["text"] for m in workspace.messages("C0GENERAL")] == ["<@U0SPOOL> still here?"]
    assert [d.event["event"]["type"] for d in workspace.deliveries()] == ["message", "app_mention"]
    await workspace.close()


# Faults, and the routes for other processes


@pytest.mark.parametrize(("kind", "done"), [("lost", True), ("truncated", True), ("late", True)])
async def test_a_connection_may_be_closed_without_an_answer(workspace: Workspace, api: Api, kind: Kind, *, done: bool) -> None:
    workspace.faults.add(Fault(method="chat.postMessage", kind=kind))
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)):
        await api("chat.postMessage", channel="C0GENERAL", text="x")
    await workspace.until(lambda: bool(workspace.messages("C0GENERAL")) == done)


@pytest.mark.parametrize(("kind", "status"), [("throttled", 429), ("unavailable", 503), ("refused", 200)])
async def test_a_call_may_be_turned_away_before_its_effect(workspace: Workspace, api: Api, kind: Kind, status: int) -> None:
    workspace.faults.add(Fault(method="*", kind=kind, seconds=30, error="is_archived"))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url, body = f"{api.base}/api/chat.postMessage", {"channel": "C0GENERAL", "text": "x"}
    async with api.session.post(url, json=body, headers=headers) as response:
        assert response.status == status
        assert response.headers.get("Retry-After") == ("30" if status == 429 else None)
    assert workspace.messages("C0GENERAL") == []


async def test_a_fault_hits_the_calls_that_it_names(workspace: Workspace, api: Api) -> None:
    workspace.faults.add(Fault(method="chat.postMessage", kind="refused", error="is_archived", nth=2, times=2))
    answers = [(await api("chat.postMessage", channel="C0GENERAL", text="x"))["ok"] for _ in range(5)]
    assert answers == [True, False, False, True, True]
    assert workspace.faults.on() == []


async def test_another_process_talks_reads_and_breaks_things(workspace: Workspace, api: Api) -> None:
    body = {"channel": "C0GENERAL", "user": "U0ADA", "text": "hello"}
    async with api.session.post(f"{api.base}/say", json=body) as response:
        root = (await response.json())["ts"]
    async with api.session.post(f"{api.base}/say", json={**body, "thread_ts": root}) as response:
        reply = (await response.json())["ts"]
    url = f"{api.base}/messages"
    async with api.session.get(url, params={"channel": "C0GENERAL", "thread_ts": root}) as response:
        assert [m["ts"] for m in (await response.json())["messages"]] == [root, reply]
    fault = {"method": "auth.test", "kind": "refused", "error": "token_revoked"}
    async with api.session.post(f"{api.base}/faults", json=[fault]) as response:
        assert (await response.json())["faults"][0]["kind"] == "refused"
    assert await api.error("auth.test") == "token_revoked"
    async with api.session.post(f"{api.base}/faults", json={**fault, "kind": "odd"}) as response:
        assert response.status == 400
    async with api.session.delete(f"{api.base}/faults") as response:
        assert await response.json() == {"faults": []}
    assert workspace.faults.on() == []


async def test_pages_of_other_sites_cannot_talk_to_it(workspace: Workspace, api: Api) -> None:
    body = json.dumps({"channel": "C0GENERAL", "user": "U0ADA", "text": "hello"})
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Host": "evil.example"}):
        async with api.session.post(f"{api.base}/say", data=body, headers=headers) as response:
            assert response.status == 403
    async with api.session.get(f"{api.base}/messages?channel=C0GENERAL", headers={"Host": "evil.example"}) as response:
        assert response.status == 403
    assert workspace.messages("C0GENERAL") == []
