"""The real turn while the conversation's document does not answer: on without a lease, and what another began is left to it."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from scripted import Script, agent_of, loaded, plain
from turning import Desk, at_desk, failing, until

from spool.agents import Loaded
from spool.policy import Policy
from spool.task import Task
from spool.turn import admission

pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`
THREADS, EACH = 12, 3


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


def goes_away(desk: Desk) -> None:
    desk.conversations.before.update(read=failing(), write=failing())


def comes_back(desk: Desk) -> None:
    desk.conversations.before.clear()


async def hang() -> None:
    await asyncio.Event().wait()


async def begun_turn(desk: Desk, task: Task) -> tuple["asyncio.Task[None]", asyncio.Event]:
    """A turn whose model thinks until the event is set."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def think(_: int) -> None:
        begun.set()
        await go_on.wait()

    turn = asyncio.create_task(desk.take(task, loaded(agent_of(Script(answers=["slowly"], thinking=think)))))
    await begun.wait()
    return turn, go_on


async def test_after_five_seconds_a_message_is_answered_without_a_lease(desk: Desk) -> None:
    goes_away(desk)
    task = await desk.says()
    came = desk.clock.time
    await desk.take(task, plain())
    assert desk.clock.time - came == pytest.approx(5.0, abs=0.5)
    assert desk.shown(task) == ["fine"]
    assert desk.queued() == []
    comes_back(desk)
    assert await desk.document(task) is None


async def test_a_document_that_just_hangs_counts_as_one_that_does_not_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "DOCUMENT_SECONDS", 0.05)
    desk.conversations.before["read"] = hang
    task = await desk.says()
    await desk.take(task, plain())
    desk.conversations.before = {"write": hang}
    more = await desk.says("more", thread=task)
    await desk.take(more, plain("more"))
    assert desk.shown(task) == ["fine", "more"]


async def test_what_another_has_begun_is_left_to_it_and_comes_back_by_a_baton(desk: Desk) -> None:
    goes_away(desk)
    root = await desk.says()
    turn, go_on = await begun_turn(desk, root)
    await desk.take(await desk.says("and?", thread=root), plain("more"))
    (last,) = (await desk.transcript(root)).turns
    assert (last.epoch, last.attempts, [m.text for m in last.messages]) == (1, 0, ["hello"])
    baton = desk.next_task()
    assert baton.envelope is not None
    assert baton.envelope.text == "and?"
    go_on.set()
    await turn
    await desk.take(baton, plain("more"))
    assert desk.shown(root) == ["slowly", "more"]


async def test_a_turn_whose_document_goes_away_is_answered_and_its_duplicate_adds_nothing(desk: Desk) -> None:
    task = await desk.says()
    turn, go_on = await begun_turn(desk, task)
    goes_away(desk)
    desk.clock.heartbeat.set()
    go_on.set()
    await turn
    await desk.take(task, plain("twice"))
    comes_back(desk)
    await desk.take(task, plain("twice"), retry=1)
    assert desk.shown(task) == ["slowly"]
    assert len((await desk.transcript(task)).turns) == 1


async def test_when_the_document_answers_again_the_turn_at_work_takes_the_lease_and_keeps_it(desk: Desk) -> None:
    goes_away(desk)
    root = await desk.says()
    turn, go_on = await begun_turn(desk, root)
    comes_back(desk)
    (owner,) = [t.owner for t in (await desk.transcript(root)).turns]
    desk.begin_count()
    desk.clock.heartbeat.set()
    await until(lambda: desk.count()["conversations.write"] > 0)
    document = await desk.document(root)
    assert document
    assert document.lease
    assert document.lease.owner == owner
    await desk.take(await desk.says("and?", thread=root), plain("more"))
    assert [t.epoch for t in (await desk.transcript(root)).turns] == [1]
    go_on.set()
    await turn
    document = await desk.document(root)
    assert document
    assert document.lease is None
    assert len(document.answered) >= 1


