"""The real turn and what people see: long answers, refusals, deleted messages, transcripts that nobody can read."""

import itertools
import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from scripted import Script, agent_of, loaded, plain
from turning import ADA, CHANNEL, GRACE, Desk, at_desk, reserved

from spool.agents import Loaded
from spool.console.faults import Fault
from spool.task import Task
from spool.transcript import Transcript

pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


# ---- long answers, refused forms


async def test_a_long_answer_becomes_several_messages_in_order_and_nothing_is_lost(desk: Desk) -> None:
    answer = "\n".join(f"line {i:05}" for i in range(2728))
    assert len(answer) > 30_000
    task = await desk.says()
    await desk.take(task, plain(answer))
    said = desk.workspace.messages(CHANNEL, task.conversation.thread_ts)[1:]
    assert len(said) == 3
    shown = "".join(m["blocks"][0]["text"] for m in said)
    assert shown.split() == answer.split()
    last = (await desk.transcript(task)).turns[-1]
    assert last.slots == tuple(m["ts"] for m in said)
    await desk.take(await desk.says("next", thread=task), plain())
    assert desk.shown(task)[-1] == "fine"


async def test_an_answer_whose_form_slack_refuses_is_shown_in_plain_text_and_recorded_so(desk: Desk) -> None:
    desk.workspace.faults.add(Fault(method="chat.update", kind="refused", error="invalid_blocks"))
    task = await desk.says()
    await desk.take(task, plain("**fine**"))
    (said,) = desk.workspace.messages(CHANNEL, task.conversation.thread_ts)[1:]
    assert [b["type"] for b in said["blocks"]] == ["section"]
    reply = (await desk.transcript(task)).turns[-1].reply
    assert reply
    assert reply.render == "plain"
    assert (await desk.transcript(task)).turns[-1].outcome == "answered"


async def test_an_answer_that_is_refused_in_every_form_does_not_block_the_thread(desk: Desk) -> None:
    desk.workspace.faults.add(Fault(method="chat.update", kind="refused", error="invalid_blocks", times=2))
    root = await desk.says()
    await desk.take(root, plain("**fine**"))
    assert (await desk.transcript(root)).turns[-1].outcome == "undeliverable"
    await desk.take(await desk.says("again", thread=root), plain("more"))
    assert desk.shown(root)[-1] == "more"


# ---- channels and messages that are gone


async def test_a_channel_archived_before_the_turn_is_undeliverable_and_the_thread_is_not_blocked(desk: Desk) -> None:
    root = await desk.says()
    again = await desk.says("again", thread=root)
    desk.workspace.settle_channel(CHANNEL, is_archived=True)
    await desk.take(root, plain())
    assert (await desk.transcript(root)).turns[-1].outcome == "undeliverable"
    assert root.conversation.dead("t0") in desk.object_names()
    assert desk.queued() == []
    desk.begin_count()
    await desk.take(root, plain())
    assert desk.count().total() == 1
    desk.workspace.settle_channel(CHANNEL, is_archived=False)
    await desk.take(again, plain("more"))
    assert desk.shown(root) == ["more"]


async def test_no_tool_runs_for_an_answer_that_can_never_be_shown(desk: Desk) -> None:
    ran: list[str] = []
    script = Script(answers=[[("charge", {})], "fine"])
    agent = agent_of(script)

    @agent.tool_plain
    async def charge() -> str:  # pyright: ignore[reportUnusedFunction]
        ran.append("charge")
        return "charged"

    script.thinking = reserved
    task = await desk.says()
    desk.workspace.settle_channel(CHANNEL, is_archived=True)
    await desk.take(task, loaded(agent))
    assert (await desk.transcript(task)).turns[-1].outcome == "undeliverable"
    assert ran == []


async def test_a_channel_archived_while_the_agent_thinks_is_undeliverable_and_the_thread_is_not_blocked(desk: Desk) -> None:
    root = await desk.says()
    again = await desk.says("again", thread=root)
    await desk.take(root, meanwhile(desk, root, archive=True))
    assert (await desk.transcript(root)).turns[-1].outcome == "undeliverable"
    assert root.conversation.dead("t0") in desk.object_names()
    assert desk.queued() == []
    desk.workspace.settle_channel(CHANNEL, is_archived=False)
    await desk.take(again, plain("more"))
    assert desk.shown(root)[-1] == "more"


async def test_a_deleted_placeholder_is_replaced_by_a_new_message(desk: Desk) -> None:
    task = await desk.says()
    await desk.take(task, meanwhile(desk, task))
    assert desk.shown(task) == ["fine"]
    last = (await desk.transcript(task)).turns[-1]
    assert (last.outcome, last.epoch, last.messy) == ("answered", 2, True)
    assert [t.tag for t, _ in desk.queued("tidy")] == [last.tag]


async def test_a_deleted_answer_is_not_shown_again_to_a_duplicate(desk: Desk) -> None:
    task = await desk.says()
    await desk.take(task, plain())
    (answer,) = desk.workspace.messages(CHANNEL, task.conversation.thread_ts)[1:]
    await desk.workspace.remove(CHANNEL, answer["ts"])
    await desk.take(task, plain())
    assert desk.shown(task) == []


async def test_a_deleted_root_is_undeliverable_and_comes_to_rest(desk: Desk) -> None:
    task = await desk.says()
    await desk.workspace.remove(CHANNEL, task.conversation.thread_ts)
    await desk.take(task, plain())
    assert (await desk.transcript(task)).turns[-1].outcome == "undeliverable"
    assert desk.queued() == []


