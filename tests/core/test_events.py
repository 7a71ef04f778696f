"""Slack's events, classified: who is answered, and what everything else becomes."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spool.envelope import ConversationKey, Envelope, File
from spool.errors import BadInput
from spool.policy import Channel, Policy
from spool.slack.events import Challenge, Ignored, parse, read
from spool.task import Task

Json = dict[str, Any]
TS, ROOT = "1715000000.000200", "1715000000.000100"
POLICY = Policy(
    channels={"C0ALL": Channel(listen="all"), "C0QUIET": Channel(follow_ups=False)},
    bots=frozenset({"B0ALERT", "A0DEPLOY", "U0HELPER"}),
)


def message(text: str = "hello", **fields: Any) -> Json:
    """A person's message as Slack sends it; a field that is None is left out."""
    event: Json = {
        "type": "message",
        "user": "U0ANNA",
        "text": text,
        "ts": TS,
        "client_msg_id": "5dd7a1b2-0000-4000-8000-000000000000",
        "team": "T012AB3CD",
        "channel": "C012AB3CD",
        "channel_type": "channel",
        "event_ts": TS,
    }
    return {name: value for name, value in (event | fields).items() if value is not None}


def mention(text: str = "<@U0BOT> hello", **fields: Any) -> Json:
    event: Json = {"text": text, "type": "app_mention", "channel_type": None}
    return message(**event | fields)


def callback(event: Any, **fields: Any) -> Json:
    authorization = {"enterprise_id": None, "team_id": "T012AB3CD", "user_id": "U0BOT", "is_bot": True}
    payload: Json = {
        "token": "deprecated",
        "team_id": "T012AB3CD",
        "api_app_id": "A0SPOOL",
        "event": event,
        "type": "event_callback",
        "event_id": "Ev012AB3CD",
        "event_time": 1715000000,
        "authorizations": [authorization | {"is_enterprise_install": False}],
        "is_ext_shared_channel": False,
    }
    return payload | fields


def read_event(event: Any, *, policy: Policy = POLICY, **fields: Any) -> Envelope | Challenge | Ignored:
    return read(json.dumps(callback(event, **fields)).encode(), policy=policy)


def envelope(event: Any, **fields: Any) -> Envelope:
    found = read_event(event, **fields)
    assert isinstance(found, Envelope)
    return found


ADDRESSED: dict[str, tuple[Json, str]] = {
    "an app_mention": (mention(), "mention"),
    "an app_mention in a thread": (mention(thread_ts=ROOT), "mention"),
    "a message that names the bot": (message("hey <@U0BOT>"), "mention"),
    "a message that names the bot with a label": (message("hey <@U0BOT|spool>"), "mention"),
    "a file with a mention": (message("<@U0BOT> see", subtype="file_share", files=[{"id": "F1"}]), "mention"),
    "a mention in a group DM": (message("<@U0BOT>", channel="G012AB3CD", channel_type="mpim"), "mention"),
    "a mention of somebody else and the bot": (message("<@U0BOB> ask <@U0BOT>", thread_ts=ROOT), "mention"),
    "a mention where threads are not followed": (message("<@U0BOT>", channel="C0QUIET", thread_ts=ROOT), "mention"),
    "a DM": (message(channel="D012AB3CD", channel_type="im"), "dm"),
    "a DM in the app's tab": (message(channel="D012AB3CD", channel_type="app_home"), "dm"),
    "a DM of a file": (message("", channel="D012AB3CD", channel_type="im", subtype="file_share"), "dm"),
    "a DM that names somebody, in a thread": (
        message("<@U0BOB>", channel="D012AB3CD", channel_type="im", thread_ts=ROOT),
        "dm",
    ),
    "a reply": (message(thread_ts=ROOT, parent_user_id="U0BOT"), "thread"),
    "a reply to everybody": (message("<!here> ok?", thread_ts=ROOT), "thread"),
    "a reply also sent to the channel": (message(subtype="thread_broadcast", thread_ts=ROOT, root={"ts": ROOT}), "thread"),
    "a reply in a group DM": (message(channel="G012AB3CD", channel_type="mpim", thread_ts=ROOT), "thread"),
    "a reply where all is heard": (message(channel="C0ALL", thread_ts=ROOT), "thread"),
    "a message where all is heard": (message(channel="C0ALL"), "channel"),
    "a root where all is heard": (message(channel="C0ALL", thread_ts=TS), "channel"),
    "a message for somebody else where all is heard": (message("<@U0BOB> ?", channel="C0ALL"), "channel"),
    "an allowed bot by its id": (message(channel="C0ALL", bot_id="B0ALERT", user=None), "channel"),
    "an allowed webhook": (message(channel="C0ALL", subtype="bot_message", bot_id="B0ALERT", user=None), "channel"),
    "an allowed bot by its app": (mention(bot_id="B0X", app_id="A0DEPLOY", user="U0X"), "mention"),
    "an allowed bot by its user": (message(thread_ts=ROOT, bot_id="B0X", app_id="A0X", user="U0HELPER"), "thread"),
}


