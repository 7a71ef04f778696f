"""Slack, looked at without changing anything: whose the token is and what it may do and, with a configuration token, how
the app is set up (https://docs.slack.dev/reference/methods).

A bot's token cannot read the app's settings, so a wrong Request URL in them shows only with a configuration token; without
one the URL itself is tried (`spool.slack.probe`), and a person compares it with Slack's page.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from spool.errors import Ambiguous, Refused, SpoolError
from spool.finding import Finding, ok, problem, unknown
from spool.slack import manifest

TIMEOUT = 15
_APPS = "https://api.slack.com/apps"
_REINSTALL = f"in {_APPS} put `spool manifest` under App Manifest, then Install App again"


def token(bot_token: str, *, api_url: str) -> Sequence[Finding]:
    """Whether Slack knows the token, and whether it has the scopes of the manifest."""
    again = f"copy the Bot User OAuth Token (xoxb-…) from {_APPS} → OAuth & Permissions into SLACK_BOT_TOKEN"
    if not bot_token.startswith("xoxb-"):
        return [problem("SLACK_BOT_TOKEN is no bot's token: those begin with xoxb-", fix=again)]
    try:
        answer, headers = _call("auth.test", bot_token, api_url)
    except Refused as e:
        return [problem(f"Slack refuses SLACK_BOT_TOKEN: {e.reason}", fix=again)]
    except SpoolError as e:
        return [problem(str(e), fix=f"see whether {api_url} can be reached from here, then try again")]
    names = (_word(answer.get(name)) for name in ("user", "team", "team_id"))
    return [ok("Slack knows the token: bot {} of {} ({})".format(*names)), _scopes(headers.get("x-oauth-scopes"))]


def _scopes(given: str | None) -> Finding:
    if given is None:
        return unknown("this Slack does not say which scopes the token has")
    has = {scope.strip() for scope in given.split(",")} - {""}
    if missing := [scope for scope in manifest.scopes() if scope not in has]:
        return problem(f"the token lacks {', '.join(missing)}", fix=_REINSTALL)
    spare = sorted(map(_word, has.difference(manifest.scopes())))
    return ok("it has every scope that is used" + (f"; these are not used: {', '.join(spare)}" if spare else ""))


def app(app_id: str, *, config_token: str, api_url: str, urls: Sequence[str]) -> Sequence[Finding]:
    """Whether the app is set up as its manifest says. urls: the Request URLs that are right, the best first; none: any."""
    if not (app_id and config_token):
        what = f"Request URL {urls[0]}" if urls else "the Request URL is that of your ingress"
        fix = f"compare in {_APPS} → Event Subscriptions: {what}, bot events {', '.join(manifest.EVENTS)}"
        return [unknown("Slack shows the app's settings only with SLACK_CONFIG_TOKEN and SLACK_APP_ID", fix=fix)]
    try:
        answer, _ = _call("apps.manifest.export", config_token, api_url, app_id=app_id)
    except Refused as e:
        fix = f"make a configuration token in {_APPS} (it lasts 12 hours), by somebody who may edit the app {_word(app_id)}"
        return [unknown(f"Slack does not show the app's settings: {e.reason}", fix=fix)]
    except SpoolError as e:
        return [unknown(str(e))]
    return _differences(_dict(answer.get("manifest")), urls)


def _differences(found: Mapping[str, Any], urls: Sequence[str]) -> Sequence[Finding]:
    """What of the app would keep events away."""
    settings = _dict(found.get("settings"))
    events = _dict(settings.get("event_subscriptions"))
    wrong = list[Finding]()
    there, page = str(events.get("request_url") or ""), f"{_APPS} → Event Subscriptions"
    if urls and there not in urls:
        wrong.append(problem(f"Slack sends events to {_line(there) or 'no URL'}, not to {urls[0]}", fix=f"set it in {page}"))
    subscribed = cast("list[Any]", events.get("bot_events") or [])
    if missing := [event for event in manifest.EVENTS if event not in subscribed]:
        wrong.append(problem(f"the app is not subscribed to {', '.join(missing)}", fix=_REINSTALL))
    if settings.get("socket_mode_enabled"):
        wrong.append(
            problem("Socket Mode is on: Slack sends no events to any URL", fix=f"switch it off in {_APPS} → Socket Mode")
        )
    if settings.get("token_rotation_enabled"):
        fix = "make the app anew from `spool manifest`: Slack does not switch rotation off again"
        wrong.append(problem("token rotation is on: the bot's token runs out after 12 hours", fix=fix))
    return wrong or [ok("the app's events, Request URL and modes are those of the manifest")]


def _call(method: str, token: str, api_url: str, **arguments: Any) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """The answer and its headers, named in lower case. Raises `Refused`, `Ambiguous`; neither quotes the token."""
    client: Any = WebClient(token, base_url=api_url, timeout=TIMEOUT, retry_handlers=[])
    if urlsplit(api_url).hostname in ("127.0.0.1", "localhost", "::1"):
        client.proxy = None  # slack_sdk takes HTTPS_PROXY for every address, this machine's own too
    try:
        answer = getattr(client, method.replace(".", "_"))(**arguments)
    except SlackApiError as e:
        response: Any = cast("Any", e).response
        word = str(_dict(getattr(response, "data", None)).get("error") or "")
        if not re.fullmatch(r"[a-z_]{1,80}", word):
            msg = f"{method}: status {getattr(response, 'status_code', '?')} and no word of Slack"
            raise Ambiguous(msg) from None
        msg = f"{method}: {word}"
        raise Refused(msg, reason=word) from None
    except (OSError, ValueError, AttributeError, RecursionError) as e:
        msg = f"{method}: no usable answer from {api_url} ({type(e).__name__})"
        raise Ambiguous(msg) from None
    return _dict(answer.data), {str(name).lower(): str(value) for name, value in answer.headers.items()}


def _dict(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _word(value: Any) -> str:
    return re.sub(r"[^\w.:-]", "", str(value or ""))[:80] or "?"


def _line(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:200]
