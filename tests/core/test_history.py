"""What the model reads: every prompt, complete rounds only, in a shape that every provider accepts."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from test_envelope import KEY
from test_transcript import AT, asked, transcript, turn

from spool.envelope import File
from spool.history import history, prompt, speakers
from spool.transcript import Message, Reply, Turn

ANSWER = ModelResponse(parts=[TextPart("42")], timestamp=AT)
CALL = asked("find")
RETURN = ModelRequest(parts=[ToolReturnPart("find", "42", tool_call_id="find", timestamp=AT)])


def journal_of(rounds: int, end: tuple[ModelMessage, ...]) -> tuple[ModelMessage, ...]:
    return (*[CALL, RETURN] * rounds, *end)


def done_turn(steps: tuple[ModelMessage, ...], reply: Reply | None) -> Turn:
    return turn(*steps, state="done", outcome="answered", reply=reply)


no_end: tuple[ModelMessage, ...] = ()
journals = st.builds(journal_of, st.integers(0, 2), st.sampled_from([no_end, (CALL,), (ANSWER,)]))
done = st.builds(done_turn, journals, st.none() | st.just(Reply(parts=("Sorry.",))))


def unanswered_calls(messages: list[ModelMessage]) -> set[str]:
    """Calls of a response that the request after it does not answer."""
    lost: set[str] = set()
    for response, request in zip(messages, [*messages[1:], ModelRequest(parts=[])], strict=True):
        if isinstance(response, ModelResponse):
            answered = {p.tool_call_id for p in request.parts if isinstance(p, ToolReturnPart)}
            lost |= {p.tool_call_id for p in response.parts if isinstance(p, ToolCallPart)} - answered
    return lost


@given(st.lists(done, max_size=3), journals)
def test_it_alternates_strictly_and_holds_only_complete_rounds(before: list[Turn], journal: tuple[ModelMessage, ...]) -> None:
    read = history(transcript(*before, turn()))
    assert [m.kind for m in read] == ["request", "response"] * (len(read) // 2) + ["request"]
    assert not unanswered_calls(read)
    resumed = history(transcript(*before, turn(*journal)))
    assert [m.kind for m in resumed] == (["request", "response"] * len(resumed))[: len(resumed)]
    assert resumed == [*read, *journal]


def test_a_turn_that_died_inside_a_round_resumes_from_its_response() -> None:
    assert history(transcript(turn(CALL)))[-1] == CALL


def test_a_finished_turn_without_an_answer_ends_with_what_the_people_saw() -> None:
    failed = turn(CALL, state="done", outcome="failed", reply=Reply(parts=("Sorry.", "It may have happened.")))
    read = history(transcript(failed, turn()))
    assert [m.kind for m in read] == ["request", "response", "request"]
    assert read[1].parts == [TextPart("Sorry.\n\nIt may have happened.")]


def test_an_undeliverable_turn_ends_with_a_response_all_the_same() -> None:
    undeliverable = turn(CALL, RETURN, state="done", outcome="undeliverable", slots=())
    assert history(transcript(undeliverable))[-1].parts == [TextPart("(no answer)")]


def test_every_message_of_a_turn_is_a_part_of_its_prompt_with_its_own_time() -> None:
    second = replace(
        turn().messages[0], key="C1:2", ts="1715000009.000100", text="and why?", files=(File(id="F1", name="a.pdf"),)
    )
    asked_for = prompt(turn(messages=(*turn().messages, second, replace(second, files=(File(id="F2"),)))), named=False)
    parts = [p for p in asked_for.parts if isinstance(p, UserPromptPart)]
    assert [p.content for p in parts] == ["hi", "and why?\n[file a.pdf]", "and why?\n[file F2]"]
    assert [p.timestamp.timestamp() for p in parts] == [float(KEY.thread_ts), 1715000009.0001, 1715000009.0001]


def test_speakers_are_named_as_soon_as_there_are_several() -> None:
    other = Message(key="C1:2", ts="1715000009.000100", user="U2", text="me too")
    alone, together = transcript(turn(ANSWER, state="done")), transcript(turn(ANSWER, state="done"), turn(messages=(other,)))
    assert (speakers(alone), speakers(together)) == (1, 2)
    texts = [[p.content for m in history(t) for p in m.parts if isinstance(p, UserPromptPart)] for t in (alone, together)]
    assert texts == [["hi"], ["<@U1>: hi", "<@U2>: me too"]]