@pytest.mark.parametrize("name", ADDRESSED)
def test_the_agent_is_addressed_by(name: str) -> None:
    event, expected = ADDRESSED[name]
    assert envelope(event).addressed == expected


MINE = {"bot_id": "B0SPOOL", "app_id": "A0SPOOL", "user": "U0BOT"}
UNADDRESSED: dict[str, Json] = {
    "a message": message(),
    "a message that names somebody else": message("<@U0BOB>"),
    "a message that names a longer id": message("<@U0BOTX>"),
    "a message that only writes the mention": message("&lt;@U0BOT&gt;"),
    "a message in a group DM": message(channel="G012AB3CD", channel_type="mpim"),
    "a reply to somebody else": message("<@U0BOB> can you?", thread_ts=ROOT),
    "a reply to a group": message("<!subteam^S012|@ops> can you?", thread_ts=ROOT),
    "a reply where threads are not followed": message(channel="C0QUIET", thread_ts=ROOT),
    "an edit that mentions the agent": mention(edited={"user": "U0ANNA", "ts": TS}),
    "a bot": message("<@U0BOT>", bot_id="B0X", app_id="A0X", user="U0X"),
    "a bot in a DM": message(channel="D012AB3CD", channel_type="im", bot_id="B0X"),
    "a webhook": message("<@U0BOT>", subtype="bot_message", bot_id="B0X", user=None),
    "a message by an app alone": mention(app_id="A0X"),
    "itself": message("<@U0BOT>", channel="D012AB3CD", channel_type="im", **MINE),
    "itself by its app alone": mention(app_id="A0SPOOL", bot_id="B0ALERT", user="U0X"),
    "itself by its user alone": message("<@U0BOT>", user="U0BOT"),
    "Slackbot": message(channel="D012AB3CD", channel_type="im", user="USLACKBOT"),
    "an edit": message("", subtype="message_changed", hidden=True, message=message(), previous_message=message()),
    "a deletion": message("", subtype="message_deleted", hidden=True, deleted_ts=TS),
    "a join": message("<@U0BOT> has joined the channel", subtype="channel_join"),
    "a /me": message("<@U0BOT> waves", subtype="me_message"),
    "a reaction": {"type": "reaction_added", "user": "U0ANNA", "item": {"type": "message", "ts": TS}},
    "an event nobody knows": {"type": "brand_new_event"},
    "an event without a type": {},
    "a subtype of another kind": message("<@U0BOT>", subtype=["file_share"]),
}


@pytest.mark.parametrize("name", UNADDRESSED)
def test_nothing_is_queued_for(name: str) -> None:
    assert isinstance(read_event(UNADDRESSED[name]), Ignored)


