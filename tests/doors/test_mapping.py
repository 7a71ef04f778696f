"""On Google's backend, with real processes: which task is at work on a thread, and what a duplicate costs."""

import asyncio
import contextlib
import urllib.request
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

from driving import CHANNEL, PERSON, Driven, driven
from judging import come_to_rest, judge, say
from queues import EmulatedQueue
from switching import switch

from emulated import Place
from frames import counted
from spool.conversation import Document
from spool.envelope import ConversationKey
from spool.google.conversations import GoogleConversations


def key(spool: Driven, root: str) -> ConversationKey:
    return ConversationKey(team=spool.slack.installation.team, channel=CHANNEL, thread_ts=root)


@contextlib.asynccontextmanager
async def documents(place: Place) -> AsyncGenerator[GoogleConversations]:
    slow = 20.0  # an emulator may be, to begin with
    made = GoogleConversations(project=place.project, database="(default)", emulator=place.emulators.firestore, timeout=slow)
    yield made
    await made.close()


async def task_at_work(conversations: GoogleConversations, thread: ConversationKey) -> str:
    """Which task the thread's document names, as soon as it names one."""
    async with asyncio.timeout(30):
        while True:
            seen = await conversations.read(thread)
            if seen and seen.document.lease:
                return seen.document.lease.task


async def at_rest(conversations: GoogleConversations, thread: ConversationKey) -> Document:
    seen = await conversations.read(thread)
    assert seen
    return seen.document


def lose(place: Place, thread: ConversationKey) -> None:
    """Delete the document, as nothing of ours does."""
    path = f"projects/{place.project}/databases/(default)/documents/conversations/{thread.id}"
    request = urllib.request.Request(f"http://{place.emulators.firestore}/v1/{path}", method="DELETE")
    request.add_header("Authorization", "Bearer owner")
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass


async def test_a_thread_is_mapped_to_the_task_at_work_to_none_afterwards_and_anew_where_the_mapping_was_lost(
    place: Place, tmp_path: Path
) -> None:
    queue = EmulatedQueue(place)
    async with documents(place) as conversations, driven(tmp_path, place, THINK="1.0") as spool:
        root = await say(spool, "first")
        thread = key(spool, root)
        assert await task_at_work(conversations, thread) in queue.names("msg")
        await spool.until(spool.traces)
        lose(place, thread)
        before = queue.names("msg")
        await say(spool, "second", thread_ts=root)
        anew = await task_at_work(conversations, thread)
        assert anew in queue.names("msg") - before
        await come_to_rest(spool)
        await judge(spool)
        document = await at_rest(conversations, thread)
    assert (document.lease, document.inbox) == (None, {})
    assert len(document.answered) == 2


async def test_a_duplicate_of_an_answered_message_costs_one_read_of_its_document_and_nothing_else(
    place: Place, tmp_path: Path
) -> None:
    bucket = place.emulators.storage.removeprefix("http://")
    async with counted(place.emulators.firestore) as firestore, switch(bucket) as storage:
        there = replace(place.emulators, firestore=f"127.0.0.1:{firestore.port}", storage=f"http://{storage.address}")
        async with driven(tmp_path, replace(place, emulators=there), room="quick_room:agent") as spool:
            ts = await say(spool, "once")
            await come_to_rest(spool)
            await judge(spool)
            calls, carried, slack = firestore.calls, storage.carried, len(spool.slack.calls)
            mention = {"type": "app_mention", "user": PERSON, "text": "once", "ts": ts, "channel": CHANNEL}
            assert await spool.post_event(mention, event_id="EvAGAIN") == 200
            await spool.until(lambda: not spool.queue.waiting("msg"))
            assert firestore.calls - calls == 1
            assert storage.carried == carried
            assert len(spool.slack.calls) == slack
            await judge(spool)