async def test_a_reply_in_a_thread_waits_where_nobody_can_say_whether_a_first_turn_is_about_to_open(desk: Desk) -> None:
    goes_away(desk)
    root = await desk.says()
    reply = await desk.says("and?", thread=root, addressed="thread")
    await desk.take(reply, plain("never"))
    assert desk.shown(root) == []
    comes_back(desk)
    await desk.take(root, plain())
    await desk.take(desk.next_task(), plain("more"))
    assert desk.shown(root) == ["fine", "more"]


async def test_a_duplicate_of_an_answered_message_shows_the_same_again(desk: Desk) -> None:
    task = await desk.says()
    await desk.take(task, plain())
    goes_away(desk)
    desk.begin_count()
    await desk.take(task, plain("twice"))
    assert desk.shown(task) == ["fine"]
    assert desk.count() == Counter({"conversations.read": 5, "transcripts.load": 1, "chat.update": 1})


async def test_where_only_the_inbox_cannot_be_written_the_message_just_waits_its_turn(desk: Desk) -> None:
    root = await desk.says()
    turn, go_on = await begun_turn(desk, root)
    desk.conversations.before["write"] = failing()
    desk.begin_count()
    await desk.take(await desk.says("and?", thread=root), plain("more"))
    assert desk.count()["transcripts.load"] == 0
    comes_back(desk)
    go_on.set()
    await turn
    await desk.take(desk.next_task(), plain("more"))
    assert desk.shown(root) == ["slowly", "more"]


async def test_a_bot_whose_own_turn_is_the_last_allowed_is_answered_after_a_crash(desk: Desk) -> None:
    desk.policy = Policy(bot_turns=1)
    task = await desk.says("alert", user="B0ALERT")
    turn, _ = await begun_turn(desk, task)
    (owner,) = [t.owner for t in (await desk.transcript(task)).turns]
    await desk.take(task.baton(after=owner), plain())
    assert desk.shown(task) == ["fine"]
    turn.cancel()
    await turn


async def test_taken_away_under_load_and_given_back_every_message_is_answered_once(desk: Desk) -> None:
    """Some of each thread's messages come before, some while it is away, some after; all turns of a wave run at once."""

    async def think(_: int) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    script = Script(answers=["fine"], thinking=think)
    agent = loaded(agent_of(script))
    roots = [await desk.says(f"thread {n}") for n in range(THREADS)]
    said = {root.conversation: [root] for root in roots}
    first = asyncio.gather(*(desk.take(root, agent) for root in roots))
    await until(lambda: len(script.read) == THREADS)
    goes_away(desk)
    for n in range(EACH):
        for root in roots:
            said[root.conversation].append(await desk.says(f"more {n}", thread=root))
        wave = [desk.take(said[root.conversation][-1], agent) for root in roots]
        again = [desk.take(said[root.conversation][-1], agent) for root in roots]  # and each a second time
        await asyncio.gather(*wave, *again)
    await first
    await _drain(desk, agent, waves=2)
    comes_back(desk)
    await _drain(desk, agent, waves=20)
    for root in roots:
        turns = (await desk.transcript(root)).turns
        keys = [m.key for turn in turns for m in turn.messages]
        assert sorted(keys) == sorted(t.envelope.key for t in said[root.conversation] if t.envelope)
        assert {turn.outcome for turn in turns} == {"answered"}
        assert desk.shown(root) == ["fine"] * len(turns)


async def _drain(desk: Desk, agent: Loaded, *, waves: int) -> None:
    """Take what waits in the queue, all at once, and what comes of it; at most so often."""
    for _ in range(waves):
        found = desk.queue.claim(now=desk.clock.now() + 1e6, limit=1000, running=())
        for dispatch in found:
            desk.queue.ack(dispatch.name)
            desk.clock.time = max(desk.clock.time, dispatch.due)
        await asyncio.gather(*(desk.take(Task.decode(d.body), agent, name=d.name) for d in found))
