"""The agent as it is shipped: what a newcomer copies must work."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai import models
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from agent import agent
from agent.tools import FOUND, LENGTH, LISTED
from spool.agents import DEFAULT_MODEL, load
from spool.envelope import ConversationKey, Envelope
from spool.here import Here
from spool.ports import Said
from spool.transcript import Reply, Transcript

KEY = ConversationKey(team="T1", channel="C1", thread_ts="1715000000.000100")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", False)


def asked(transcript: Transcript, text: str, *, user: str = "U1") -> Transcript:
    n = len(transcript.turns)
    envelope = Envelope(conversation=KEY, ts=f"17150000{n:02}.000100", user=user, text=text, addressed="mention")
    return transcript.opened([envelope], owner="me", now=1715000000.0 + n)


def answered(transcript: Transcript, text: str, *, failed: bool = False) -> Transcript:
    turn = transcript.turns[-1]
    done = replace(turn, state="done", outcome="failed" if failed else "answered", reply=Reply(parts=(text,)))
    return transcript.with_last(done)


def here(transcript: Transcript, *said: Said) -> Here:
    async def thread() -> tuple[Said, ...]:
        return said

    return Here(conversation=KEY, transcript=transcript, turn=transcript.turns[-1], thread=thread)


async def called(deps: Here, tool: str, **args: Any) -> str:
    """What the model is told when it calls this tool."""
    returns: list[str] = []

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        del info
        found = [p.model_response_str() for p in messages[-1].parts if isinstance(p, ToolReturnPart)]
        returns.extend(found)
        return ModelResponse(parts=[TextPart("done") if found else ToolCallPart(tool, args)])

    await agent.run("?", model=FunctionModel(model), deps=deps)
    return "\n".join(returns)


TALK = asked(
    answered(asked(answered(asked(Transcript.empty(KEY), "When is the Deploy?"), "On Tuesday."), "And lunch?"), "Noon."), "?"
)


def test_the_room_names_the_model_that_may_fall_back_to_the_offline_one() -> None:
    assert agent.model == DEFAULT_MODEL


def test_every_tool_of_the_room_declares_itself_pure() -> None:
    loaded = load(model="test")
    assert dict(loaded.tools) == {"search_turns": "pure", "read_thread": "pure"}
    assert loaded.undeclared == ()


async def test_every_tool_of_the_room_can_be_called_by_a_model() -> None:
    result = await agent.run("?", model=TestModel(), deps=here(TALK))
    assert "search_turns" in result.output
    assert "read_thread" in result.output


async def test_search_finds_words_in_any_case_and_says_who_and_when() -> None:
    found = await called(here(TALK), "search_turns", query="deploy")
    assert found == "2024-05-06 12:53 UTC <@U1>: When is the Deploy?"


async def test_search_ranks_by_words_found_and_then_the_newer_first() -> None:
    lines = (await called(here(TALK), "search_turns", query="Deploy? tuesday noon when")).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["When is the Deploy?", "Noon.", "On Tuesday."]


async def test_search_finds_neither_the_turn_at_hand_nor_an_apology() -> None:
    talk = asked(answered(asked(Transcript.empty(KEY), "one"), "Sorry, zebra.", failed=True), "zebra?")
    assert await called(here(talk), "search_turns", query="zebra") == "Nothing found in 1 earlier messages."


async def test_search_is_bounded_in_findings_and_in_length() -> None:
    talk = Transcript.empty(KEY)
    for _ in range(FOUND + 5):
        talk = answered(asked(talk, "word " * 1000), "")
    lines = (await called(here(asked(talk, "?")), "search_turns", query="word")).splitlines()
    assert len(lines) == FOUND
    assert max(map(len, lines)) < LENGTH + 50


async def test_the_thread_is_read_oldest_first_with_the_agent_as_you() -> None:
    said = (
        Said(ts="1715000000.000100", user="U1", text="hi\nthere"),
        Said(ts="1715000060.000100", user="U9", text="hello", mine=True),
    )
    lines = (await called(here(TALK, *said), "read_thread")).splitlines()
    assert lines == ["2024-05-06 12:53 UTC <@U1>: hi there", "2024-05-06 12:54 UTC you: hello"]


async def test_a_long_thread_is_cut_at_its_beginning_and_says_so() -> None:
    said = [Said(ts="1715000000.000100", user="U1", text=f"m{i}") for i in range(LISTED + 3)]
    lines = (await called(here(TALK, *said), "read_thread")).splitlines()
    assert lines[0] == "(the 3 messages before these are left out)"
    assert lines[-1].endswith(f"m{LISTED + 2}")
    assert len(lines) == LISTED + 1
    assert await called(here(TALK), "read_thread") == "The thread is empty."