def test_itself_is_ignored_even_if_the_policy_names_it() -> None:
    policy = Policy(listen="all", bots=frozenset({"B0SPOOL", "A0SPOOL", "U0BOT"}))
    assert isinstance(read_event(message("<@U0BOT>", **MINE), policy=policy), Ignored)


def test_an_envelope_carries_the_message_in_our_words() -> None:
    files = [{"id": "F1", "name": "a.csv", "url_private": "https://files.slack.com/a.csv"}]
    event = message("<@U0BOT> a &lt; b", subtype="file_share", files=files, thread_ts=ROOT)
    assert envelope(event) == Envelope(
        conversation=ConversationKey(team="T012AB3CD", channel="C012AB3CD", thread_ts=ROOT),
        ts=TS,
        user="U0ANNA",
        text="<@U0BOT> a < b",
        files=(File(id="F1", name="a.csv", url="https://files.slack.com/a.csv"),),
        addressed="mention",
        event_id="Ev012AB3CD",
    )


def test_a_top_level_message_opens_its_own_thread() -> None:
    assert envelope(mention()).conversation.thread_ts == TS


def test_a_mention_has_one_key_however_it_arrives() -> None:
    first, second = envelope(mention()), envelope(message("<@U0BOT> hello"), event_id="Ev2")
    assert (first.key, first.conversation, first.addressed) == (second.key, second.conversation, second.addressed)


def test_a_bot_speaks_under_its_bot_id() -> None:
    spoken = envelope(mention(bot_id="B0X", app_id="A0DEPLOY", user="U0X"))
    assert spoken.user == "B0X"
    assert spoken.from_bot


def test_a_long_message_is_cut_and_marked() -> None:
    spoken = envelope(mention("<@U0BOT> " + "x" * 50_000))
    assert spoken.cut
    assert len(spoken.text) == 40_000


TEAMS: dict[str, tuple[Json, str]] = {
    "a workspace": ({}, "T012AB3CD"),
    "the installation's, not the sender's": ({"team_id": "T0OTHER"}, "T012AB3CD"),
    "an organisation": (
        {"authorizations": [{"enterprise_id": "E0ORG", "team_id": "T1", "is_enterprise_install": True}]},
        "E0ORG",
    ),
    "an organisation without a workspace": (
        {"authorizations": [{"team_id": None, "is_enterprise_install": True}], "enterprise_id": "E0ORG", "team_id": None},
        "E0ORG",
    ),
    "no authorization": ({"authorizations": []}, "T012AB3CD"),
    "an authorization without a team": ({"authorizations": [{"team_id": None}]}, "T012AB3CD"),
    "authorizations of no known form": ({"authorizations": "all"}, "T012AB3CD"),
}


@pytest.mark.parametrize("name", TEAMS)
def test_the_team_is_that_of(name: str) -> None:
    fields, expected = TEAMS[name]
    assert envelope(mention(), **fields).conversation.team == expected


def test_without_an_authorization_only_an_app_mention_names_the_agent() -> None:
    assert isinstance(read_event(message("<@U0BOT>"), authorizations=[]), Ignored)


def test_a_challenge_is_said_back() -> None:
    body = b'{"token":"deprecated","challenge":"3eZbrw1aB","type":"url_verification"}'
    assert read(body, policy=POLICY) == Challenge(challenge="3eZbrw1aB")


