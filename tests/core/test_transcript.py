"""The transcript: what was written is read, for ever; what cannot be read is told apart; a change is a new value."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pydantic
import pydantic_ai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    RetryFeedbackPart,
    RetryInfo,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.usage import RequestUsage
from test_envelope import KEY, envelopes, timestamps

from spool.envelope import Envelope, File
from spool.errors import SpoolError, TooNew, Unreadable
from spool.transcript import MAX_ATTEMPTS, SCHEMA, TITLE_LENGTH, Message, Outcome, Reply, Transcript, Turn

GOLDEN = Path(__file__).parent / "golden"
JSON_SCHEMA = GOLDEN / "transcript.schema.json"
AT = datetime(2024, 5, 6, 12, 53, 20, tzinfo=UTC)
Json = dict[str, Any]

# ---- what may stand in a transcript

numbers = st.integers(min_value=0, max_value=1 << 50)
seconds = st.floats(min_value=0, max_value=4e9)
moments = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants it naive
contents = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
calls = st.builds(
    ToolCallPart,
    tool_name=st.text(min_size=1, max_size=8),
    args=st.none() | st.text(max_size=8) | st.dictionaries(st.text(max_size=3), contents, max_size=3),
    tool_call_id=st.text(min_size=1, max_size=8),
)
said: st.SearchStrategy[ModelResponsePart] = (
    st.builds(TextPart, content=st.text()) | st.builds(ThinkingPart, content=st.text(), signature=st.none() | st.text()) | calls
)
returned: st.SearchStrategy[ModelRequestPart] = (
    st.builds(
        ToolReturnPart,
        tool_name=st.text(min_size=1, max_size=8),
        content=contents,
        tool_call_id=st.text(min_size=1, max_size=8),
        timestamp=moments,
        outcome=st.sampled_from(["success", "failed", "retried"]),
    )
    | st.builds(
        RetryFeedbackPart, content=st.text(), retry=st.builds(RetryInfo, cause=st.just("model_retry")), timestamp=moments
    )
    | st.builds(UserPromptPart, content=st.text(), timestamp=moments)
)
responses = st.builds(
    ModelResponse,
    parts=st.lists(said, min_size=1, max_size=3),
    usage=st.builds(RequestUsage, input_tokens=numbers, output_tokens=numbers),
    model_name=st.none() | st.text(),
    timestamp=moments,
    finish_reason=st.sampled_from([None, "stop", "tool_call"]),
)
requests = st.builds(ModelRequest, parts=st.lists(returned, min_size=1, max_size=3), timestamp=st.none() | moments)
messages = st.builds(
    Message,
    key=st.text(),
    ts=timestamps,
    user=st.text(),
    text=st.text(),
    files=st.lists(st.builds(File, id=st.text(), name=st.text(), url=st.text()), max_size=2).map(tuple),
)
turns = st.builds(
    Turn,
    id=st.text(),
    messages=st.lists(messages, min_size=1, max_size=2).map(tuple),
    state=st.sampled_from(["open", "done"]),
    outcome=st.none() | st.sampled_from(get_args(Outcome)),
    owner=st.text(),
    epoch=numbers,
    attempts=numbers,
    messy=st.booleans(),
    steps=st.lists(responses | requests, max_size=3).map(tuple),
    unknown=st.lists(st.text(), max_size=2).map(tuple),
    reply=st.none()
    | st.builds(Reply, parts=st.lists(st.text(), max_size=2).map(tuple), render=st.sampled_from(["blocks", "plain"])),
    slots=st.none() | st.lists(st.none() | timestamps, max_size=3).map(tuple),
    delivered=st.booleans(),
    model=st.none() | st.text(),
    usage=st.dictionaries(st.text(), numbers, max_size=2),
    cost_usd=st.none() | seconds,
    revision=st.none() | st.text(),
    instructions=st.none() | st.text(),
    started_at=seconds,
    finished_at=st.none() | seconds,
)
transcripts = st.builds(
    Transcript,
    team=st.just(KEY.team),
    channel=st.just(KEY.channel),
    thread_ts=st.just(KEY.thread_ts),
    title=st.text(),
    turns=st.lists(turns, max_size=2).map(tuple),
    archive=st.dictionaries(st.text(max_size=3), contents, max_size=2),
    archived_keys=st.lists(st.text(), max_size=2).map(tuple),
    participation=st.dictionaries(st.text(max_size=3), contents, max_size=2),
)


def turn(*steps: ModelMessage, **changed: Any) -> Turn:
    first = Message(key=f"{KEY.channel}:{KEY.thread_ts}", ts=KEY.thread_ts, user="U1", text="hi")
    return replace(Turn(id="t0", messages=(first,), owner="me", steps=steps), **changed)


def transcript(*all_turns: Turn) -> Transcript:
    return replace(Transcript.empty(KEY), turns=all_turns)


def asked(*names: str) -> ModelResponse:
    """A response that calls these tools; each call's id is its tool's name."""
    return ModelResponse(parts=[ToolCallPart(n, {"n": 1}, tool_call_id=n) for n in names], timestamp=AT)


# ---- written and read


@given(transcripts)
def test_a_transcript_comes_back_as_it_was(written: Transcript) -> None:
    assert Transcript.load(written.dump()) == written


@given(transcripts)
def test_it_is_one_line_of_compact_json(written: Transcript) -> None:
    data = written.dump()
    assert data.count(b"\n") == 1
    assert data.endswith(b"}\n")
    assert len(data) <= len(json.dumps(json.loads(data), ensure_ascii=False, separators=(",", ":")).encode()) + 400


@given(transcripts)
def test_steps_are_exactly_what_pydantic_ai_dumps(written: Transcript) -> None:
    for stored, one in zip(json.loads(written.dump())["turns"], written.turns, strict=True):
        assert stored["steps"] == json.loads(ModelMessagesTypeAdapter.dump_json(list(one.steps)))


@pytest.mark.parametrize("content", [b"\xff\xd8", [b"\xff"], {"photo": b"abc"}, {1, 2}, AT, float("nan"), 10**400])
def test_whatever_a_tool_returns_is_written_as_pydantic_ai_writes_it(content: Any) -> None:
    step = ModelRequest(parts=[ToolReturnPart("photo", content, tool_call_id="c1", timestamp=AT)])
    stored = json.loads(transcript(turn(step)).dump())["turns"][0]["steps"]
    assert stored == json.loads(ModelMessagesTypeAdapter.dump_json([step]))


@pytest.mark.parametrize("content", ["\ud800", {"\udcff": ["a\udcffb"]}, object(), {"a": object()}, RuntimeError("x")])
def test_what_json_cannot_carry_becomes_text_and_never_stops_a_turn(content: Any) -> None:
    written = transcript(turn(ModelRequest(parts=[ToolReturnPart("find", content, tool_call_id="c1")])))
    assert Transcript.load(Transcript.load(written.dump()).dump()).keys == written.keys


def test_half_a_character_in_a_message_does_not_stop_its_turn() -> None:
    opened = Transcript.empty(KEY).opened(
        [Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="a\ud83db", addressed="dm")], owner="me", now=1.0
    )
    assert Transcript.load(opened.dump()).turns[0].messages[0].text == "a?b"


# ---- for ever


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("transcript-*.json")), ids=lambda p: p.stem)
def test_a_transcript_of_every_past_schema_loads_and_loses_nothing(path: Path) -> None:
    """A golden file is never changed. Where a newer pydantic-ai adds fields, compare what stands in the file."""
    data = path.read_bytes()
    assert json.loads(Transcript.load(data).dump()) == json.loads(data)


def test_the_golden_file_of_this_schema_holds_every_field_and_every_kind() -> None:
    found: Json = json.loads((GOLDEN / f"transcript-{SCHEMA}.json").read_bytes())
    all_turns: list[Json] = found["turns"]
    parts: list[Json] = [p for t in all_turns for s in t["steps"] for p in s["parts"]]
    assert found.keys() == {f.name for f in fields(Transcript)}
    assert all(t.keys() == {f.name for f in fields(Turn)} for t in all_turns)
    assert all(any(t[f.name] not in (None, [], {}, 0, 0.0, False) for t in all_turns) for f in fields(Turn))
    assert {t["outcome"] for t in all_turns} == {None, *get_args(Outcome)}
    assert {t["reply"]["render"] for t in all_turns if t["reply"]} == {"blocks", "plain"}
    assert any(None in (t["slots"] or ()) for t in all_turns)
    kinds = {p["part_kind"] for p in parts}
    assert kinds >= {"text", "thinking", "tool-call", "tool-return", "retry-feedback", "user-prompt"}
    assert {p["outcome"] for p in parts if p["part_kind"] == "tool-return"} == {"success", "failed", "retried"}


def json_schema() -> Json:
    """The transcript as JSON Schema, for its readers. `steps` are pydantic-ai's own messages, and described by it.

    To write the file anew: python -c "import json, test_transcript as t; t.JSON_SCHEMA.write_text(json.dumps(t.json_schema(),
    indent=2) + '\\n')", with functions/ and tests/core/ on PYTHONPATH.
    """
    schema: Json = pydantic.TypeAdapter(Transcript).json_schema(mode="serialization")
    kinds: Json = schema.pop("$defs")
    part: Json = {"type": "object", "properties": {"part_kind": {"type": "string"}}, "required": ["part_kind"]}
    step: Json = {
        "type": "object",
        "properties": {"kind": {"enum": ["request", "response"]}, "parts": {"type": "array", "items": part}},
        "required": ["kind", "parts"],
    }
    kinds["Turn"]["properties"]["steps"]["items"] = step
    ours = {name: kinds[name] for name in ("File", "Message", "Reply", "Turn")}
    for described in (schema, *ours.values()):
        for described_field in described["properties"].values():
            described_field.pop("title", None)
    for ours_to_set in ("writer", "pydantic_ai"):
        schema["properties"][ours_to_set].pop("default")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "$defs": ours}


def test_the_json_schema_is_up_to_date() -> None:
    assert json.loads(JSON_SCHEMA.read_bytes()) == json_schema()


def test_the_golden_file_holds_what_the_json_schema_names_and_nothing_else() -> None:
    found: Json = json.loads((GOLDEN / f"transcript-{SCHEMA}.json").read_bytes())
    schema: Json = json.loads(JSON_SCHEMA.read_bytes())
    assert found.keys() == schema["properties"].keys()
    for one in found["turns"]:
        assert one.keys() == schema["$defs"]["Turn"]["properties"].keys()
        assert one["state"] in schema["$defs"]["Turn"]["properties"]["state"]["enum"]


# ---- what cannot be read

SECRET = "the password is hunter2"


def stored(**changed: Any) -> bytes:
    return json.dumps(json.loads(transcript(turn(asked("find"))).dump()) | changed).encode()


def with_step(step: Any, **changed: Any) -> bytes:
    one = json.loads(transcript(turn()).dump())["turns"][0] | {"steps": [step]}
    return stored(turns=[one], **changed)


UNREADABLE = {
    "no bytes": b"",
    "no JSON": SECRET.encode(),
    "cut off": stored()[:-20],
    "no UTF-8": b'"\xff"',
    "too deep": b"[" * 100_000,
    "null": b"null",
    "a list": b"[]",
    "another object": json.dumps({"note": SECRET}).encode(),
    "no schema that is a number": stored(schema=SECRET),
    "a turn that is none": stored(turns=[{"text": SECRET}]),
    "a message without ts": stored(turns=[{"id": "t0", "owner": "me", "messages": [{"text": SECRET}]}]),
    "a part of an unknown kind, by this pydantic-ai": with_step(
        {"kind": "response", "parts": [{"part_kind": SECRET, "content": SECRET}]}
    ),
    "a later pydantic-ai, but no schema": stored(schema=None, pydantic_ai="99.0.0"),
}
TOO_NEW = {
    "schema 2": stored(schema=2),
    "schema 2 with other fields": json.dumps({"schema": 2, "threads": SECRET}).encode(),
    "a part that only a later pydantic-ai knows": with_step(
        {"kind": "response", "parts": [{"part_kind": "dream", "content": SECRET}]}, pydantic_ai="99.0.0"
    ),
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_bytes_that_are_no_transcript_are_unreadable_and_not_quoted(data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        Transcript.load(data)
    assert str(len(data)) in str(caught.value)
    assert_quotes_nobody(caught.value)


@pytest.mark.parametrize("data", TOO_NEW.values(), ids=TOO_NEW.keys())
def test_a_later_transcript_is_too_new_and_not_quoted(data: bytes) -> None:
    with pytest.raises(TooNew) as caught:
        Transcript.load(data)
    assert_quotes_nobody(caught.value)


def assert_quotes_nobody(error: SpoolError) -> None:
    assert "hunter2" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


def test_a_later_pydantic_ai_alone_is_no_reason_to_wait() -> None:
    assert Transcript.load(stored(pydantic_ai="99.0.0")).pydantic_ai == "99.0.0"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_transcript_or_one_of_two_errors(data: bytes) -> None:
    with pytest.raises((Unreadable, TooNew)):
        Transcript.load(data)


# ---- opened


def test_a_new_turn_holds_its_messages_by_ts_and_puts_the_turn_before_it_on_record() -> None:
    late, early = (
        Envelope(conversation=KEY, ts=f"171500000{n}.000100", user=f"U{n}", text=str(n), addressed="dm") for n in (2, 1)
    )
    first = Transcript.empty(KEY).opened([late, early], owner="me", now=5.0)
    assert first.turns[0] == Turn(id="t0", messages=(Message.of(early), Message.of(late)), owner="me", started_at=5.0)
    assert first.title == "1"
    second = first.opened([replace(late, ts="1715000003.000100")], owner="you", now=6.0)
    assert (second.turns[0].delivered, second.turns[1].id, second.title) == (True, "t1", "1")
    assert second.last is second.turns[1]


@given(st.lists(envelopes, min_size=1, max_size=3), transcripts)
def test_every_message_of_a_new_turn_is_in_the_dedup_set(mail: list[Envelope], before: Transcript) -> None:
    after = before.opened(mail, owner="me", now=1.0)
    assert set(after.keys) == {*before.keys, *(e.key for e in mail)}


def test_opening_a_turn_says_who_wrote() -> None:
    old = replace(Transcript.empty(KEY), writer="spool 0.0.1", pydantic_ai="2.0.0")
    mail = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="hi", addressed="dm")
    assert old.opened([mail], owner="me", now=1.0).pydantic_ai == pydantic_ai.__version__


@pytest.mark.parametrize(
    ("text", "title"),
    [("  two\n lines ", "two lines"), ("x" * 80, "x" * 80), ("x" * 81, "x" * 79 + "…"), ("", "")],
)
def test_a_title_is_the_first_message_on_one_line(text: str, title: str) -> None:
    mail = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text=text, addressed="dm")
    found = Transcript.empty(KEY).opened([mail], owner="me", now=1.0).title
    assert found == title
    assert len(found) <= TITLE_LENGTH


def test_a_summary_tells_who_spoke_last() -> None:
    last = Message(key="C1:2", ts="1715000009.000100", user="U9", text="bye")
    written = replace(transcript(turn(), turn(messages=(*turn().messages, last))), title="hi")
    summary = written.summary
    assert (summary.title, summary.turns, summary.last_ts, summary.last_user) == ("hi", 2, "1715000009.000100", "U9")
    assert Transcript.empty(KEY).summary.turns == 0


# ---- taken over

BATCH = (*turn().messages, Message(key="C1:2", ts="1715000009.000100", user="U9", text="poison"))


def is_mail(tool_name: str) -> bool:
    return tool_name.startswith("mail")


def test_a_take_over_begins_a_new_epoch_without_slots() -> None:
    taken = turn(slots=("1715000001.000100",), epoch=3).taken_over(by="you", died=False, once=is_mail)
    assert taken == turn(owner="you", epoch=4, messy=True)


def test_only_a_death_counts_as_an_attempt() -> None:
    assert turn(attempts=2).taken_over(by="you", died=True, once=is_mail).attempts == 3
    assert turn(attempts=2).taken_over(by="you", died=False, once=is_mail).attempts == 2
    assert MAX_ATTEMPTS == 5


def test_a_take_over_puts_unanswered_calls_that_run_at_most_once_into_unknown() -> None:
    taken = turn(asked("mail", "find", "mail_all"), unknown=("mail",)).taken_over(by="you", died=True, once=is_mail)
    assert taken.unknown == ("mail", "mail_all")
    assert [c.tool_name for c in taken.in_doubt] == ["mail", "mail_all"]


def test_answered_calls_are_in_no_doubt() -> None:
    answer = ModelRequest(parts=[ToolReturnPart("mail", "sent", tool_call_id="mail")])
    taken = turn(asked("mail"), answer).taken_over(by="you", died=True, once=is_mail)
    assert (taken.unknown, taken.unanswered, taken.in_doubt) == ((), (), ())


def test_a_second_death_in_a_row_keeps_only_the_first_message_and_counts_anew() -> None:
    once = turn(asked("mail"), messages=BATCH).taken_over(by="you", died=True, once=is_mail)
    assert (once.messages, once.attempts) == (BATCH, 1)
    assert once.taken_over(by="third", died=False, once=is_mail).messages == BATCH
    twice = once.taken_over(by="third", died=True, once=is_mail)
    assert (twice.messages, twice.attempts, twice.steps, twice.unknown) == (BATCH[:1], 0, once.steps, ("mail",))
    assert twice.tag == once.tag
    assert twice.taken_over(by="fourth", died=True, once=is_mail).attempts == 1


def test_reclaiming_a_slot_keeps_those_before_it_which_may_be_visible() -> None:
    done = turn(state="done", slots=("1.1", "1.2", "1.3"), epoch=2)
    reclaimed = done.reclaimed(1, by="you")
    assert (reclaimed.slots, reclaimed.epoch, reclaimed.owner, reclaimed.messy) == (("1.1", None, None), 3, "you", True)
    assert reclaimed.kept == 1


@pytest.mark.parametrize(("slots", "kept"), [(None, 0), ((), 0), ((None,), 0), (("1.1",), 1), (("1.1", None, "1.3"), 1)])
def test_the_slots_kept_are_those_before_the_first_gap(slots: tuple[str | None, ...] | None, kept: int) -> None:
    assert turn(slots=slots).kept == kept


def test_the_second_event_of_a_message_brings_its_files_into_the_open_turn() -> None:
    mail = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="hi", files=(File(id="F1"),), addressed="dm")
    with_file = turn().with_files({mail.key: mail})
    assert with_file.messages[0].files == (File(id="F1"),)
    assert with_file.with_files({mail.key: mail}) is with_file


def test_a_turn_is_named_by_its_first_message_and_by_its_owner() -> None:
    assert turn().tag == f"t0:{KEY.channel}:{KEY.thread_ts}"
    assert turn().mark == ("t0", "me")


def test_a_turn_that_no_person_asked_for_is_told_apart() -> None:
    bot = replace(turn().messages[0], user="B012")
    assert turn(messages=(bot,)).only_bots
    assert not turn(messages=(bot, *turn().messages)).only_bots
