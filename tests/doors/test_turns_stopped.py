"""The real turn told to stop: what it hands over, what whoever goes on must not repeat, and answers that are no text."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from scripted import Bench, Script, agent_of, loaded, ok, plain, tool
from turning import Desk, at_desk, failing

from spool.agents import Loaded
from spool.errors import NotHandedOn

pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


async def stop_in(desk: Desk, bench: Bench, begun: asyncio.Event) -> Any:
    """A turn that is told to stop once `begun` is set; its task."""
    task = await desk.says()
    turn = asyncio.create_task(desk.take(task, bench.loaded))
    await begun.wait()
    turn.cancel()
    await turn
    return task


def hanging_once() -> tuple[asyncio.Event, Callable[[], Awaitable[str]]]:
    """A tool that hangs at its first run; the event tells that it has begun."""
    begun = asyncio.Event()

    async def does() -> str:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return "ok"

    return begun, does


async def test_sigterm_in_a_tool_round_hands_over_at_once_and_the_successor_answers_once(desk: Desk) -> None:
    begun, slow = hanging_once()
    bench = Bench("idempotent_slow", "once_quick", idempotent_slow=slow, once_quick=ok)
    task = await stop_in(desk, bench, begun)
    document = await desk.document(task)
    assert document
    assert document.lease is None
    assert [after for _, after in desk.queued()] == [0]
    assert desk.shown(task) == ["…"]
    await desk.take(desk.next_task(), bench.loaded)
    first, second = bench.keys["idempotent_slow"]
    assert first == second
    assert desk.shown(task) == ["fine"]
    last = (await desk.transcript(task)).turns[0]
    assert (last.outcome, last.attempts, last.epoch) == ("answered", 0, 2)
    assert desk.queued() == []
    assert [t.tag for t, _ in desk.queued("tidy")] == [last.tag]


async def test_what_runs_at_most_once_is_in_doubt_after_sigterm_and_never_runs_again(desk: Desk) -> None:
    begun, slow = hanging_once()
    bench = Bench("once_slow", once_slow=slow)
    task = await stop_in(desk, bench, begun)
    await desk.take(desk.next_task(), bench.loaded)
    assert len(bench.keys["once_slow"]) == 1
    assert "it may have happened, and it may not" in bench.script.results()[0]
    assert (await desk.transcript(task)).turns[0].unknown == ("c0-0",)
    assert desk.shown(task) == ["fine"]


async def test_sigterm_in_a_model_call_keeps_what_tools_returned(desk: Desk) -> None:
    bench, begun = Bench("once_quick", once_quick=ok), asyncio.Event()

    async def think(call: int) -> None:
        if call == 1:
            begun.set()
            await asyncio.Event().wait()

    bench.script.thinking = think
    task = await stop_in(desk, bench, begun)
    await desk.take(desk.next_task(), bench.loaded)
    assert len(bench.keys["once_quick"]) == 1
    assert bench.script.results() == ["ok"]
    assert (await desk.transcript(task)).turns[0].unknown == ()
    assert desk.shown(task) == ["fine"]


async def test_where_no_successor_can_be_created_the_queue_must_try_again_and_the_lease_is_given_back(desk: Desk) -> None:
    begun, slow = hanging_once()
    bench = Bench("pure_slow", pure_slow=slow)
    desk.tasks.before["create"] = failing()
    task = await desk.says()
    turn = asyncio.create_task(desk.take(task, bench.loaded, name="k"))
    await begun.wait()
    turn.cancel()
    with pytest.raises(NotHandedOn):
        await turn
    document = await desk.document(task)
    assert document
    assert document.lease is None
    desk.tasks.before.clear()
    assert desk.queued() == []
    await desk.take(task, bench.loaded, name="k", retry=1)
    assert desk.shown(task) == ["fine"]


async def test_a_task_that_could_not_even_be_admitted_comes_again_and_is_answered_once(desk: Desk) -> None:
    task = await desk.says()
    desk.transcripts.before["load"] = failing()
    desk.tasks.before["create"] = failing()
    with pytest.raises(NotHandedOn):
        await desk.take(task, plain(), name="k")
    desk.tasks.before.clear()
    desk.transcripts.before.clear()
    await desk.take(task, plain(), name="k", retry=1)
    assert desk.shown(task) == ["fine"]


async def test_the_model_sees_the_instructions_again_after_a_resume_from_a_journalled_request(desk: Desk) -> None:
    script, begun = Script(answers=[[("note", {})], "fine"]), asyncio.Event()
    agent = agent_of(script, instructions="Be brief.", tools=[tool(ok, semantics=None)])

    async def think(call: int) -> None:
        if call == 1:
            begun.set()
            await asyncio.Event().wait()

    script.thinking = think
    task = await desk.says()
    turn = asyncio.create_task(desk.take(task, loaded(agent)))
    await begun.wait()
    turn.cancel()
    await turn
    steps = (await desk.transcript(task)).turns[0].steps
    assert [s.kind for s in steps] == ["response", "request"]
    await desk.take(desk.next_task(), loaded(agent))
    assert script.instructions == ["Be brief."] * 3
    assert desk.shown(task) == ["fine"]


# ---- structured answers


class Report(BaseModel):
    city: str
    degrees: int


def reporter() -> tuple[Loaded, list[list[ModelMessage]]]:
    """An agent whose output is a model of its own."""
    read: list[list[ModelMessage]] = []

    async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        read.append(list(messages))
        return ModelResponse(parts=[ToolCallPart(info.output_tools[0].name, {"city": "Bern", "degrees": 7})])

    agent = agent_of(Script(answers=()), output_type=Report)
    agent.model = FunctionModel(respond, model_name="reporter")
    return loaded(agent), read


JSON = '{\n  "city": "Bern",\n  "degrees": 7\n}'


async def test_an_agent_with_a_structured_output_answers_in_json_and_the_next_turn_works(desk: Desk) -> None:
    agent, read = reporter()
    root = await desk.says()
    await desk.take(root, agent)
    await desk.take(await desk.says("again", thread=root), agent)
    assert desk.shown(root) == [JSON, JSON]
    assert [m.kind for m in read[-1]] == ["request", "response", "request"]


async def taken_over_before_the_finish(desk: Desk, agent: Loaded) -> Any:
    """A turn told to stop after its last response was journalled, and then taken over; its task."""
    task = await desk.says()
    commits = iter(range(10))

    async def stop_at_the_third() -> None:
        if next(commits) == 2:
            stopping.cancel()
            await asyncio.sleep(0)

    desk.transcripts.before["commit"] = stop_at_the_third
    stopping = asyncio.create_task(desk.take(task, agent))
    await stopping
    await desk.take(desk.next_task(), agent)
    return task


async def test_a_structured_output_that_was_journalled_is_the_answer_after_a_take_over(desk: Desk) -> None:
    agent, read = reporter()
    task = await taken_over_before_the_finish(desk, agent)
    assert desk.shown(task) == [JSON]
    assert len(read) == 1


async def test_a_structured_output_is_no_call_in_doubt(desk: Desk) -> None:
    agent, _ = reporter()
    task = await taken_over_before_the_finish(desk, agent)
    assert (await desk.transcript(task)).turns[0].unknown == ()
