"""Conversations whose owner hangs: found by their lease, and gone on with by the oldest message that waits there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from scripted import Script, agent_of, loaded, plain
from turning import Desk, at_desk, failing

from spool.errors import Ambiguous, Refused
from spool.task import Task
from spool.turn.sweep import HOPELESS, sweep

pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`
LEASE, OVERDUE = 60, 30


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


@asynccontextmanager
async def hanging(desk: Desk, *tasks: Task) -> AsyncGenerator[None]:
    """A turn for each task, which hangs and sends no heartbeat."""
    begun = asyncio.Semaphore(0)

    async def hang(_: int) -> None:
        begun.release()
        await asyncio.Event().wait()

    turns = [asyncio.create_task(desk.take(t, loaded(agent_of(Script(answers=[], thinking=hang))))) for t in tasks]
    for _ in turns:
        await begun.acquire()
    try:
        yield
    finally:
        for turn in turns:
            turn.cancel()
        await asyncio.wait(turns)


async def test_the_oldest_message_that_waits_goes_on_with_the_conversation(desk: Desk) -> None:
    root = await desk.says("first")
    async with hanging(desk, root):
        desk.clock.time += 10
        await desk.take(await desk.says("second", thread=root), plain())
        desk.queue.ack(desk.queue.claim(now=desk.clock.now() + 1e6, limit=1, running=())[0].name)  # its baton is lost
        desk.clock.time += LEASE + OVERDUE
        assert await sweep(ports=desk.ports(plain())) == 1
        task = desk.next_task()
        assert task.envelope == root.envelope
        assert task.first_seen == float(root.envelope.ts if root.envelope else 0)
        assert (task.kind, task.after, task.hop) == ("msg", "", 0)
        await desk.take(task, plain())
        assert desk.shown(root) == ["fine", "fine"]
        turns = (await desk.transcript(root)).turns
        assert [m.text for t in turns for m in t.messages] == ["first", "second"]
        assert turns[0].attempts == 1
        assert await sweep(ports=desk.ports(plain())) == 0


@pytest.mark.parametrize("seconds", [0, LEASE, LEASE + OVERDUE - 1])
async def test_an_owner_who_may_be_late_with_a_heartbeat_is_left_alone(desk: Desk, seconds: float) -> None:
    async with hanging(desk, await desk.says()):
        desk.clock.time += seconds
        assert await sweep(ports=desk.ports(plain())) == 0
        assert desk.queued() == []


async def test_a_conversation_at_rest_is_left_alone(desk: Desk) -> None:
    await desk.take(await desk.says(), plain())
    desk.clock.time += 1e6
    desk.begin_count()
    assert await sweep(ports=desk.ports(plain())) == 0
    assert sum(desk.count().values()) == 1


async def test_swept_twice_it_is_answered_once(desk: Desk) -> None:
    root = await desk.says()
    async with hanging(desk, root):
        desk.clock.time += LEASE + OVERDUE + 1
        assert await sweep(ports=desk.ports(plain())) == 1
        assert await sweep(ports=desk.ports(plain())) == 1
        await asyncio.gather(*(desk.take(task, plain()) for task, _ in desk.queued()))
        assert desk.shown(root) == ["fine"]
        assert len((await desk.transcript(root)).turns) == 1


async def test_one_sweep_makes_no_more_tasks_than_it_may(desk: Desk) -> None:
    async with hanging(desk, *[await desk.says(str(n)) for n in range(5)]):
        desk.clock.time += LEASE + OVERDUE + 1
        assert await sweep(ports=desk.ports(plain()), limit=3) == 3


async def test_one_task_that_is_refused_keeps_no_other_conversation_waiting(desk: Desk) -> None:
    async with hanging(desk, await desk.says("one"), await desk.says("two")):
        desk.clock.time += LEASE + OVERDUE + 1
        desk.tasks.before["create"] = failing(1, Refused("too large", reason="size"))
        assert await sweep(ports=desk.ports(plain())) == 1
        desk.tasks.before.clear()


async def test_where_the_queue_does_not_answer_the_next_sweep_makes_up_for_it(desk: Desk) -> None:
    async with hanging(desk, await desk.says()):
        desk.clock.time += LEASE + OVERDUE + 1
        desk.tasks.before["create"] = failing(1)
        with pytest.raises(Ambiguous):
            await sweep(ports=desk.ports(plain()))
        assert await sweep(ports=desk.ports(plain())) == 1
        desk.tasks.before.clear()


async def test_after_an_hour_the_lease_is_taken_away_and_what_waits_stays(desk: Desk) -> None:
    root = await desk.says()
    async with hanging(desk, root):
        desk.clock.time += LEASE + HOPELESS + 1
        assert await sweep(ports=desk.ports(plain())) == 0
        document = await desk.document(root)
        assert document
        assert document.lease is None
        assert list(document.inbox) == [root.envelope.key if root.envelope else ""]
        await desk.take(root, plain(), retry=1)
        assert desk.shown(root) == ["fine"]