def meanwhile(desk: Desk, task: Task, *, archive: bool = False) -> Loaded:
    """An agent that says "fine", and while it thinks somebody deletes its placeholder, or archives the channel."""
    script = Script(answers=["fine"])

    async def act(_: int) -> None:
        await reserved()
        if archive:
            desk.workspace.settle_channel(CHANNEL, is_archived=True)
        else:
            await desk.workspace.remove(CHANNEL, desk.workspace.messages(CHANNEL, task.conversation.thread_ts)[-1]["ts"])

    script.thinking = act
    return loaded(agent_of(script))


# ---- transcripts that nobody can read


@pytest.mark.parametrize("corrupt", [b"", b"\x00\xff", b"{}", b'{"schema":1', b'{"schema":"1","turns":[]}', b"[" * 100_000])
async def test_an_unreadable_transcript_is_never_touched_and_each_message_gets_one_apology(desk: Desk, corrupt: bytes) -> None:
    root = await desk.says()
    desk.plant(root.conversation.path, corrupt)
    again = await desk.says("again", thread=root)
    for task in (root, root, again, again, root):
        await desk.take(task, plain())
    assert await desk.local.read(root.conversation.path) == corrupt
    assert [s.startswith("Sorry, I could not answer this: the record") for s in desk.shown(root)] == [True, True]
    stand_in, _ = await desk.local.load(root.conversation.dead("unreadable"), key=root.conversation)
    assert [t.outcome for t in stand_in.turns] == ["failed", "failed"]
    assert desk.queued() == []


async def test_a_duplicate_after_the_apology_adds_nothing_even_where_the_document_is_lost(desk: Desk) -> None:
    task = await desk.says()
    desk.plant(task.conversation.path, b"{")
    await desk.take(task, plain())
    seen = await desk.documents.read(task.conversation)
    assert seen
    await desk.documents.write(task.conversation, type(seen.document)(), token=seen.token)
    await desk.take(task, plain())
    assert len(desk.shown(task)) == 1


async def test_a_transcript_that_was_mended_is_gone_on_with(desk: Desk) -> None:
    root = await desk.says()
    await desk.take(root, plain())
    good = await desk.local.read(root.conversation.path)
    assert good
    desk.plant(root.conversation.path, b"{")
    await desk.take(await desk.says("broken", thread=root), plain("no"))
    desk.plant(root.conversation.path, good)
    await desk.take(await desk.says("mended", thread=root), plain("yes"))
    assert [s[:5] for s in desk.shown(root)] == ["fine", "Sorry", "yes"]


@pytest.mark.parametrize("newer", [{"schema": 2}, {"schema": 2, "turns": "of another kind"}])
async def test_a_newer_schema_is_waited_for_without_an_apology(
    desk: Desk, newer: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    root = await desk.says()
    await desk.take(root, plain())
    good = await desk.local.read(root.conversation.path)
    assert good
    data = json.dumps({**json.loads(good), **newer}).encode()
    desk.plant(root.conversation.path, data)
    again = await desk.says("again", thread=root)
    with caplog.at_level(logging.ERROR):
        await desk.take(again, plain("no"))
    assert [(t.envelope, after) for t, after in desk.queued()] == [(again.envelope, 120.0)]
    assert any(r.levelno == logging.ERROR and "schema 2" in r.message for r in caplog.records)
    assert await desk.local.read(root.conversation.path) == data
    assert desk.shown(root) == ["fine"]
    desk.plant(root.conversation.path, good)
    await desk.take(desk.next_task(), plain("more"))
    assert desk.shown(root) == ["fine", "more"]


# ---- history


async def test_after_turns_that_failed_the_model_still_reads_request_and_response_in_turns(desk: Desk) -> None:
    root = await desk.says("fails")
    await desk.take(root, plain(RuntimeError("boom")))
    in_round = Script(answers=[[("note", {})], RuntimeError("boom")])
    agent = agent_of(in_round)

    @agent.tool_plain(metadata={"spool": "pure"})
    async def note() -> str:  # pyright: ignore[reportUnusedFunction]
        return "noted"

    await desk.take(await desk.says("fails after a round", thread=root), loaded(agent))
    undelivered = [await desk.says(f"undeliverable {n}", thread=root) for n in range(2)]
    desk.workspace.settle_channel(CHANNEL, is_archived=True)
    await desk.take(undelivered[0], plain("unseen"))
    await desk.take(undelivered[1], asking_once_refused())
    desk.workspace.settle_channel(CHANNEL, is_archived=False)
    script = Script(answers=["fine"])
    await desk.take(await desk.says("and now?", user=GRACE, thread=root), loaded(agent_of(script)))
    assert [t.outcome for t in (await desk.transcript(root)).turns] == ["failed", "failed", *["undeliverable"] * 2, "answered"]
    assert all(a.kind != b.kind for a, b in itertools.pairwise(script.read[0]))
    assert script.read[0][0].kind == script.read[0][-1].kind == "request"
    said = [str(p.content) for m in script.read[0] for p in m.parts if p.part_kind == "user-prompt"]
    assert said[0] == f"<@{ADA}>: fails"
    assert said[-1] == f"<@{GRACE}>: and now?"
    assert len(said) == 5


def asking_once_refused() -> Loaded:
    """An agent that asks for a tool once Slack has refused to carry its answer."""
    return loaded(agent_of(Script(answers=[[("note", {})], "fine"], thinking=reserved)))


async def test_a_broken_agent_says_nothing_of_its_error_in_the_channel(desk: Desk) -> None:
    task = await desk.says()
    await desk.take(task, plain(RuntimeError("the password is swordfish")))
    assert "something in me is broken" in desk.shown(task)[0]
    kept, _ = await desk.local.load(task.conversation.dead("t0"), key=task.conversation)
    assert replace(kept.turns[0], outcome=None).messages == (await desk.transcript(task)).turns[0].messages
    assert "swordfish" not in Transcript.dump(kept).decode()
