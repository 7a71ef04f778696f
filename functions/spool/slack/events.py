"""Slack's Events API, read once: after this nobody touches Slack's JSON.

    bytes ─► parse ─► payload ─► classify ─► Envelope    a message to the agent: a task
                                         ├─► Challenge   Slack tests the address: say it back
                                         └─► Ignored     not for the agent: 200 and no task

Slack sends one message as several events (`message`, `app_mention`, retries); all of them become envelopes of one key.
Sources: https://docs.slack.dev/apis/events-api, https://docs.slack.dev/reference/events/message.
"""

import json
import re
from dataclasses import dataclass
from typing import NoReturn

from spool.envelope import Addressed, ConversationKey, Envelope
from spool.errors import BadInput
from spool.policy import Policy
from spool.slack import text
from spool.slack.text import Json, Object

_SPOKEN = (None, "file_share", "thread_broadcast", "bot_message")
"""Subtypes of messages that somebody wrote; the others tell of joins, edits, topics and the like."""

_TS = re.compile(r"[0-9]{10}\.[0-9]{6}")
_SPEAKER = re.compile(r"[UWB][A-Z0-9]{1,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Slack asks whether this address is ours: it wants `challenge` back."""

    challenge: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Nothing for the agent; `reason` is a phrase for the log, never of the message's own text."""

    reason: str


def read(body: bytes, *, policy: Policy) -> Envelope | Challenge | Ignored:
    """What a request of Slack, its signature verified, asks of us. Raises `BadInput`, and nothing else."""
    try:
        return classify(parse(body), policy=policy)
    except RecursionError as e:
        msg = "a request of Slack is nested a few levels deep, this one beyond reading"
        raise BadInput(msg) from e


def parse(body: bytes) -> Object:
    """The JSON object of a request: strictly JSON, and of characters only. Raises `BadInput`."""
    try:
        payload: Json = _decoder.decode(body.decode())
        if b"\\" in body and (b"\\ud" in body or b"\\uD" in body):
            _encoder.encode(payload).encode()  # half a character fits into no UTF-8: it would fail later, in the store
    except (ValueError, RecursionError) as e:
        msg = f"a request of Slack is a JSON object in UTF-8: {e}"
        raise BadInput(msg) from e
    if not isinstance(payload, dict):
        msg = f"a request of Slack is a JSON object, not {type(payload).__name__}"
        raise BadInput(msg)
    return payload


def classify(payload: Object, *, policy: Policy) -> Envelope | Challenge | Ignored:
    """What a payload asks of us, by the team's rules. Raises `BadInput`."""
    kind = payload.get("type")
    if kind == "event_callback":
        return _event(payload, policy)
    if kind == "url_verification":
        return Challenge(challenge=_required(payload, "challenge"))
    return Ignored(reason=f"type {kind!r:.40} carries no event")


def _event(payload: Object, policy: Policy) -> Envelope | Ignored:
    event = payload.get("event")
    if not isinstance(event, dict):
        msg = f"event must be an object, not {type(event).__name__}"
        raise BadInput(msg)
    kind, subtype = event.get("type"), event.get("subtype")
    if kind not in ("message", "app_mention"):
        return Ignored(reason=f"event {kind!r:.40} is no message")
    if subtype not in _SPOKEN:
        return Ignored(reason=f"subtype {subtype!r:.40} is nothing that somebody said")
    if kind == "app_mention" and "edited" in event:
        return Ignored(reason="an edit that mentions the agent")
    return _message(payload, event, policy)


def _message(payload: Object, event: Object, policy: Policy) -> Envelope | Ignored:
    mine = _authorization(payload)
    me = _optional(mine, "user_id") if mine.get("is_bot") is True else ""
    speaker = _speaker(event, me, _optional(payload, "api_app_id"), policy)
    if isinstance(speaker, Ignored):
        return speaker
    ts, channel = _ts(event), _required(event, "channel")
    thread_ts = ts if event.get("thread_ts") is None else _optional(event, "thread_ts")
    conversation = ConversationKey(team=_team(payload, mine), channel=channel, thread_ts=thread_ts)
    addressed = _addressed(event, me, channel, policy, reply=thread_ts != ts)
    if isinstance(addressed, Ignored):
        return addressed
    said, cut = text.gather(event)
    return Envelope(
        conversation=conversation,
        ts=ts,
        user=speaker,
        text=said,
        files=text.files(event),
        addressed=addressed,
        event_id=_optional(payload, "event_id"),
        cut=cut,
    )


def _authorization(payload: Object) -> Object:
    """One installation of those that see the event, the only one that Slack shows."""
    authorizations = payload.get("authorizations")
    first = authorizations[0] if isinstance(authorizations, list) and authorizations else None
    return first if isinstance(first, dict) else {}


def _team(payload: Object, mine: Object) -> str:
    """Where the agent is installed; the payload's own `team_id` only says where the event came from."""
    name = "enterprise_id" if mine.get("is_enterprise_install") is True else "team_id"
    return _optional(mine, name) or _optional(payload, name) or _required(payload, "team_id")


def _speaker(event: Object, me: str, app: str, policy: Policy) -> str | Ignored:
    """Who said it: a person by user id; a bot, app or webhook that the policy lets speak by bot id (B…).

    me: the agent's own user id. app: its app id. Both are empty where Slack does not say.
    """
    user, bot, its_app = _optional(event, "user"), _optional(event, "bot_id"), _optional(event, "app_id")
    if user == "USLACKBOT" or (user and user == me) or (its_app and its_app == app):
        return Ignored(reason="the agent itself, or Slackbot")
    speaker = user
    if bot or its_app or event.get("subtype") == "bot_message":
        if policy.bots.isdisjoint((user, bot, its_app)):
            return Ignored(reason="a bot that policy.bots does not name")
        speaker = bot
    if not _SPEAKER.fullmatch(speaker):
        msg = f"a message's user must look like {_SPEAKER.pattern}, but is {speaker!r:.40}"
        raise BadInput(msg)
    return speaker


def _addressed(event: Object, me: str, channel: str, policy: Policy, *, reply: bool) -> Addressed | Ignored:
    """Why the agent may answer, or why not; `me` is its user id."""
    said, place = _optional(event, "text"), event.get("channel_type")
    if place == "im" or channel.startswith("D"):
        return "dm"
    if event.get("type") == "app_mention" or (me and (f"<@{me}>" in said or f"<@{me}|" in said)):
        return "mention"
    if not reply:
        listens = place != "mpim" and policy.listens_to_all(channel)
        return "channel" if listens else Ignored(reason="a message that does not name the agent")
    if "<@" in said or "<!subteam^" in said:
        return Ignored(reason="a reply that names somebody else")
    return "thread" if policy.follows_up(channel) else Ignored(reason="a reply, where threads are not followed")


def _ts(event: Object) -> str:
    ts = _required(event, "ts")
    if not _TS.fullmatch(ts):
        msg = f"ts must look like 1715000000.000100, but is {ts!r:.40}"
        raise BadInput(msg)
    return ts


def _required(value: Object, name: str) -> str:
    return _optional(value, name) or _wrong(name, None)


def _optional(value: Object, name: str) -> str:
    """A string, or empty where there is none."""
    found = value.get(name)
    return found if isinstance(found, str) else "" if found is None else _wrong(name, found)


def _wrong(name: str, found: Json) -> NoReturn:
    msg = f"{name} must be a string, not {type(found).__name__}"
    raise BadInput(msg)


def _no_number(literal: str) -> float:
    msg = f"{literal} is no number"
    raise ValueError(msg)


# The plain calls of json would build these anew for every event.
_decoder = json.JSONDecoder(parse_constant=_no_number)
_encoder = json.JSONEncoder(ensure_ascii=False)
