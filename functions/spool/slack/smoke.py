"""Requests in Slack's words that show nothing in Slack, whoever answers them: for the smoke test of a deployment."""

import json

from spool.slack.signature import sign

TEAM, CHANNEL, PERSON, THREAD = "T0SMOKE", "C0SMOKE", "U0SMOKE", "1000000000.000001"


def challenge(word: str) -> bytes:
    """Slack's test of a Request URL (https://docs.slack.dev/reference/events/url_verification)."""
    return json.dumps({"type": "url_verification", "token": "smoke", "challenge": word}).encode()


def reply_to_nobody(*, ts: str) -> bytes:
    """A reply in a thread that no agent takes part in, in no workspace: it is queued, and dropped by the worker that asks the
    transcript. Where the policy follows no threads, it is not even queued."""
    event = {"type": "message", "channel_type": "channel", "channel": CHANNEL, "user": PERSON, "text": "smoke test"}
    times = {"ts": ts, "thread_ts": THREAD}
    return json.dumps({"type": "event_callback", "team_id": TEAM, "event_id": f"Ev{ts}", "event": event | times}).encode()


def headers(secret: str, body: bytes, *, now: float) -> dict[str, str]:
    """What Slack sends beside the body."""
    stamp = str(int(now))
    return {
        "Content-Type": "application/json",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": sign(secret, body, stamp),
    }
