"""The port Chat over Slack's own client, against the workspace on the wire: every fault has its name."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from spool.console.faults import Fault, Kind
from spool.console.server import serve
from spool.console.workspace import Workspace
from spool.decision import Reserved
from spool.envelope import ConversationKey, Envelope
from spool.errors import Ambiguous, BadBlocks, Missing, Refused, Throttled
from spool.ports import Chat
from spool.slack.chat import SlackChat
from spool.slack.render import PART_LIMIT, split

TOKEN = "xoxb-spool-local"


@pytest_asyncio.fixture
async def workspace(tmp_path: Path) -> AsyncGenerator[Workspace]:
    yield Workspace(tmp_path)


@pytest_asyncio.fixture
async def chat(workspace: Workspace) -> AsyncGenerator[SlackChat]:
    async with serve(workspace) as port:
        chat = SlackChat(token=TOKEN, api_url=f"http://127.0.0.1:{port}/api/", timeout=5)
        yield chat
        await chat.close()


async def thread(workspace: Workspace, channel: str = "C0GENERAL") -> ConversationKey:
    ts = await workspace.say(channel, "U0ADA", "<@U0SPOOL> hello")
    return ConversationKey(team="T0SPOOL", channel=channel, thread_ts=ts)


def tag(key: ConversationKey) -> str:
    return f"t0:{key.channel}:{key.thread_ts}"


def calls(workspace: Workspace, method: str) -> int:
    return sum(c.method == method for c in workspace.calls)


@contextlib.asynccontextmanager
async def answering(status: int, body: bytes, kind: str = "application/json", **headers: str) -> AsyncGenerator[SlackChat]:
    """A chat with a Slack that gives everybody the same answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(body)}", "connection: close"]
        writer.write("\r\n".join([*lines, *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode() + body)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        chat = SlackChat(token=TOKEN, api_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/")
        yield chat
        await chat.close()


async def test_it_is_the_port(chat: SlackChat) -> None:
    port: Chat = chat
    assert port.parts("") == split("")
    assert port.parts("word " * PART_LIMIT) == split("word " * PART_LIMIT)


@pytest.mark.parametrize("channel", ["C0GENERAL", "D0ADA"])
async def test_a_reserved_message_is_filled_found_and_deleted(workspace: Workspace, chat: SlackChat, channel: str) -> None:
    key = await thread(workspace, channel)
    ts = await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    assert workspace.messages(channel, key.thread_ts)[1]["text"] == "…"
    await chat.fill(key, ts, "**Hi** <!channel> & all")
    await chat.fill(key, ts, "**Hi** <!channel> & all")
    shown = workspace.messages(channel, key.thread_ts)[1]
    assert shown["text"] == "**Hi** &lt;\u2060!channel&gt; &amp; all"
    assert shown["blocks"] == [{"type": "markdown", "text": "**Hi** <\u2060!channel> & all"}]
    assert await chat.find(key, tag=tag(key)) == [Reserved(ts=ts, tag=tag(key), epoch=1, part=0)]
    await chat.delete(key, ts)
    await chat.delete(key, ts)
    assert await chat.find(key, tag=tag(key)) == []


async def test_plain_text_is_shown_in_sections(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    ts = await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    await chat.fill(key, ts, "word " * 2000, plain=True)
    assert {b["type"] for b in workspace.messages("C0GENERAL", key.thread_ts)[1]["blocks"]} == {"section"}


async def test_the_longest_part_is_not_refused(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    ts = await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    for part in ("&" * PART_LIMIT, "@here " * (PART_LIMIT // 6)):
        await chat.fill(key, ts, part)
        await chat.fill(key, ts, part, plain=True)


async def test_a_reservation_carries_no_preview_and_one_name_of_its_own(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    for epoch, part in ((1, 0), (1, 0), (1, 1), (2, 0)):
        await chat.reserve(key, tag=tag(key), epoch=epoch, part=part)
    sent = [c.arguments for c in workspace.calls if c.method == "chat.postMessage"]
    assert all(a["unfurl_links"] is False and a["unfurl_media"] is False for a in sent)
    assert len({a["client_msg_id"] for a in sent}) == 3


@pytest.mark.parametrize("kind", ["lost", "truncated", "unavailable"])
async def test_an_unclear_answer_is_ambiguous_and_a_post_is_sent_once(
    workspace: Workspace, chat: SlackChat, kind: Kind
) -> None:
    key = await thread(workspace)
    workspace.faults.add(Fault(method="*", kind=kind, times=0))
    with pytest.raises(Ambiguous) as raised:
        await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    assert type(raised.value) is Ambiguous
    assert calls(workspace, "chat.postMessage") == 1
    assert len(workspace.messages("C0GENERAL", key.thread_ts)) == (1 if kind == "unavailable" else 2)
    for call in (chat.fill(key, key.thread_ts, "x"), chat.delete(key, key.thread_ts), chat.find(key, tag=tag(key))):
        with pytest.raises(Ambiguous):
            await call


async def test_a_timeout_is_ambiguous_and_the_post_may_still_happen(tmp_path: Path) -> None:
    given_up = asyncio.Event()

    async def sleep(_: float) -> None:
        await given_up.wait()

    workspace = Workspace(tmp_path, sleep=sleep)
    async with serve(workspace) as port:
        chat = SlackChat(token=TOKEN, api_url=f"http://127.0.0.1:{port}/api/", timeout=0.3)
        key = await thread(workspace)
        workspace.faults.add(Fault(method="chat.postMessage", kind="slow", seconds=60))
        with pytest.raises(Ambiguous, match="TimeoutError"):
            await chat.reserve(key, tag=tag(key), epoch=1, part=0)
        given_up.set()
        await workspace.until(lambda: len(workspace.messages("C0GENERAL", key.thread_ts)) == 2)
        assert calls(workspace, "chat.postMessage") == 1
        await chat.close()


async def test_an_effect_after_the_request_was_cut_off_is_found(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    workspace.faults.add(Fault(method="chat.postMessage", kind="late", seconds=0.01))
    with pytest.raises(Ambiguous):
        await chat.reserve(key, tag=tag(key), epoch=3, part=1)
    await workspace.until(lambda: len(workspace.messages("C0GENERAL", key.thread_ts)) == 2)
    assert [(r.epoch, r.part) for r in await chat.find(key, tag=tag(key))] == [(3, 1)]


@pytest.mark.parametrize("word", ["internal_error", "fatal_error", "service_unavailable", "request_timeout"])
async def test_trouble_of_slack_is_ambiguous(workspace: Workspace, chat: SlackChat, word: str) -> None:
    workspace.faults.add(Fault(method="chat.update", kind="refused", error=word))
    with pytest.raises(Ambiguous, match=word):
        await chat.fill(await thread(workspace), "1715000000.000100", "x")


async def test_throttled_says_how_long_to_wait(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    workspace.faults.add(Fault(method="chat.postMessage", kind="throttled", seconds=30))
    with pytest.raises(Throttled) as raised:
        await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    assert raised.value.after == 30
    assert len(workspace.messages("C0GENERAL", key.thread_ts)) == 1


@pytest.mark.parametrize(("value", "after"), [("7", 7), ("99999", 300), ("-3", 5), ("inf", 5), ("soon", 5)])
async def test_a_wait_that_makes_no_sense_is_a_sane_one(value: str, after: float) -> None:
    async with answering(429, b"slow down", "text/html", **{"retry-after": value}) as chat:
        with pytest.raises(Throttled) as raised:
            await chat.delete(ConversationKey.parse("T1/C1/1715000000.000100"), "1715000000.000200")
    assert raised.value.after == after


@pytest.mark.parametrize("word", ["ratelimited", "rate_limited"])
async def test_throttled_by_word_alone(workspace: Workspace, chat: SlackChat, word: str) -> None:
    workspace.faults.add(Fault(method="chat.update", kind="refused", error=word))
    with pytest.raises(Throttled) as raised:
        await chat.fill(await thread(workspace), "1715000000.000100", "x")
    assert raised.value.after == 5


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "application/json", b""),
        (200, "application/json", b"{"),
        (200, "application/json", b"[1]"),
        (200, "application/json", b"null"),
        (200, "application/json", b"\xff\xfe{"),
        (200, "application/json", b"[" * 100_000),
        (200, "application/json", b'{"ok": true}'),
        (200, "application/json", b'{"ok": true, "ts": 17}'),
        (200, "application/json", b'{"ok": false}'),
        (200, "application/json", b'{"ok": false, "error": {"a": 1}}'),
        (200, "text/html", b"<html>"),
        (200, "text/plain", b"ok"),
        (200, "application/gzip", b"\x1f\x8b"),
        (404, "text/html", b"not found"),
        (500, "application/json", b'{"ok": false, "error": "is_archived"}'),
        (502, "text/html", b"bad gateway"),
    ],
)
async def test_what_is_no_answer_of_slack_is_ambiguous(status: int, kind: str, body: bytes) -> None:
    async with answering(status, body, kind) as chat:
        with pytest.raises(Ambiguous):
            await chat.reserve(ConversationKey.parse("T1/C1/1715000000.000100"), tag="t0", epoch=1, part=0)


async def test_nobody_at_home_is_ambiguous() -> None:
    chat = SlackChat(token=TOKEN, api_url="http://127.0.0.1:9/api/")
    with pytest.raises(Ambiguous):
        await chat.find(ConversationKey.parse("T1/C1/1715000000.000100"), tag="t0")
    await chat.close()


async def test_a_message_that_is_gone_is_missing(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    ts = await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    await workspace.remove("C0GENERAL", ts)
    with pytest.raises(Missing):
        await chat.fill(key, ts, "x")
    workspace.faults.add(Fault(method="chat.update", kind="refused", error="edit_window_closed"))
    with pytest.raises(Missing):
        await chat.fill(key, ts, "x")


@pytest.mark.parametrize("word", ["invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"])
async def test_a_refused_form_is_bad_blocks_until_it_is_plain(workspace: Workspace, chat: SlackChat, word: str) -> None:
    key = await thread(workspace)
    workspace.faults.add(Fault(method="chat.update", kind="refused", error=word, times=2))
    with pytest.raises(BadBlocks):
        await chat.fill(key, key.thread_ts, "x")
    with pytest.raises(Refused) as raised:
        await chat.fill(key, key.thread_ts, "x", plain=True)
    assert type(raised.value) is Refused


async def test_every_other_refusal_is_for_good(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    with pytest.raises(Refused) as raised:
        await chat.fill(key, key.thread_ts, "not mine")
    assert raised.value.reason == "cant_update_message"
    workspace.settle_channel("C0GENERAL", is_member=False)
    with pytest.raises(Refused, match="invite the agent") as raised:
        await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    assert raised.value.reason == "not_in_channel"
    workspace.settle_channel("C0GENERAL", is_archived=True)
    with pytest.raises(Refused) as raised:
        await chat.delete(key, key.thread_ts)
    assert raised.value.reason == "is_archived"


async def test_a_thread_whose_root_is_gone_takes_no_reservation_and_has_no_messages(
    workspace: Workspace, chat: SlackChat
) -> None:
    key = await thread(workspace)
    await workspace.remove("C0GENERAL", key.thread_ts)
    with pytest.raises(Refused):
        await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    assert await chat.find(key, tag=tag(key)) == []
    assert await chat.thread(key) == []


def forged(payload: Any, kind: Any = "agent_turn") -> dict[str, Any]:
    return {"metadata": {"event_type": kind, "event_payload": payload}, "bot_id": "B0SPOOL", "app_id": "A0SPOOL"}


async def test_only_metadata_of_our_form_on_our_own_messages_is_found(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    good = {"tag": tag(key), "epoch": 1, "part": 0}
    payloads: list[Any] = [None, [], "x", 7, {}, {**good, "epoch": "1"}, {**good, "part": True}, {**good, "tag": ["t"]}]
    strange: list[dict[str, Any]] = [
        *map(forged, payloads),
        *(forged({**good, "tag": "another turn"}), forged(good, "agent_turns"), forged(good, None)),
        *({"metadata": m, "bot_id": "B0SPOOL"} for m in payloads[:5]),
        {**forged(good), "bot_id": "B0OTHER", "app_id": "A0OTHER"},
        {"metadata": forged(good)["metadata"]},
    ]
    for fields in strange:
        await workspace.say("C0GENERAL", "U0GRACE", "x", thread_ts=key.thread_ts, **fields)
    assert await chat.find(key, tag=tag(key)) == []
    ts = await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    assert [r.ts for r in await chat.find(key, tag=tag(key))] == [ts]


async def test_where_slack_does_not_say_who_we_are_an_apps_metadata_is_believed(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    ts = await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    workspace.faults.add(Fault(method="auth.test", kind="refused", error="unknown_method"))
    assert [r.ts for r in await chat.find(key, tag=tag(key))] == [ts]
    assert [r.ts for r in await chat.find(key, tag=tag(key))] == [ts]
    await chat.find(key, tag=tag(key))
    assert calls(workspace, "auth.test") == 2


async def test_find_reads_every_page_and_only_what_is_newer_than_the_turn(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    for n in range(450):
        await workspace.say("C0GENERAL", "U0ADA", f"{n}", thread_ts=key.thread_ts)
    late = f"t3:C0GENERAL:{await workspace.say('C0GENERAL', 'U0ADA', 'late', thread_ts=key.thread_ts)}"
    early_ts = await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    late_ts = await chat.reserve(key, tag=late, epoch=1, part=0)
    assert [r.ts for r in await chat.find(key, tag=tag(key))] == [early_ts]
    assert calls(workspace, "conversations.replies") == 3
    assert [r.ts for r in await chat.find(key, tag=late)] == [late_ts]
    assert calls(workspace, "conversations.replies") == 4


async def test_the_thread_is_read_oldest_first_and_a_long_one_from_its_end(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    ts = await chat.reserve(key, tag=tag(key), epoch=1, part=0)
    await chat.fill(key, ts, "a < b")
    await workspace.say("C0GENERAL", "U0GRACE", "thanks &amp; bye", thread_ts=key.thread_ts)
    said = await chat.thread(key)
    assert [(s.user, s.mine) for s in said] == [("U0ADA", False), ("U0SPOOL", True), ("U0GRACE", False)]
    assert [s.text for s in said] == ["<@U0SPOOL> hello", "a < b", "thanks & bye"]
    assert [s.text for s in await chat.thread(key, limit=1)] == ["thanks & bye"]


async def test_a_cut_message_is_read_whole(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    ts = await workspace.say("C0GENERAL", "U0ADA", "x" * 50_000, thread_ts=key.thread_ts)
    cut = Envelope(conversation=key, ts=ts, user="U0ADA", text="x", addressed="thread", cut=True)
    whole = await chat.whole(cut)
    assert (len(whole.text), whole.cut, whole.key) == (50_000, False, cut.key)
    await workspace.remove("C0GENERAL", ts)
    with pytest.raises(Missing):
        await chat.whole(cut)


async def test_the_root_of_a_thread_is_read_whole(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    cut = Envelope(conversation=key, ts=key.thread_ts, user="U0ADA", text="<@", addressed="mention", cut=True)
    assert (await chat.whole(cut)).text == "<@U0SPOOL> hello"
    await workspace.remove("C0GENERAL", key.thread_ts)
    with pytest.raises(Missing):
        await chat.whole(cut)


async def test_no_error_and_no_log_line_knows_the_token(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    errors = list[str]()
    async with serve(workspace) as port:
        chat = SlackChat(token="xoxb-secret", api_url=f"http://127.0.0.1:{port}/api/", timeout=5)
        kinds: tuple[Kind, ...] = ("lost", "truncated", "unavailable", "throttled", "refused")
        workspace.faults.add(*(Fault(method="chat.delete", kind=kind, nth=n) for n, kind in enumerate(kinds, 1)))
        for _ in range(6):
            with pytest.raises((Ambiguous, Refused)) as raised:
                await chat.delete(ConversationKey.parse("T1/C1/1715000000.000100"), "1715000000.000200")
            errors.append("".join(traceback.format_exception(raised.value)) + repr(vars(raised.value)))
            assert raised.value.__cause__ is None
        await chat.close()
    assert "invalid_auth" in errors[-1]
    assert "xoxb-secret" not in "".join(errors) + caplog.text


async def test_one_connection_serves_many_calls(workspace: Workspace, chat: SlackChat) -> None:
    key = await thread(workspace)
    for part in range(5):
        await chat.reserve(key, tag=tag(key), epoch=1, part=part)
    assert len({c.client for c in workspace.calls}) == 1


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with serve(workspace) as port:
        chat = SlackChat(token=TOKEN, api_url=f"http://127.0.0.1:{port}/api/")
        await chat.reserve(await thread(workspace), tag="t0", epoch=1, part=0)
        await chat.close()


async def test_who_the_token_speaks_for_is_asked_of_slack_itself(chat: SlackChat, workspace: Workspace) -> None:
    assert await chat.who() == workspace.installation.user
    workspace.faults.add(Fault(method="auth.test", kind="refused", error="token_revoked"))
    with pytest.raises(Refused, match="token_revoked"):
        await chat.who()
