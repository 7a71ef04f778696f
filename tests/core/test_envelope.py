"""Envelopes and the keys of conversations: what comes from outside has a form, or is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.envelope import ADDRESSED, ConversationKey, Envelope, File, new_files
from spool.errors import BadInput

KEY = ConversationKey(team="T012AB3CD", channel="C012AB3CD", thread_ts="1715000000.000100")
timestamps = st.from_regex(r"[0-9]{10}\.[0-9]{6}", fullmatch=True)
conversations = st.builds(
    ConversationKey,
    team=st.from_regex(r"[TE][A-Z0-9]{1,30}", fullmatch=True),
    channel=st.from_regex(r"[CDG][A-Z0-9]{1,30}", fullmatch=True),
    thread_ts=timestamps,
)
envelopes = st.builds(
    Envelope,
    conversation=conversations,
    ts=timestamps,
    user=st.text(),
    text=st.text(),
    files=st.lists(st.builds(File, id=st.text(), name=st.text(), url=st.text()), max_size=3).map(tuple),
    addressed=st.sampled_from(ADDRESSED),
    event_id=st.text(),
    cut=st.booleans(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
HOSTILE: tuple[object, ...] = (
    "",
    "../../etc/passwd",
    "..",
    "T1/..",
    "T1/C1",
    "t012ab3cd",
    "T012AB3CD\n",
    "T012AB3CD\x00",
    "T" + "A" * 40,
    "1715000000.00010",
    "１７15000000.000100",  # noqa: RUF001 - digits to Python, not to Slack
    None,
    5,
    1715000000.1234567,
    ["T012AB3CD"],
    {"T012AB3CD": 1},
)


@pytest.mark.parametrize("part", ["team", "channel", "thread_ts"])
@pytest.mark.parametrize("value", HOSTILE)
def test_a_key_that_is_not_slacks_never_touches_a_path(part: str, value: object) -> None:
    with pytest.raises(BadInput, match=part):
        replace(KEY, **{part: value})


@pytest.mark.parametrize(
    "text", ["", "a", "../../etc/passwd", f"{KEY}/..", f"/{KEY}", "T012AB3CD//1715000000.000100", f"{KEY}\n"]
)
def test_a_conversation_named_in_another_way_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        ConversationKey.parse(text)


def test_a_refused_key_quotes_at_most_its_beginning() -> None:
    with pytest.raises(BadInput) as caught:
        replace(KEY, team="x" * 10_000)
    assert len(str(caught.value)) < 200


@given(conversations)
def test_a_key_is_read_back_from_what_it_is_written_as(key: ConversationKey) -> None:
    assert ConversationKey.parse(str(key)) == key


def test_a_key_names_its_objects() -> None:
    assert KEY.path == "threads/T012AB3CD/C012AB3CD/1715000000.000100.json"
    assert KEY.dead("t3") == "dead/T012AB3CD/C012AB3CD/1715000000.000100/t3.json"


def test_the_same_thread_ts_in_another_channel_or_team_is_another_document() -> None:
    ids = {KEY.id, replace(KEY, channel="C999").id, replace(KEY, team="T999").id}
    assert len(ids) == 3
    assert {len(i) for i in ids} == {32}


@given(envelopes)
def test_an_envelope_comes_back_as_it_was(envelope: Envelope) -> None:
    assert Envelope.from_json(envelope.to_json(), conversation=envelope.conversation) == envelope


@given(envelopes)
def test_text_written_by_hand_is_the_json_of_the_fields(envelope: Envelope) -> None:
    assert json.loads(envelope.encode()) == envelope.to_json()


@given(json_values)
def test_anything_but_an_envelope_is_bad_input(value: object) -> None:
    with pytest.raises(BadInput):
        Envelope.from_json(value, conversation=KEY)


@given(st.sampled_from(["ts", "user", "text", "files", "addressed", "event_id", "cut"]), json_values)
def test_a_field_of_another_kind_is_bad_input_or_an_envelope_that_comes_back(field: str, value: object) -> None:
    fields = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="hi", addressed="dm").to_json() | {field: value}
    try:
        envelope = Envelope.from_json(fields, conversation=KEY)
    except BadInput:
        return
    assert Envelope.from_json(json.loads(envelope.encode()), conversation=KEY) == envelope


@pytest.mark.parametrize("field", ["ts", "user", "text", "addressed"])
def test_an_envelope_without_a_field_it_needs_is_bad_input(field: str) -> None:
    fields = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="hi", addressed="dm").to_json()
    del fields[field]
    with pytest.raises(BadInput, match=field):
        Envelope.from_json(fields, conversation=KEY)


def test_fields_of_a_later_version_are_passed_over() -> None:
    envelope = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="hi", files=(File(id="F1"),), addressed="dm")
    fields = envelope.to_json() | {"mood": "good"}
    fields["files"] = [{"id": "F1", "size": 3}]
    assert Envelope.from_json(fields, conversation=KEY) == envelope


def test_the_second_event_of_a_message_brings_only_new_files() -> None:
    first = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="hi", files=(File(id="F1", name="a"),), addressed="dm")
    second = replace(first, files=(File(id="F1", name="b"), File(id="F2")))
    assert first.with_files_of(second).files == (File(id="F1", name="a"), File(id="F2"))
    assert first.with_files_of(first) is first
    assert new_files((), second.files) == second.files


@pytest.mark.parametrize(("user", "bot"), [("B012", True), ("U012", False), ("W012", False), ("", False)])
def test_bots_are_told_by_their_id(user: str, bot: bool) -> None:  # noqa: FBT001 - a row of a table
    assert Envelope(conversation=KEY, ts=KEY.thread_ts, user=user, text="", addressed="dm").from_bot is bot
