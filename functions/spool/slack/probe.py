"""The Request URL, tried as Slack tries it: https://docs.slack.dev/reference/events/url_verification.

A challenge that comes back proves the URL, the way to it and the signing secret at once.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from spool.finding import Finding, ok, problem
from spool.slack.signature import sign

PATIENCE = 3.0
"""Seconds that Slack waits for an answer to an event."""

TIMEOUT = 15.0
_OK, _REDIRECTIONS = 200, range(300, 400)
_WRONG = {
    200: ("answers, but is not the ingress", "run the first build, and see that the URL is right"),
    401: (
        "refuses the signature (401)",
        "it has another SLACK_SIGNING_SECRET than this: copy it from https://api.slack.com/apps → Basic Information",
    ),
    403: ("lets nobody in (403)", "terraform apply: the ingress must be public, for Slack sends no token of Google's"),
    404: ("has nothing there (404)", "see that the host is right; the path is /slack/events"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What came back; status 0: nothing did, and `text` says why."""

    status: int
    text: str
    seconds: float


def request_url(url: str, *, secret: str, challenge: str, now: int) -> Sequence[Finding]:
    """Whether the ingress at `url` says a signed challenge back. now: epoch seconds."""
    answer = _challenged(url, secret, challenge, now)
    if answer.status != _OK or _said_back(answer.text) != challenge:
        return [_wrong(url, answer)]
    if answer.seconds > PATIENCE:
        text = f"{url} answers, but after {answer.seconds:.1f} s: Slack waits {PATIENCE:.0f}"
        return [problem(text, fix="set ingress_min_instances = 1 in the environment's tfvars, and terraform apply")]
    return [ok(f"{url} answers a signed challenge, after {answer.seconds:.2f} s")]


def _wrong(url: str, answer: _Answer) -> Finding:
    if not answer.status:
        return problem(f"{url} cannot be reached: {answer.text}", fix="see that the URL is right and the ingress deployed")
    if answer.status in _REDIRECTIONS:
        return problem(f"{url} sends elsewhere ({answer.status})", fix="give Slack the URL that answers itself")
    text, fix = _WRONG.get(answer.status, (f"answers {answer.status}", "read the ingress' log: a setting may be wrong"))
    return problem(f"{url} {text}", fix=fix)


def _challenged(url: str, secret: str, challenge: str, now: int) -> _Answer:
    body = json.dumps({"type": "url_verification", "challenge": challenge}).encode()
    signed = {"X-Slack-Request-Timestamp": str(now), "X-Slack-Signature": sign(secret, body, now)}
    start = time.perf_counter()
    try:
        status, text = _posted(url, body, {**signed, "Content-Type": "application/json"})
    except (OSError, ValueError) as e:
        status, text = 0, str(getattr(e, "reason", "") or e or type(e).__name__)[:200]
    return _Answer(status=status, text=text, seconds=time.perf_counter() - start)


def _posted(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """The status and what was said. Raises OSError, ValueError."""
    if urlsplit(url).scheme not in ("http", "https"):
        msg = "it is no http URL"
        raise ValueError(msg)
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - its scheme is checked
    try:
        with _opener(url).open(request, timeout=TIMEOUT) as response:
            return response.status, response.read(10_000).decode(errors="replace")
    except urllib.error.HTTPError as e:
        with e:
            return e.code, ""


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer to be told, not to be followed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener(url: str) -> urllib.request.OpenerDirector:
    own = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    return urllib.request.build_opener(_Stay, *([urllib.request.ProxyHandler({})] if own else []))


def _said_back(text: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return str(cast("dict[str, Any]", found).get("challenge", "")) if isinstance(found, dict) else ""
