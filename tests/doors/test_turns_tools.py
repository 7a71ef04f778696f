"""The real turn and its tools: what fails, what is run again, what a hand-over leaves to whoever goes on."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel
from pydantic_ai import ModelRetry, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from turning import Answer, Desk, Script, agent_of, at_desk, failing, loaded, plain

from spool.agents import Loaded
from spool.errors import NotHandedOn
from spool.here import Here
from spool.policy import Limits, Policy

pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`
Tool = Callable[[RunContext[Here]], Awaitable[str]]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


class Bench:
    """An agent with one tool of each kind, which behave as the test says; it asks once for those it is told, then answers."""

    def __init__(self, *names: str, **tools: Callable[[], Awaitable[str]]) -> None:
        answers: list[Answer] = [[(name, {"n": i}) for i, name in enumerate(names)], "fine"]
        self.script = Script(answers=answers)
        self.agent = agent_of(self.script, retries=2)
        self.keys: dict[str, list[str]] = {name: [] for name in tools}
        for name, tool in tools.items():
            self._add(name, tool)

    def _add(self, name: str, tool: Callable[[], Awaitable[str]]) -> None:
        semantics = name.split("_", 1)[0]

        async def run(ctx: RunContext[Here], n: int) -> str:
            del n
            self.keys[name].append(ctx.deps.key(ctx))
            return await tool()

        metadata = {"spool": "at_most_once" if semantics == "once" else semantics}
        self.agent.tool(run, name=name, metadata=metadata)

    @property
    def loaded(self) -> Loaded:
        return loaded(self.agent)


async def ok() -> str:
    return "ok"


def raising(*errors: BaseException) -> Callable[[], Awaitable[str]]:
    """A tool that raises these, one after the other, and then succeeds."""
    left = list(errors)

    async def tool() -> str:
        if left:
            raise left.pop(0)
        return "ok"

    return tool


# ---- tools that fail


@pytest.mark.parametrize("kind", ["pure", "idempotent", "once"])
async def test_a_tool_that_raises_becomes_a_result_its_siblings_go_on_and_there_is_one_answer(desk: Desk, kind: str) -> None:
    bad = f"{kind}_bad"
    bench = Bench("pure_one", bad, "once_two", **{"pure_one": ok, bad: raising(ValueError("boom")), "once_two": ok})
    task = await desk.says()
    await desk.take(task, bench.loaded)
    one, failed, two = bench.script.results()
    assert (one, two) == ("ok", "ok")
    assert ("may have happened" if kind == "once" else "ValueError('boom')") in failed
    assert [len(k) for k in bench.keys.values()] == [1, 1, 1]
    assert desk.shown(task) == ["fine"]
    assert (await desk.transcript(task)).turns[0].outcome == "answered"


@pytest.mark.parametrize("kind", ["pure", "once"])
async def test_a_tool_that_takes_too_long_is_cut_off_and_the_model_is_told(desk: Desk, kind: str) -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    desk.policy = Policy(limits=Limits(tool_seconds=0.05))
    name = f"{kind}_slow"
    bench = Bench(name, "pure_one", **{name: hang, "pure_one": ok})
    task = await desk.says()
    await desk.take(task, bench.loaded)
    slow, one = bench.script.results()
    assert ("may have happened" if kind == "once" else "TimeoutError") in slow
    assert one == "ok"
    assert desk.shown(task) == ["fine"]


@pytest.mark.parametrize("kind", ["pure", "idempotent", "once"])
async def test_a_tool_that_asks_for_another_try_gets_one_from_the_model(desk: Desk, kind: str) -> None:
    name = f"{kind}_picky"
    bench = Bench(name, **{name: raising(ModelRetry("say please"))})
    bench.script.answers = [[(name, {"n": 1})], [(name, {"n": 2})], "fine"]
    task = await desk.says()
    await desk.take(task, bench.loaded)
    assert "say please" in str(bench.script.read[1][-1].parts)
    assert len(set(bench.keys[name])) == 2
    assert desk.shown(task) == ["fine"]


@pytest.mark.parametrize("error", [ConnectionError("reset"), TimeoutError("slow")])
@pytest.mark.parametrize("kind", ["pure", "idempotent"])
async def test_a_tool_that_stumbles_is_run_again_with_the_same_key(desk: Desk, kind: str, error: Exception) -> None:
    name = f"{kind}_shaky"
    bench = Bench(name, **{name: raising(error)})
    await desk.take(await desk.says(), bench.loaded)
    first, second = bench.keys[name]
    assert first == second
    assert bench.script.results() == ["ok"]


async def test_a_tool_that_must_not_run_twice_is_not_run_again_and_the_model_is_told_that_it_may_have_happened(
    desk: Desk,
) -> None:
    bench = Bench("once_shaky", once_shaky=raising(ConnectionError("reset")))
    task = await desk.says()
    await desk.take(task, bench.loaded)
    assert len(bench.keys["once_shaky"]) == 1
    assert bench.script.results()[0].startswith('once_shaky({"n":0}) was interrupted: it may have happened')
    assert desk.shown(task) == ["fine"]


async def test_a_tool_whose_inner_task_was_cancelled_is_a_failure_of_that_tool_and_not_a_sigterm(desk: Desk) -> None:
    bench = Bench("pure_odd", pure_odd=raising(asyncio.CancelledError()))
    task = await desk.says()
    await desk.take(task, bench.loaded)
    assert desk.shown(task) == ["fine"]
    assert desk.queued() == []


# ---- told to stop


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

    async def tool() -> str:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return "ok"

    return begun, tool


async def test_sigterm_in_a_tool_round_hands_over_at_once_and_the_successor_answers_once(desk: Desk) -> None:
    begun, tool = hanging_once()
    bench = Bench("idempotent_slow", "once_quick", idempotent_slow=tool, once_quick=ok)
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
    begun, tool = hanging_once()
    bench = Bench("once_slow", once_slow=tool)
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
    begun, tool = hanging_once()
    bench = Bench("pure_slow", pure_slow=tool)
    desk.tasks.before["create"] = failing()
    with pytest.raises(NotHandedOn):
        await stop_in(desk, bench, begun)
    desk.tasks.before.clear()
    assert desk.queued() == []
    (root,) = desk.workspace.messages("C0GENERAL")[:1]
    assert root["text"] == "hello"


async def test_the_same_task_comes_again_after_a_500_and_is_answered_once(desk: Desk) -> None:
    task = await desk.says()
    desk.conversations.before["read"] = failing(12)
    desk.tasks.before["create"] = failing()
    with pytest.raises(NotHandedOn):
        await desk.take(task, plain(), name="k")
    desk.tasks.before.clear()
    await desk.take(task, plain(), name="k", retry=1)
    assert desk.shown(task) == ["fine"]


async def test_the_model_sees_the_instructions_again_after_a_resume_from_a_journalled_request(desk: Desk) -> None:
    script, begun = Script(answers=[[("note", {})], "fine"]), asyncio.Event()
    agent = agent_of(script, instructions="Be brief.")
    agent.tool_plain(ok, name="note")

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


def reporter(*, fails_at: int | None = None) -> tuple[Loaded, list[list[ModelMessage]]]:
    """An agent whose output is a model of its own."""
    read: list[list[ModelMessage]] = []

    async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        read.append(list(messages))
        if fails_at is not None and len(read) > fails_at:
            return ModelResponse(parts=[TextPart("no")])
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


async def test_a_structured_output_that_was_journalled_is_the_answer_after_a_take_over(desk: Desk) -> None:
    agent, read = reporter()
    task = await desk.says()
    commits = iter(range(10))

    async def stop_before_the_finish() -> None:
        if next(commits) == 2:
            stopping.cancel()
            await asyncio.sleep(0)

    desk.transcripts.before["commit"] = stop_before_the_finish
    stopping = asyncio.create_task(desk.take(task, agent))
    await stopping
    await desk.take(desk.next_task(), agent)
    assert desk.shown(task) == [JSON]
    assert len(read) == 1
    assert (await desk.transcript(task)).turns[0].unknown == ()
