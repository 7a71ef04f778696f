"""`spool dev --no-simulator` as anybody outside sees it: trouble with Slack on both sides, and one answer per message."""

import asyncio
import contextlib
import io
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from driving import CHANNEL, SECRET, driven
from judging import come_to_rest, judge, say

from emulated import Place
from spool.console.faults import Fault
from spool.slack.signature import sign

QUICK = "quick_room:agent"
MIN_BACKOFF = 2.0
"""Seconds that Cloud Tasks waits before it tries again; the local dispatcher sees at once that nobody listens."""


async def test_events_that_come_twice_late_out_of_order_or_again_are_answered_once_each(
    tmp_path: Path, on: Place | None
) -> None:
    async with driven(tmp_path, on, room=QUICK) as spool:
        for kind in ("twice", "lost", "reordered", "late"):
            spool.slack.faults.add(Fault(method="events", kind=kind, times=3, seconds=0.5))
            root = await say(spool, f"first {kind}")
            await say(spool, f"second {kind}", thread_ts=root)
            await spool.slack.settled()
            spool.slack.faults.clear()
        await come_to_rest(spool)
        await judge(spool)


TROUBLE = [
    *(Fault(method="chat.postMessage", kind=kind, seconds=2) for kind in ("lost", "late", "unavailable", "truncated")),
    *(Fault(method="chat.update", kind=kind, seconds=2) for kind in ("lost", "late", "unavailable", "truncated")),
    Fault(method="chat.postMessage", kind="throttled", seconds=1),
    Fault(method="chat.update", kind="throttled", seconds=1),
    Fault(method="chat.update", kind="slow", seconds=1),
    Fault(method="chat.postMessage", kind="slow", seconds=1),
]


async def test_slack_losing_delaying_or_refusing_its_answers_does_not_lose_or_double_one_of_ours(
    tmp_path: Path, on: Place | None
) -> None:
    async with driven(tmp_path, on, room=QUICK) as spool:
        for fault in TROUBLE:
            spool.slack.faults.add(fault)
            root = await say(spool, f"{fault.method} {fault.kind}")
            await spool.until(lambda root=root: spool.answers(root))
            assert not spool.slack.faults.on(), fault
        await come_to_rest(spool)
        await judge(spool)


LOOKUPS = [("local", "lost"), ("local", "unavailable"), ("local", "throttled"), ("google", "lost")]


@pytest.mark.parametrize(("on", "kind"), LOOKUPS, indirect=["on"])
async def test_a_lookup_that_fails_after_a_lost_reservation_leaves_one_answer_and_no_stray(
    tmp_path: Path, on: Place | None, kind: Any
) -> None:
    async with driven(tmp_path, on, room=QUICK) as spool:
        spool.slack.faults.add(Fault(method="chat.postMessage", kind="lost"))
        spool.slack.faults.add(Fault(method="conversations.replies", kind=kind, seconds=1, times=2))
        root = await say(spool, "two faults")
        await spool.until(lambda: spool.answers(root))
        await come_to_rest(spool)
        await judge(spool)


async def test_twenty_messages_in_five_threads_at_once_are_answered_in_their_threads(tmp_path: Path, on: Place | None) -> None:
    async with driven(tmp_path, on, room=QUICK) as spool:
        roots = [await say(spool, f"root {n}") for n in range(5)]
        for n in range(3):
            for i, root in enumerate(roots):
                await say(spool, f"reply {n} in {i}", thread_ts=root)
        await come_to_rest(spool)
        await judge(spool)
        texts = Counter(len(spool.slack.messages(CHANNEL, root)) >= 5 for root in roots)
    assert texts == {True: 5}


# ---- strangers


HOSTILE = [b"", b"\x00" * 100, b"\xff\xfe{}", b"[" * 50_000, b"[" * 500_000, b"{}", b"null", b"1e999999", b'{"type":1}', b'"']
EVENTS: list[bytes] = [
    b'{"type":"event_callback"}',
    b'{"type":"event_callback","event":[]}',
    b'{"type":"event_callback","team_id":"../..","event":{"type":"app_mention","user":"U1","ts":"1.1","channel":"C1"}}',
    b'{"type":"event_callback","event":{"type":"app_mention","user":"U1","text":"\\ud800","ts":"1700000000.000001","channel":"C1"}}',
]


async def test_hostile_bytes_at_the_ingress_reach_no_queue_and_harm_nobody(tmp_path: Path, on: Place | None) -> None:
    async with driven(tmp_path, on, room=QUICK) as spool, aiohttp.ClientSession() as http:
        for body in HOSTILE:
            assert await status(http, spool.events_url, body, secret="a stranger's") == 401
        for body in (*HOSTILE, *EVENTS):
            assert await status(http, spool.events_url, body, secret=SECRET) == 200
        assert await status(http, spool.events_url, b" " * ((1 << 20) + 1), secret=SECRET) == 413
        for raw in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST /slack/events HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"):
            await shout(spool.port, raw)
        assert spool.queue.waiting("msg") == 0
        root = await say(spool, "still there?")
        await spool.until(lambda: spool.answers(root))
        await come_to_rest(spool)
        await judge(spool)


async def status(http: aiohttp.ClientSession, url: str, body: bytes, *, secret: str) -> int:
    stamp = str(int(time.time()))  # noqa: TID251 - here is Slack
    headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": sign(secret, body, timestamp=stamp)}
    async with http.post(url, data=io.BytesIO(body), headers={**headers, "Content-Type": "application/json"}) as response:
        return response.status


async def shout(port: int, raw: bytes) -> None:
    """Send bytes, and hang up."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    writer.close()


# ---- how soon it is back


@pytest.mark.parametrize(("victim", "within"), [("worker child", 5), ("worker master", 15), ("everything", 20)])
async def test_after_a_sigkill_a_turn_goes_on_within_seconds(
    tmp_path: Path, on: Place | None, victim: str, within: float, capsys: pytest.CaptureFixture[str]
) -> None:
    async with driven(tmp_path, on, THINK="1.0") as spool:
        root = await say(spool, "slow")
        await spool.until(lambda: spool.traces() and len(spool.slack.messages(CHANNEL, root)) == 2)
        master, running = spool.pids("worker")[0], spool.traces()[0]["pid"]
        if victim == "everything":
            await spool.kill_everything()
        else:
            os.kill(running if victim == "worker child" else master, signal.SIGKILL)
        before, killed = len(spool.slack.calls), asyncio.get_running_loop().time()
        if victim == "everything":
            await spool.start()
        await spool.until(lambda: len(spool.slack.calls) > before)
        took = asyncio.get_running_loop().time() - killed
        await spool.until(lambda: spool.answers(root))
        await come_to_rest(spool)
        await judge(spool)
    with capsys.disabled():
        print(f"\n{'google' if on else 'local'}, {victim} killed: first Slack call of the resumed turn after {took:.2f} s")  # noqa: T201 - for whoever reads
    assert took < within + (MIN_BACKOFF if on else 0)
