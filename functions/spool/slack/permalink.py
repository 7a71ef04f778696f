"""What a person points at when they ask about a message: a link that Slack copied, or one of our own names.

    https://acme.slack.com/archives/C012AB3CD/p1715000000000100[?thread_ts=1715000000.000100&cid=C012AB3CD]
    https://app.slack.com/client/T012AB3CD/C012AB3CD/thread/C012AB3CD-1715000000.000100
    slack://channel?team=T012AB3CD&id=C012AB3CD&message=1715000000.000100
    C012AB3CD:1715000000.000100        a message, as logs and transcripts name it; a turn's tag is t7: and such a name
    T012AB3CD/C012AB3CD/1715000000.000100, threads/….json, gs://bucket/threads/….json        a conversation

A permalink names no team; only a reply's link, and only one that was copied in its thread, names the thread.
Source: https://docs.slack.dev/reference/methods/chat.getPermalink.
"""

import html
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

from spool.envelope import ConversationKey
from spool.errors import BadInput

SITE = "slack.com"
_MESSAGE = re.compile(r"(?:t[0-9]+:)?(?P<channel>[CDG][A-Z0-9]+):(?P<ts>[0-9]{10}\.[0-9]{6})(?:@[0-9.]+)?")
_MOMENT = re.compile(r"p?([0-9]{10})\.?([0-9]{6})")
_PANE = re.compile(r"([CDG][A-Z0-9]+)-([0-9]{10}\.[0-9]{6})")
_OBJECT = re.compile(r"(?:gs://[^/]+/)?(?:threads|dead)/([^/]+/[^/]+/[0-9.]+?)(?:\.json|/[^/]+\.json)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A message of a channel; with an empty `ts` the conversation that `thread_ts` names.

    thread_ts: the thread's root, where the link tells it. team: where the link tells it; in the client's address it is the
    workspace that is open, which is not the installation's in an organisation. site: the workspace's own host name.
    """

    channel: str
    ts: str = ""
    thread_ts: str = ""
    team: str = ""
    site: str = SITE

    def __post_init__(self) -> None:
        ConversationKey(team=self.team or "T0", channel=self.channel, thread_ts=self.thread_ts or self.ts)

    @property
    def key(self) -> str:
        """The message's key, `channel:ts`; empty for a conversation."""
        return self.ts and f"{self.channel}:{self.ts}"


def parse(text: str) -> Link:
    """What a person means, pasted from wherever. Raises `BadInput`."""
    said = html.unescape(text.strip()).strip("<>").partition("|")[0]
    if named := _MESSAGE.fullmatch(said):
        return Link(channel=named["channel"], ts=named["ts"])
    if "://" in said and not said.startswith("gs://"):
        return _of_url(said)
    stored = _OBJECT.fullmatch(said)
    try:
        key = ConversationKey.parse(stored[1] if stored else said)
    except BadInput:
        raise _unknown(text) from None
    return Link(team=key.team, channel=key.channel, thread_ts=key.thread_ts)


def permalink(channel: str, ts: str, *, thread_ts: str = "", site: str = SITE) -> str:
    """The address of a message. On slack.com itself a browser is led to the workspace that it is signed in to."""
    address = f"https://{site}/archives/{channel}/p{ts.replace('.', '')}"
    return address if thread_ts in ("", ts) else f"{address}?thread_ts={thread_ts}&cid={channel}"


def _of_url(said: str) -> Link:
    try:
        url = urlsplit(said)
        link = _of_query(url) if url.scheme == "slack" or url.path.endswith("/app_redirect") else _of_path(url)
    except (BadInput, ValueError):
        raise _unknown(said) from None
    if link is None:
        raise _unknown(said)
    return link


def _of_query(url: SplitResult) -> Link | None:
    """slack://channel?team=T…&id=C…&message=…, and https://slack.com/app_redirect?channel=C…&message_ts=…."""
    query = dict(parse_qsl(url.query))
    ts = _moment(query.get("message") or query.get("message_ts") or "")
    channel = query.get("id") or query.get("channel") or ""
    if not ts:
        return None
    return Link(channel=channel, ts=ts, thread_ts=_moment(query.get("thread_ts", "")), team=query.get("team", ""))


def _of_path(url: SplitResult) -> Link | None:
    match [part for part in url.path.split("/") if part]:
        case ["archives" | "messages", channel, moment, *_] if ts := _moment(moment):
            thread = _moment(dict(parse_qsl(url.query)).get("thread_ts", ""))
            own = url.hostname if url.hostname and url.hostname.endswith((".slack.com", ".slack-gov.com")) else SITE
            return Link(channel=channel, ts=ts, thread_ts=thread, site=SITE if own.startswith("app.") else own)
        case ["client", team, _, "thread", pane, *_] if root := _PANE.fullmatch(pane):
            return Link(team=team, channel=root[1], ts=root[2], thread_ts=root[2])
        case ["client", team, channel, moment, *_] if ts := _moment(moment):
            return Link(team=team, channel=channel, ts=ts)
        case _:
            return None


def _moment(text: str) -> str:
    """p1715000000000100, or 1715000000.000100, as a ts; else empty."""
    found = _MOMENT.fullmatch(text)
    return f"{found[1]}.{found[2]}" if found else ""


def _unknown(text: str) -> BadInput:
    return BadInput(
        f"{text!r:.120} names no message: give what Slack's 'Copy link' copies, such as "
        "https://acme.slack.com/archives/C012AB3CD/p1715000000000100, or channel:ts, or team/channel/thread_ts"
    )
