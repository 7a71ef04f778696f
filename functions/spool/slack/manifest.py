"""What the Slack app must be: its scopes, its events and its one Request URL, no more than what is used.

    METHODS   every method that `spool.slack.chat` calls, and the scopes it needs
    EVENTS    every event that `spool.slack.events` reads, and the scope that it needs

Tests hold both against those modules. Sources: https://docs.slack.dev/reference/methods, /reference/events and
/reference/app-manifest.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from spool.errors import BadInput

PLACEHOLDER = "https://replace-me.invalid"
"""Stands where the ingress' URL is not known yet; `.invalid` is nobody's by RFC 2606."""

PATH = "/slack/events"
NAME_LIMIT = 35

_HISTORIES = ("channels:history", "groups:history", "im:history", "mpim:history")

METHODS: Mapping[str, tuple[str, ...]] = {
    "auth.test": (),
    "chat.delete": ("chat:write",),
    "chat.postMessage": ("chat:write",),
    "chat.update": ("chat:write",),
    "conversations.replies": _HISTORIES,
}

EVENTS: Mapping[str, str] = {
    "app_mention": "app_mentions:read",
    "message.channels": "channels:history",
    "message.groups": "groups:history",
    "message.im": "im:history",
    "message.mpim": "mpim:history",
}


def scopes() -> tuple[str, ...]:
    """The scopes of the bot's token."""
    return tuple(sorted({*EVENTS.values(), *(scope for needed in METHODS.values() for scope in needed)}))


def events_url(url: str) -> str:
    """The Request URL at an ingress: from its base URL, or from itself. Raises `BadInput`."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.path not in ("", "/", PATH):
        msg = f"the ingress' URL is https://HOST, or https://HOST{PATH}, but this is {url!r:.200}"
        raise BadInput(msg)
    return f"https://{parts.netloc}{PATH}"


def manifest(url: str = PLACEHOLDER, *, name: str = "Spool") -> dict[str, Any]:
    """The app's manifest, as Slack reads it. Raises `BadInput`.

    Commands, shortcuts and interactivity are not in it: nothing would answer them.
    """
    if not 0 < len(name) <= NAME_LIMIT:
        msg = f"a Slack app's name has 1 to {NAME_LIMIT} characters, not {len(name)}"
        raise BadInput(msg)
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {"name": name, "description": "Mention it, or write to it directly."},
        "features": {
            "app_home": {"home_tab_enabled": False, "messages_tab_enabled": True, "messages_tab_read_only_enabled": False},
            "bot_user": {"display_name": name, "always_online": True},
        },
        "oauth_config": {"scopes": {"bot": list(scopes())}},
        "settings": {
            "event_subscriptions": {"request_url": events_url(url), "bot_events": list(EVENTS)},
            "interactivity": {"is_enabled": False},
            "org_deploy_enabled": False,
            "socket_mode_enabled": False,
            "token_rotation_enabled": False,
        },
    }
