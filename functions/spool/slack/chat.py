"""Slack's Web API, as far as a turn speaks to it: https://docs.slack.dev/reference/methods.

One attempt per call and no retries here: a repeated chat.postMessage is a second message. Every answer, and every lack of
one, becomes an error that says what to do next; the turn decides. The token stands in the client and nowhere else: the
errors of slack_sdk and aiohttp carry whole requests, so none of them is kept as a cause.
"""

import re
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from spool.decision import Reserved
from spool.envelope import ConversationKey, Envelope
from spool.errors import Ambiguous, BadBlocks, Missing, Refused, SpoolError, Throttled
from spool.ports import Said
from spool.slack import render, text

TIMEOUT = 10.0
"""Seconds of one call, whatever it waits for."""

RESERVED_TEXT = "…"
EVENT_TYPE = "agent_turn"
PAGE = 200
MAX_PAGES = 50
"""Pages of a thread that are read at most: Slack allows about so many a minute."""

WHOLE_TEXT = 1_000_000
WAIT, LONGEST_WAIT = 5.0, 300.0
"""Seconds to wait where Slack says "slower" without saying how long, and the most that it is believed."""

_NAMES = uuid.UUID("5f0a3c1e-7f0f-5c55-9a36-2f0a2d1c6b10")
_SLOWER = ("ratelimited", "rate_limited")
_UNCLEAR = ("internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org")
_GONE = ("message_not_found", "edit_window_closed")
_NO_THREAD = ("thread_not_found", "message_not_found")
_BAD_FORM = (
    *("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_blocks_too_many", "msg_too_long"),
    *("markdown_text_conflict", "invalid_markdown", "invalid_markdown_text", "markdown_text_too_long"),
)
_ADVICE = {
    "not_in_channel": "invite the agent to the channel",
    "missing_scope": "give the app the scopes of the manifest and install it again",
    **dict.fromkeys(
        ("not_authed", "invalid_auth", "account_inactive", "token_revoked", "token_expired"),
        "check SLACK_BOT_TOKEN: the app must be installed and the token its bot token (xoxb-…)",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Me:
    """Who the token speaks for; both empty where Slack does not tell."""

    user: str
    bot: str

    def said(self, message: Mapping[str, Any]) -> bool:
        """Whether the message is mine; without knowing who I am, whether it is an app's."""
        if not (self.user or self.bot):
            return bool(message.get("bot_id") or message.get("app_id"))
        return any((self.user and message.get("user") == self.user, self.bot and message.get("bot_id") == self.bot))

    def may_have_said(self, message: Mapping[str, Any]) -> bool:
        """Whether nothing in it names another: only apps can write metadata, and what is of our form is ours until then."""
        known = ((self.user, message.get("user")), (self.bot, message.get("bot_id")))
        return self.said(message) or not any(mine and theirs and mine != theirs for mine, theirs in known)


class SlackChat:
    """The port `Chat` over one HTTP session, opened by the first call inside the running loop.

    api_url: ends in /api/.
    unfurl: whether links in an answer show a preview.
    timeout: seconds, at most 30: a request must be dead long before the tidy task looks for what it left.
    """

    def __init__(self, *, token: str, api_url: str, unfurl: bool = False, timeout: float = TIMEOUT) -> None:
        self._token = token
        self._api_url = api_url
        self._unfurl = unfurl
        self._timeout = aiohttp.ClientTimeout(total=min(timeout, 30.0))
        self._client: AsyncWebClient | None = None
        self._me: _Me | None = None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client and client.session:
            await client.session.close()

    async def who(self) -> str:
        """The user that the token speaks for. Raises `Refused`, `Ambiguous`."""
        return str((await self._call("auth.test")).get("user_id") or "")

    def parts(self, reply: str) -> tuple[str, ...]:
        return render.split(reply)

    async def reserve(self, key: ConversationKey, *, tag: str, epoch: int, part: int) -> str:
        answer = await self._call(
            "chat.postMessage",
            channel=key.channel,
            thread_ts=key.thread_ts,
            text=RESERVED_TEXT,
            metadata={"event_type": EVENT_TYPE, "event_payload": {"tag": tag, "epoch": epoch, "part": part}},
            client_msg_id=str(uuid.uuid5(_NAMES, f"{key}/{tag}/{epoch}/{part}")),
            unfurl_links=self._unfurl,
            unfurl_media=self._unfurl,
        )
        ts = answer.get("ts")
        if not isinstance(ts, str) or not ts:
            msg = "chat.postMessage: ok, but without a ts"
            raise Ambiguous(msg)
        return ts

    async def fill(self, key: ConversationKey, ts: str, text: str, *, plain: bool = False) -> None:
        blocks = render.plain_blocks(text) if plain else [{"type": "markdown", "text": render.block(text)}]
        try:
            await self._call("chat.update", channel=key.channel, ts=ts, text=render.fallback(text), blocks=blocks)
        except BadBlocks as e:
            if plain:
                raise Refused(str(e), reason=e.reason) from None  # there is no plainer form than plain
            raise
        except Refused as e:
            if e.reason in _GONE:
                raise Missing(str(e)) from None
            raise

    async def delete(self, key: ConversationKey, ts: str) -> None:
        try:
            await self._call("chat.delete", channel=key.channel, ts=ts)
        except Refused as e:
            if e.reason != "message_not_found":
                raise

    async def find(self, key: ConversationKey, *, tag: str) -> list[Reserved]:
        me = await self._who_am_i()
        after = re.search(r"\d{10}\.\d{6}", tag)  # a turn posts nothing before its first message
        newer = {"oldest": after[0]} if after else {}
        messages = [m async for m in self._replies(key, include_all_metadata=True, **newer) if me.may_have_said(m)]
        return sorted((r for r in map(_reserved, messages) if r and r.tag == tag), key=lambda r: r.ts)

    async def thread(self, key: ConversationKey, *, limit: int = PAGE) -> list[Said]:
        me = await self._who_am_i()
        said = [_said(m, me) async for m in self._replies(key) if m.get("subtype") != "tombstone"]
        last = deque((s for s in said if not (s.mine and s.text == RESERVED_TEXT)), maxlen=limit)
        return sorted(last, key=lambda s: s.ts)

    async def whole(self, envelope: Envelope) -> Envelope:
        key, ts = envelope.conversation, envelope.ts
        async for message in self._replies(key, oldest=ts, latest=ts, inclusive=True):
            if message["ts"] == ts:
                said, _ = text.gather(message, limit=WHOLE_TEXT)
                return replace(envelope, text=said, cut=False)
        msg = f"message {envelope.key} is not there any more"
        raise Missing(msg)

    async def _replies(self, key: ConversationKey, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        """The messages of the thread, each once; none where the thread is gone. Slack repeats the root on later pages."""
        cursor, seen = "", set[str]()
        for _ in range(MAX_PAGES):
            if cursor:
                arguments["cursor"] = cursor
            try:
                page = await self._call("conversations.replies", channel=key.channel, ts=key.thread_ts, limit=PAGE, **arguments)
            except Refused as e:
                if e.reason in _NO_THREAD:
                    return
                raise
            for message in _dicts(page.get("messages")):
                ts = message.get("ts")
                if isinstance(ts, str) and ts not in seen:
                    seen.add(ts)
                    yield message
            cursor = _dict(page.get("response_metadata")).get("next_cursor")
            if not isinstance(cursor, str) or not cursor:
                return

    async def _who_am_i(self) -> _Me:
        """Asked until answered. Other apps may write metadata that looks like ours: what they posted is no slot of ours."""
        if self._me is None:
            try:
                answer = await self._call("auth.test")
            except (Refused, Ambiguous):
                return _Me(user="", bot="")
            self._me = _Me(user=str(answer.get("user_id") or ""), bot=str(answer.get("bot_id") or ""))
        return self._me

    async def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One attempt. Raises `Ambiguous`, `Throttled`, `BadBlocks`, `Refused`."""
        client: Any = self._connected()
        try:
            answer = await getattr(client, method.replace(".", "_"))(**arguments)
        except SlackApiError as e:
            raise _translated(method, cast("Any", e).response) from None
        except (aiohttp.ClientError, OSError, ValueError, AttributeError, RecursionError) as e:
            msg = f"{method}: no usable answer ({type(e).__name__})"  # the last three: JSON, but not an answer
            raise Ambiguous(msg) from None
        return _dict(answer.data)

    def _connected(self) -> AsyncWebClient:
        if self._client is None:
            session = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
            self._client = AsyncWebClient(self._token, base_url=self._api_url, session=session, retry_handlers=[])
            if _is_loopback(self._api_url):
                self._client.proxy = None  # slack_sdk takes HTTPS_PROXY for every address, this machine's own too
        return self._client


def _translated(method: str, response: Any) -> SpoolError:
    """What to do next, from an answer that is not ok. `response` is aiohttp's own where the body was no JSON."""
    status = getattr(response, "status_code", None) or getattr(response, "status", 0)
    word = str(_dict(getattr(response, "data", None)).get("error") or "")[:80]
    msg = f"{method}: {word or f'status {status} and no word of Slack'}"
    if status == 429 or word in _SLOWER:  # noqa: PLR2004 - Too Many Requests
        return Throttled(msg, after=_after(response))
    if status >= 500 or word in _UNCLEAR or not re.fullmatch(r"\w+", word):  # noqa: PLR2004 - the server's own trouble
        return Ambiguous(msg)
    if word in _BAD_FORM:
        return BadBlocks(msg, reason=word)
    return Refused(f"{msg}; {_ADVICE[word]}" if word in _ADVICE else msg, reason=word)


def _after(response: Any) -> float:
    value = str(response.headers.get("Retry-After", ""))
    return min(float(value), LONGEST_WAIT) if re.fullmatch(r"[0-9]{1,9}", value) else WAIT


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reserved(message: Mapping[str, Any]) -> Reserved | None:
    """What a message's metadata tells of a turn; None where it is not of our form: anybody may have written it."""
    metadata = _dict(message.get("metadata"))
    payload = _dict(metadata.get("event_payload"))
    tag, epoch, part = (payload.get(name) for name in ("tag", "epoch", "part"))
    if metadata.get("event_type") != EVENT_TYPE or not isinstance(tag, str) or type(epoch) is not int or type(part) is not int:
        return None
    return Reserved(ts=message["ts"], tag=tag, epoch=epoch, part=part)


def _said(message: dict[str, Any], me: _Me) -> Said:
    said, _ = text.gather(message)
    mine = me.said(message)
    user = message.get("user") or message.get("bot_id")
    return Said(ts=message["ts"], user=user if isinstance(user, str) else "", text=said, mine=mine)


def _dict(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    found = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", m) for m in found if isinstance(m, dict)]
