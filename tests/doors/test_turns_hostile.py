"""The real turn among strangers: values no reader takes, a Slack that refuses to help, records that cannot be read."""

import asyncio
import contextlib
import gc
import sqlite3
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel
from pydantic_ai import RunContext, ToolOutput
from pydantic_ai.capabilities import ProcessHistory
from pydantic_ai.messages import ModelMessage, ModelResponse, SystemPromptPart, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from scripted import Script, agent_of, loaded, plain
from turning import CHANNEL, Desk, at_desk, reserved

from spool.agents import Loaded
from spool.console.faults import Fault
from spool.here import Here
from spool.task import Task

pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`
LOST = Fault(method="chat.postMessage", kind="lost")
NO_DELETING = Fault(method="chat.delete", kind="refused", error="compliance_exports_prevent_deletion", times=0)
NO_READING = Fault(method="conversations.replies", kind="refused", error="missing_scope", times=0)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


async def goes_on(desk: Desk, root: Task, agent: Loaded) -> None:
    """The thread's next message is answered too, and nothing is left to do."""
    await desk.take(await desk.says("and now?", thread=root), agent)
    assert [t.outcome for t in (await desk.transcript(root)).turns] == ["answered", "answered"]
    assert desk.shown(root)[-1] == "fine"
    assert desk.queued() == []


async def taken_over(desk: Desk, agent: Loaded, hanging: asyncio.Event, *faults: Fault) -> Task:
    """A turn that is stopped where it hangs; whoever goes on with it meets these faults. Its task."""
    task = await desk.says()
    turn = asyncio.create_task(desk.take(task, agent))
    await hanging.wait()
    turn.cancel()
    await turn
    desk.workspace.faults.add(*faults)
    await desk.take(desk.next_task(), agent)
    return task


# ---- values that no reader takes


class Unspeakable:
    def __repr__(self) -> str:
        msg = "I would rather not"
        raise RuntimeError(msg)


class Blob(BaseModel):
    data: bytes


def nested(depth: int) -> Any:
    return {"in": nested(depth - 1)} if depth else "core"


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


STRANGE: dict[str, tuple[Any, Callable[[], Any]]] = {
    "deep arguments": (nested(250), str),
    "nearly too deep": (nested(185), lambda: nested(185)),
    "deep": (1, lambda: nested(250)),
    "huge": (1, lambda: 10**5000),
    "cyclic": (1, cycle),
    "unspeakable": (1, Unspeakable),
    "no utf-8": (1, lambda: Blob(data=b"\xff\xfe")),
}


@pytest.mark.parametrize("semantics", ["pure", "at_most_once"])
@pytest.mark.parametrize(("args", "value"), STRANGE.values(), ids=STRANGE)
async def test_whatever_a_tool_takes_and_returns_the_turn_is_answered_and_the_thread_goes_on(
    desk: Desk, args: Any, value: Callable[[], Any], semantics: str
) -> None:
    agent = agent_of(Script(answers=[[("note", {"given": args})], "fine"]))

    @agent.tool_plain(metadata={"spool": semantics})
    async def note(given: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
        del given
        return value()

    root = await desk.says()
    await desk.take(root, loaded(agent))
    assert desk.shown(root) == ["fine"]
    await goes_on(desk, root, loaded(agent))


# ---- a Slack that refuses to help


@pytest.mark.parametrize("refused", [NO_DELETING, NO_READING])
async def test_a_refusal_after_a_lost_reservation_costs_no_answer(desk: Desk, refused: Fault) -> None:
    desk.workspace.faults.add(LOST, refused)
    root = await desk.says()
    await desk.take(root, plain())
    assert desk.shown(root).count("fine") == 1
    await goes_on(desk, root, plain())


@pytest.mark.parametrize("refused", [NO_DELETING, NO_READING])
async def test_a_refusal_after_a_lost_reservation_and_a_take_over_costs_no_answer(desk: Desk, refused: Fault) -> None:
    script, hanging = Script(answers=["fine"]), asyncio.Event()

    async def hang(call: int) -> None:
        if call == 0:
            await reserved()
            hanging.set()
            await asyncio.Event().wait()

    script.thinking = hang
    desk.workspace.faults.add(LOST)
    root = await taken_over(desk, loaded(agent_of(script)), hanging, refused)
    assert desk.shown(root).count("fine") == 1
    await goes_on(desk, root, plain())
    ((tidying, _),) = desk.queued("tidy")
    await desk.take(tidying, plain())
    assert len(desk.queued("tidy")) == 1
    assert desk.count()["chat.delete"] in ({1, 2, 3} if refused is NO_DELETING else {0})


async def test_a_progress_text_that_slack_throttles_leaves_the_slot_to_the_answer(desk: Desk) -> None:
    task = await desk.says()
    await desk.take(task, calling(desk, "note", Fault(method="chat.update", kind="throttled", seconds=1)))
    assert desk.shown(task) == ["fine"]
    assert (desk.count()["chat.update"], desk.count()["chat.postMessage"]) == (2, 1)
    assert not (await desk.transcript(task)).turns[0].messy


async def test_the_name_of_a_tool_that_is_longer_than_a_message_costs_nothing(desk: Desk) -> None:
    unretrieved: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unretrieved.append(context))
    task = await desk.says()
    await desk.take(task, calling(desk, "x" * 13_000))
    gc.collect()
    await asyncio.sleep(0)
    assert unretrieved == []
    assert desk.count()["chat.update"] == 2  # the progress text was tried
    assert desk.shown(task) == ["fine"]
    await goes_on(desk, task, plain())


def calling(desk: Desk, name: str, *faults: Fault) -> Loaded:
    """An agent that thinks so long before it calls a tool that progress is due; faults begin after the reservation."""
    script = Script(answers=[[(name, {})], "fine"])
    agent = agent_of(script, retries=2)

    @agent.tool_plain(metadata={"spool": "pure"})
    async def note() -> str:  # pyright: ignore[reportUnusedFunction]
        return "noted"

    async def think(call: int) -> None:
        if call == 0:
            await reserved()
            desk.workspace.faults.add(*faults)
            desk.clock.time += 10

    script.thinking = think
    return loaded(agent)


# ---- records that cannot be read


async def test_a_reply_without_a_mention_in_a_thread_whose_record_is_damaged_gets_one_apology(desk: Desk) -> None:
    root = await desk.says()
    desk.plant(root.conversation.path, b"\x00\xff")
    task = await desk.says("and?", thread=root, addressed="thread")
    for _ in range(2):
        await desk.take(task, plain())
    assert [s.startswith("Sorry, I could not answer this: the record") for s in desk.shown(task)] == [True]
    assert await desk.local.read(root.conversation.path) == b"\x00\xff"
    assert desk.queued() == []


ROWS = {
    "half": "'{'",
    "a list": "'[]'",
    "too deep": f"'{'[' * 100_000}'",
    "no utf-8": "CAST(x'ff00' AS TEXT)",
    "a bad lease": '\'{"lease":{"owner":"o","task":"k","retry":"0","at":"soon","ttl_s":null}}\'',
    "bad answered": "'{\"answered\":[[]]}'",
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_document_that_cannot_be_read_costs_nothing(desk: Desk, row: str) -> None:
    root = await desk.says()
    await desk.take(root, plain())
    with contextlib.closing(sqlite3.connect(desk.folder / "conversations.db")) as db:
        db.execute(f"UPDATE conversations SET document = {row}")  # noqa: S608 - the test's own words
        db.commit()
    await goes_on(desk, root, plain())


# ---- agents of many kinds


async def test_the_key_of_a_call_is_the_same_after_a_crash_whatever_the_agent_keeps_of_its_history(desk: Desk) -> None:
    def last_only(messages: list[ModelMessage]) -> list[ModelMessage]:
        return messages[-1:]

    call = ModelResponse(parts=[ToolCallPart("note", {}, "c")])
    said, keys, hanging = iter([call, call, ModelResponse(parts=[TextPart("fine")])]), list[str](), asyncio.Event()

    async def respond(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        assert len(messages) == 1
        return next(said)

    agent = agent_of(Script(answers=()), capabilities=[ProcessHistory(last_only)])
    agent.model = FunctionModel(respond, model_name="forgetful")

    @agent.tool(metadata={"spool": "idempotent"})
    async def note(ctx: RunContext[Here]) -> str:  # pyright: ignore[reportUnusedFunction]
        keys.append(ctx.deps.key(ctx))
        if len(keys) == 2:
            hanging.set()
            await asyncio.Event().wait()
        return "noted"

    task = await desk.says()
    crashed = asyncio.create_task(desk.take(task, loaded(agent), name="k"))
    await hanging.wait()
    await desk.take(task, loaded(agent), name="k", retry=1)
    crashed.cancel()
    await crashed
    first, second, again = keys
    assert first != second == again
    assert desk.shown(task) == ["fine"]


async def test_the_model_sees_the_system_prompt_in_every_turn(desk: Desk) -> None:
    script = Script(answers=["fine"])
    agent = loaded(agent_of(script, system_prompt="be kind"))
    root = await desk.says()
    await desk.take(root, agent)
    await goes_on(desk, root, agent)
    prompts = [[p.content for m in read for p in m.parts if isinstance(p, SystemPromptPart)] for read in script.read]
    assert prompts == [["be kind"], ["be kind"]]


async def test_a_structured_answer_by_another_name_is_no_call_in_doubt(desk: Desk) -> None:
    answer = ModelResponse(parts=[ToolCallPart("answer", {"data": "aa"}, "c")])
    agent = loaded(agent_of(Script(answers=[answer]), output_type=ToolOutput(Blob, name="answer")))
    commits, finishing = iter(range(10)), asyncio.Event()

    async def hang_at_the_finish() -> None:
        if next(commits) == 2:
            finishing.set()
            await asyncio.Event().wait()

    desk.transcripts.before["commit"] = hang_at_the_finish
    task = await taken_over(desk, agent, finishing)
    last = (await desk.transcript(task)).turns[0]
    assert (last.outcome, last.epoch, last.unknown) == ("answered", 2, ())
    assert desk.workspace.messages(CHANNEL, task.conversation.thread_ts)[-1]["text"] == '{\n  "data": "aa"\n}'
