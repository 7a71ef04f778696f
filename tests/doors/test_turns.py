"""The real turn over stores on disk and Slack on the wire: what it costs, whom it answers, when it ends."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from scripted import Calls, Script, agent_of, loaded, ok, plain, tool
from turning import ADA, Desk, at_desk, failing

from spool.agents import Loaded
from spool.conversation import Document, Lease
from spool.errors import Misconfigured
from spool.policy import Limits, Policy

ANSWER = Counter(
    {
        "conversations.read": 1,  # whose conversation is it?
        "conversations.write": 2,  # the lease; the release, with the answered keys
        "transcripts.load": 1,  # beside the lease
        "transcripts.commit": 2,  # open, beside the model; finish
        "chat.postMessage": 1,  # reserve, beside the model
        "chat.update": 1,  # fill
    }
)
"""What a plain answer costs: 8 calls."""


pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`
NOTE: Calls = [("note", {})]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


# ---- what it costs


async def test_a_plain_answer_in_a_conversation_that_exists_costs_eight_calls(desk: Desk) -> None:
    root = await desk.says()
    await desk.take(root, plain())
    again = await desk.says("and now?", thread=root)
    desk.begin_count()
    await desk.take(again, plain())
    assert desk.count() == ANSWER
    assert desk.count().total() == 8
    assert desk.shown(root) == ["fine", "fine"]


@pytest.mark.parametrize(("semantics", "more"), [("pure", 1), ("idempotent", 1), ("at_most_once", 2), (None, 2)])
@pytest.mark.parametrize("rounds", [1, 3])
async def test_each_tool_round_costs_one_commit_more_and_two_where_tools_run_at_most_once(
    desk: Desk, semantics: str | None, more: int, rounds: int
) -> None:
    script = Script(answers=[*([NOTE] * rounds), "fine"])
    agent = agent_of(script, tools=[tool(ok, semantics=semantics)])
    await desk.take(await desk.says(), loaded(agent))
    assert desk.count() == ANSWER + Counter({"transcripts.commit": more * rounds})


async def test_a_duplicate_of_an_answered_message_costs_one_read(desk: Desk) -> None:
    task = await desk.says()
    await desk.take(task, plain())
    desk.begin_count()
    await desk.take(task, plain("twice"))
    await desk.take(task.baton(after="somebody"), plain("twice"))
    assert desk.count() == Counter({"conversations.read": 2})
    assert desk.shown(task) == ["fine"]


async def test_a_duplicate_that_the_document_forgot_is_known_to_the_transcript(desk: Desk) -> None:
    task = await desk.says()
    await desk.take(task, plain())
    seen = await desk.documents.read(task.conversation)
    assert seen
    await desk.documents.write(task.conversation, Document(), token=seen.token)
    await desk.take(task, plain("twice"))
    assert desk.shown(task) == ["fine"]
    assert len((await desk.transcript(task)).turns) == 1


# ---- limits


async def test_a_turn_that_reaches_its_rounds_ends_with_a_sentence_that_says_so(desk: Desk) -> None:
    script = Script(answers=[NOTE])
    agent = agent_of(script, tools=[tool(ok)])
    desk.policy = Policy(limits=Limits(rounds=3))
    task = await desk.says()
    await desk.take(task, loaded(agent))
    last = (await desk.transcript(task)).turns[-1]
    assert last.outcome == "failed"
    assert [s.startswith("I have stopped here: this turn reached its limit.") for s in desk.shown(task)] == [True]
    assert len(script.read) == 3
    assert last.usage["requests"] == 3
    assert desk.queued() == []


async def test_a_turn_that_reaches_its_tokens_ends_with_a_sentence_that_says_so(desk: Desk) -> None:
    desk.policy = Policy(limits=Limits(tokens=20))
    task = await desk.says("word " * 100)
    await desk.take(task, plain("word " * 100))
    assert "reached its limit" in desk.shown(task)[0]
    assert (await desk.transcript(task)).turns[-1].outcome == "failed"


async def test_what_the_journal_holds_counts_against_the_limits_of_whoever_takes_over(desk: Desk) -> None:
    begun, script = asyncio.Event(), Script(answers=[NOTE])

    async def think(call: int) -> None:
        if call == 2:
            begun.set()
            await asyncio.Event().wait()

    script.thinking = think
    agent = agent_of(script, tools=[tool(ok)])
    desk.policy = Policy(limits=Limits(rounds=3))
    task = await desk.says()
    turn = asyncio.create_task(desk.take(task, loaded(agent)))
    await begun.wait()
    turn.cancel()
    await turn
    await desk.take(desk.next_task(), loaded(agent))
    assert "reached its limit" in desk.shown(task)[0]
    assert (await desk.transcript(task)).turns[-1].usage["requests"] == 3
    assert len(script.read) == 4  # the third was asked again, and it was the last


# ---- the agent's module


async def test_while_the_agents_module_is_broken_a_message_waits_and_is_answered_once_it_is_mended(desk: Desk) -> None:
    broken = True

    def agent() -> Loaded:
        if broken:
            msg = "agent/__init__.py:3: SyntaxError"
            raise Misconfigured(msg)
        return plain()

    task = await desk.says()
    await desk.take(task, agent)
    await desk.take(desk.next_task(), agent)
    assert desk.shown(task) == []
    assert desk.object_names() == []
    broken = False
    await desk.take(desk.next_task(), agent)
    assert desk.shown(task) == ["fine"]
    assert desk.queued() == []


@pytest.mark.parametrize("error", [Misconfigured, RuntimeError], ids=["known", "a bug of ours"])
async def test_an_hour_of_a_broken_module_ends_with_an_apology(
    desk: Desk, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    def agent() -> Loaded:
        msg = "agent/__init__.py:3: SyntaxError"
        raise error(msg)

    task = replace(await desk.says(), first_seen=desk.clock.now() - 3601)
    with caplog.at_level(logging.CRITICAL):
        await desk.take(task, agent)
    assert [s.startswith("Sorry") for s in desk.shown(task)] == [True]
    assert "SyntaxError" not in desk.shown(task)[0]
    assert task.conversation.dead("t0") in desk.object_names()
    assert desk.queued() == []


# ---- who is answered


async def test_a_reply_in_a_thread_without_the_agent_is_passed_over_and_nothing_is_written(desk: Desk) -> None:
    task = await desk.says(addressed="thread")
    await desk.take(task, plain())
    assert desk.count() == Counter({"conversations.read": 1, "transcripts.load": 1})
    assert await desk.document(task) is None
    assert desk.object_names() == []
    assert desk.queued() == []


async def test_a_reply_waits_where_a_first_turn_may_be_about_to_open(desk: Desk) -> None:
    task = await desk.says(addressed="thread")
    held = Document(lease=Lease(owner="other", task="k", retry=0))
    await desk.documents.write(task.conversation, held, token=None)
    before = await desk.document(task)
    await desk.take(task, plain())
    assert [(t.envelope, after) for t, after in desk.queued()] == [(task.envelope, 15.0)]
    assert await desk.document(task) == before
    assert desk.shown(task) == []


async def test_a_reply_is_answered_where_the_agent_takes_part(desk: Desk) -> None:
    root = await desk.says()
    await desk.take(root, plain())
    await desk.take(await desk.says("and?", thread=root, addressed="thread"), plain("more"))
    assert desk.shown(root) == ["fine", "more"]


async def test_after_some_turns_among_bots_a_thread_waits_for_a_person(desk: Desk) -> None:
    desk.policy = Policy(bot_turns=2)
    root = await desk.says("alert", user="B0ALERT")
    await desk.take(root, plain("one"))
    await desk.take(await desk.says("alert", user="B0ALERT", thread=root), plain("two"))
    desk.begin_count()
    await desk.take(await desk.says("alert", user="B0ALERT", thread=root), plain("never"))
    assert desk.count() == Counter({"conversations.read": 1, "transcripts.load": 1})
    assert desk.shown(root) == ["one", "two"]
    await desk.take(await desk.says("what is it?", user=ADA, thread=root), plain("three"))
    await desk.take(await desk.says("alert", user="B0ALERT", thread=root), plain("four"))
    assert desk.shown(root) == ["one", "two", "three", "four"]


# ---- the store


async def test_only_a_missing_object_is_a_new_transcript(desk: Desk) -> None:
    root = await desk.says()
    await desk.take(root, plain())
    again = await desk.says("again", thread=root)
    desk.transcripts.before["load"] = failing()
    desk.begin_count()
    await desk.take(again, plain("more"))
    assert desk.count()["transcripts.commit"] == 0
    assert desk.shown(root) == ["fine"]
    desk.transcripts.before.clear()
    await desk.take(desk.next_task(), plain("more"))
    assert desk.shown(root) == ["fine", "more"]
    assert len((await desk.transcript(root)).turns) == 2