@pytest.mark.parametrize(
    "body",
    [
        b'{"token":"x","type":"app_rate_limited","team_id":"T012AB3CD","minute_rate_limited":1518467820,"api_app_id":"A0SPOOL"}',
        b'{"type":"block_actions"}',
        b"{}",
        b'{"type":{"a":1}}',
    ],
)
def test_a_payload_without_an_event_is_ignored(body: bytes) -> None:
    assert isinstance(read(body, policy=POLICY), Ignored)


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"payload=%7B%7D",
    "no UTF-8": b'{"type":"\xff"}',
    "UTF-16": '{"type":"event_callback"}'.encode("utf-16"),
    "an array": b"[]",
    "a string": b'"event_callback"',
    "NaN": b'{"type":NaN}',
    "infinity": b'{"type":"event_callback","event_time":-Infinity}',
    "a huge number": b'{"type":"event_callback","event_time":' + b"9" * 10_000 + b"}",
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "half a character": json.dumps(callback(mention("<@U0BOT> \ud83d"))).encode(),
    "half a character in capitals": json.dumps(callback(mention("<@U0BOT> x"))).replace("x", "\\uDC00").encode(),
    "half a character in a name": b'{"type":"event_callback","\\ud800":1}',
    "no event": b'{"type":"event_callback"}',
    "an event that is a list": json.dumps(callback([])).encode(),
    "a challenge that is none": b'{"type":"url_verification"}',
    "a challenge that is a list": b'{"type":"url_verification","challenge":["a"]}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_clear_sentence_refuses(name: str) -> None:
    with pytest.raises(BadInput, match=r"must be|is a JSON object") as refused:
        read(HOSTILE[name], policy=POLICY)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "fields",
    [
        {"thread_ts": "../../etc/passwd"},
        {"thread_ts": ""},
        {"thread_ts": TS + "\n"},
        {"thread_ts": 1715000000.0001},
        {"thread_ts": {"a": 1}},
        {"thread_ts": False},
        {"ts": None},
        {"ts": "1715000000"},
        {"ts": 10**4000},
        {"ts": "../1715000000.000100"},
        {"channel": None},
        {"channel": "../C012AB3CD"},
        {"channel": "c012ab3cd"},
        {"channel": ["C012AB3CD"]},
        {"user": None},
        {"user": "anna"},
        {"user": {"id": "U0ANNA"}},
        {"bot_id": {"id": "B0ALERT"}},
        {"bot_id": "U0HELPER", "user": "anna", "app_id": "A0DEPLOY", "thread_ts": 1},
        {"app_id": "A0DEPLOY"},
        {"text": ["<@U0BOT>"]},
        {"text": 5, "type": "message"},
    ],
)
def test_a_field_of_another_form_is_refused(fields: Mapping[str, Any]) -> None:
    with pytest.raises(BadInput, match="must"):
        read_event(mention(**fields))


def test_a_field_nested_to_the_last_level_is_refused() -> None:
    for depth in range(700, 1100):
        body = json.dumps(callback(mention(thread_ts="HERE"))).replace('"HERE"', "[" * depth + "]" * depth)
        with pytest.raises(BadInput, match=r"must be|JSON object|nested"):
            read(body.encode(), policy=POLICY)


def test_pairs_of_surrogates_are_characters() -> None:
    assert parse(b'{"text":"\\ud83d\\ude00"}') == {"text": "\N{GRINNING FACE}"}


KEYS = ["type", "subtype", "event", "user", "bot_id", "app_id", "text", "ts", "thread_ts", "channel", "channel_type", "blocks"]
WORDS = ["event_callback", "message", "app_mention", "url_verification", "file_share", "C0ALL", "D0", TS, "U0BOT", "B0ALERT"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=2), inner, max_size=8),
    max_leaves=30,
)


def check(body: bytes) -> None:
    """Whatever comes in: an answer or `BadInput`, and an envelope passes the queue unharmed."""
    try:
        found = read(body, policy=POLICY)
    except BadInput:
        return
    if isinstance(found, Envelope):
        task = Task.of(found, first_seen=1.0)
        assert Task.decode(task.encode()) == task


@settings(deadline=None)
@given(JSON)
def test_any_json_is_answered_or_refused(payload: object) -> None:
    check(json.dumps(payload).encode())


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6), st.dictionaries(st.sampled_from(KEYS), JSON, max_size=2))
def test_any_field_of_an_event_is_answered_or_refused(fields: Json, around: Json) -> None:
    check(json.dumps(callback(mention() | fields) | around).encode())


@given(st.binary())
def test_any_bytes_are_answered_or_refused(body: bytes) -> None:
    check(body)
