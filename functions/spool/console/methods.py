"""The methods of Slack's Web API that Spool calls, with Slack's arguments, limits and errors.

Source: https://docs.slack.dev/reference/methods. Stricter than Slack in one thing: an argument that a method does not
have is an error here, while Slack passes over it and a mistake stays unseen.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spool.console import limits
from spool.console.limits import Refusal, refuse
from spool.console.state import Json
from spool.console.workspace import Workspace

MOST = 1000


@dataclass(frozen=True, slots=True)
class Method:
    """The names of the arguments that it takes, and what it does with them; raises `Refusal`."""

    takes: str
    does: Callable[[Workspace, Json], Json]


def perform(workspace: Workspace, method: str, arguments: Json) -> Json:
    """What Slack does, and its answer."""
    token = arguments.pop("token", None)
    known = METHODS.get(method)
    try:
        if known is None or token != workspace.installation.token:
            refuse("unknown_method" if known is None else "invalid_auth" if token else "not_authed")
        if not arguments.keys() <= set(known.takes.split()):
            refuse("invalid_arguments")
        return {"ok": True, **known.does(workspace, arguments)}
    except Refusal as e:
        return {"ok": False, "error": str(e)}


def _auth_test(workspace: Workspace, _: Json) -> Json:
    me = workspace.installation
    names = {"url": "https://spool.slack.com/", "team": "spool", "user": "spool"}
    return {**names, "team_id": me.team, "user_id": me.user, "bot_id": me.bot, "is_enterprise_install": False}


def _post_message(workspace: Workspace, arguments: Json) -> Json:
    channel, thread_ts = _writable(workspace, arguments), arguments.get("thread_ts")
    content = limits.content(arguments, update=False)
    if thread_ts and workspace.state.message(channel, str(thread_ts)) is None:
        refuse("cannot_reply_to_message" if workspace.state.was_deleted(channel, str(thread_ts)) else "thread_not_found")
    me = workspace.installation
    message: Json = {"type": "message", "user": me.user, "bot_id": me.bot, "app_id": me.app, "team": me.team, **content}
    if found := limits.metadata(arguments.get("metadata")):
        message["metadata"] = found
    message |= {"ts": workspace.next_ts(), "client_msg_id": str(arguments.get("client_msg_id", ""))}
    shown = workspace.post(channel, message, thread_ts=thread_ts)
    return {"channel": channel, "ts": shown["ts"], "message": shown}


def _update(workspace: Workspace, arguments: Json) -> Json:
    channel = _writable(workspace, arguments)
    before = _own(workspace, channel, arguments, error="cant_update_message")
    content = limits.content(arguments, update=True)
    kept = {name: value for name, value in before.items() if name != "blocks"}
    message = {**kept, **content, "edited": {"user": workspace.installation.bot, "ts": workspace.next_ts()}}
    if "metadata" in arguments:
        message["metadata"] = limits.metadata(arguments["metadata"])
    workspace.change(channel, message)
    return {"channel": channel, "ts": message["ts"], "text": message["text"], "message": message}


def _delete(workspace: Workspace, arguments: Json) -> Json:
    channel = _writable(workspace, arguments)
    message = _own(workspace, channel, arguments, error="cant_delete_message")
    workspace.forget(channel, message["ts"])
    return {"channel": channel, "ts": message["ts"]}


def _replies(workspace: Workspace, arguments: Json) -> Json:
    channel, ts = _readable(workspace, arguments), str(arguments.get("ts", ""))
    root, replies = _thread(workspace, channel, ts)
    if replies:
        root = {**root, "thread_ts": ts, "reply_count": len(replies), "latest_reply": replies[-1]["ts"]}
    return _page([root, *(m for m in replies if _is_between(m["ts"], arguments))], arguments)


def _thread(workspace: Workspace, channel: str, ts: str) -> tuple[Json, list[Json]]:
    """The root and its replies. A deleted root leaves a tombstone as long as it has replies; a reply by its own ts is alone."""
    replies = [m for m in workspace.messages(channel, ts) if m["ts"] != ts]
    root = workspace.state.message(channel, ts)
    if root is None and (not replies or not workspace.state.was_deleted(channel, ts)):
        refuse("thread_not_found")
    tombstone: Json = {"type": "message", "subtype": "tombstone", "user": "USLACKBOT", "hidden": True, "ts": ts}
    return root or tombstone, replies


def _history(workspace: Workspace, arguments: Json) -> Json:
    channel = _readable(workspace, arguments)
    top = [m for m in workspace.messages(channel) if m.get("thread_ts", m["ts"]) == m["ts"] and _is_between(m["ts"], arguments)]
    return _page(top[::-1], {"limit": 100, **arguments})


def _channel_info(workspace: Workspace, arguments: Json) -> Json:
    return {"channel": workspace.state.get("channel", _known(workspace, arguments)[0])}


def _user_info(workspace: Workspace, arguments: Json) -> Json:
    return {"user": workspace.state.get("user", str(arguments.get("user", ""))) or refuse("user_not_found")}


def _page(messages: list[Json], arguments: Json) -> Json:
    """One page; the cursor is where the next one begins."""
    try:
        start = int(base64.b64decode(str(arguments.get("cursor") or "MA=="), validate=True))
        limit = min(int(arguments.get("limit") or MOST), MOST)
    except (ValueError, binascii.Error):
        refuse("invalid_cursor")
    if limit < 1:
        refuse("invalid_limit")
    page, more = messages[start : start + limit], len(messages) > start + limit
    cursor = base64.b64encode(str(start + limit).encode()).decode() if more else ""
    everything = _is_true(arguments.get("include_all_metadata"))
    shown = page if everything else [_without_payload(m) for m in page]
    return {"messages": shown, "has_more": more, "response_metadata": {"next_cursor": cursor}}


def _without_payload(message: Json) -> Json:
    if "metadata" not in message:
        return message
    return {**message, "metadata": {"event_type": message["metadata"].get("event_type"), "event_payload": {}}}


def _is_between(ts: str, arguments: Mapping[str, Any]) -> bool:
    oldest, latest = str(arguments.get("oldest") or "0"), str(arguments.get("latest") or "9")
    return oldest < ts < latest or (_is_true(arguments.get("inclusive")) and ts in (oldest, latest))


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("1", "true")


def _known(workspace: Workspace, arguments: Json) -> tuple[str, Json]:
    channel = workspace.state.get("channel", str(arguments.get("channel", ""))) or refuse("channel_not_found")
    return channel["id"], channel


def _readable(workspace: Workspace, arguments: Json) -> str:
    name, channel = _known(workspace, arguments)
    if not channel["is_member"]:
        refuse("not_in_channel")
    return name


def _writable(workspace: Workspace, arguments: Json) -> str:
    name, channel = _known(workspace, arguments)
    if channel["is_archived"]:
        refuse("is_archived")
    return _readable(workspace, {"channel": name})


def _own(workspace: Workspace, channel: str, arguments: Json, *, error: str) -> Json:
    message = workspace.state.message(channel, str(arguments.get("ts", ""))) or refuse("message_not_found")
    if message.get("bot_id") != workspace.installation.bot:
        refuse(error)
    return message


METHODS: Mapping[str, Method] = {
    "auth.test": Method("", _auth_test),
    "chat.postMessage": Method(
        "channel text as_user attachments blocks thread_ts reply_broadcast unfurl_links unfurl_media container_id icon_emoji "
        "icon_url mrkdwn link_names username parse metadata markdown_text client_msg_id",
        _post_message,
    ),
    "chat.update": Method(
        "channel ts text as_user attachments blocks file_ids link_names parse reply_broadcast metadata markdown_text", _update
    ),
    "chat.delete": Method("channel ts as_user", _delete),
    "conversations.replies": Method("channel ts cursor inclusive include_all_metadata latest limit oldest", _replies),
    "conversations.history": Method("channel cursor inclusive include_all_metadata latest limit oldest", _history),
    "conversations.info": Method("channel include_locale include_num_members", _channel_info),
    "users.info": Method("user include_locale", _user_info),
}
