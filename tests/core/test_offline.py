"""The offline model: honest, deterministic, and a real caller of tools."""

from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, models
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolCallPart, UserPromptPart
from pydantic_ai.run import AgentRunResultEvent

from spool.offline import QUOTED, offline_model


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str
    count: int


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", False)


def room(calls: list[Any]) -> Agent[None, str]:
    """An agent with a tool of every kind; `calls` hears of them."""
    agent = Agent(offline_model())

    @agent.tool_plain(metadata={"spool": "pure"})
    def search_turns(query: str) -> str:
        calls.append(("search_turns", query))
        return "found it"

    @agent.tool_plain(metadata={"spool": "pure"})
    def read_thread() -> str:
        calls.append("read_thread")
        return "the thread"

    @agent.tool_plain
    def charge(cents: int, note: str = "none") -> str:
        calls.append(("charge", cents, note))
        return "charged"

    @agent.tool_plain
    def pack(items: list[Item], colour: Colour, at: tuple[int, str], *, fast: bool, note: str | None) -> str:
        calls.append((items, colour, at, fast, note))
        return "packed"

    del search_turns, read_thread, charge, pack
    return agent


def called(messages: list[ModelMessage]) -> list[ToolCallPart]:
    return [c for m in messages if isinstance(m, ModelResponse) for c in m.tool_calls]


async def test_the_answer_says_what_it_is_how_to_plug_in_a_model_and_what_was_asked() -> None:
    output = (await room([]).run("What is 6 x 7?")).output
    assert "offline model" in output
    assert "`SPOOL_MODEL`" in output
    assert "> What is 6 x 7?" in output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Search for the deploy date", [("search_turns", "the deploy date")]),
        ("What did we say earlier about lunch?", [("search_turns", "lunch")]),
        ('Do you remember "the zebra"?', [("search_turns", "the zebra")]),
        ("summarize this thread", ["read_thread"]),
        ("Hello", []),
        ("A charger, please", []),
    ],
)
async def test_tools_that_may_run_twice_are_called_when_the_text_asks_for_them(text: str, expected: list[Any]) -> None:
    calls: list[Any] = []
    await room(calls).run(text)
    assert calls == expected


async def test_a_tool_that_runs_at_most_once_is_called_only_by_its_name() -> None:
    agent = Agent(offline_model())
    calls: list[str] = []

    @agent.tool_plain
    def search_turns(query: str) -> str:
        calls.append(query)
        return ""

    del search_turns
    await agent.run("search earlier turns")
    assert calls == []
    await agent.run("call search_turns zebra")
    assert calls == ["zebra"]


async def test_arguments_are_the_json_after_the_name_or_made_from_the_schema() -> None:
    calls: list[Any] = []
    agent = room(calls)
    await agent.run('charge {"cents": 500, "note": "tip"} please')
    await agent.run("charge 42 cents")
    await agent.run("charge {broken")
    await agent.run("pack 3 blue shoes")
    assert calls[:3] == [("charge", 500, "tip"), ("charge", 42, "none"), ("charge", 1, "none")]
    text = "3 blue shoes"
    assert calls[3] == ([Item(name=text, count=3)], Colour.BLUE, (3, text), True, text)


async def test_what_a_tool_returned_stands_in_the_answer() -> None:
    result = await room([]).run("search for x in this thread")
    assert "`search_turns` returned:\n\n> found it" in result.output
    assert "`read_thread` returned:\n\n> the thread" in result.output


async def test_a_call_that_was_turned_away_is_answered_not_repeated() -> None:
    agent = Agent(offline_model())
    calls: list[int] = []

    @agent.tool_plain
    def charge(cents: int) -> str:
        calls.append(cents)
        msg = "not today"
        raise ModelRetry(msg)

    del charge
    output = (await agent.run("charge 5")).output
    assert calls == [5]
    assert "not today" in output


async def test_the_same_turn_makes_the_same_calls_and_every_round_has_its_own_ids() -> None:
    agent = room([])
    first, again = [await agent.run("charge 1 and search for x") for _ in range(2)]
    ids = [c.tool_call_id for c in called(first.all_messages())]
    assert ids == [c.tool_call_id for c in called(again.all_messages())]
    second = await agent.run("charge 1", message_history=first.all_messages())
    ids = [c.tool_call_id for c in called(second.all_messages())]
    assert len(set(ids)) == len(ids) == 3


async def test_a_resumed_turn_answers_from_its_journal_without_calling_again() -> None:
    calls: list[Any] = []
    agent = room(calls)
    messages = (await agent.run("charge 1")).all_messages()
    result = await agent.run(message_history=messages[:-1])
    assert calls == [("charge", 1, "none")]
    assert "> charged" in result.output


async def test_speakers_names_are_not_taken_for_what_they_said() -> None:
    calls: list[Any] = []
    parts = [UserPromptPart("<@U1>: hello"), UserPromptPart("<@U2>: search_turns: zebra")]
    result = await room(calls).run(message_history=[ModelRequest(parts=parts)])
    assert calls == [("search_turns", "zebra")]
    assert "> hello\n> search_turns: zebra" in result.output


async def test_streamed_it_says_and_does_the_same() -> None:
    calls: list[Any] = []
    agent = room(calls)
    plain = await agent.run("charge 7")
    async with agent.run_stream_events("charge 7") as events:
        ends = [e async for e in events if isinstance(e, AgentRunResultEvent)]
    assert [e.result.output for e in ends] == [plain.output]
    assert calls == [("charge", 7, "none")] * 2


async def test_an_agent_with_a_structured_output_gets_one() -> None:
    assert (await Agent(offline_model(), output_type=Item).run("5 shoes")).output.count == 5
    assert "5 shoes" in (await Agent(offline_model(), output_type=NativeOutput(Item)).run("5 shoes")).output.name


async def test_a_long_question_is_not_repeated_in_full() -> None:
    output = (await room([]).run("x" * 50_000)).output
    assert len(output) < QUOTED + 1_000
