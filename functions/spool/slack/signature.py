"""Slack's request signature, version v0: https://docs.slack.dev/authentication/verifying-requests-from-slack.

slack_sdk has a verifier too; importing it costs the ingress a third of its cold start, and it raises on garbage.
"""

import hmac
from collections.abc import Iterable

WINDOW = 300.0
"""Seconds that a request's timestamp may differ from our clock, either way."""

_MAX_DIGITS = 12


def sign(secret: str, body: bytes, timestamp: int | str) -> str:
    """What X-Slack-Signature must be for these raw bytes; `timestamp` is X-Slack-Request-Timestamp, epoch seconds."""
    return "v0=" + hmac.digest(secret.encode(), f"v0:{timestamp}:".encode() + body, "sha256").hex()


def verify(secrets: Iterable[str], body: bytes, *, timestamp: str | None, signature: str | None, now: float) -> bool:
    """Whether Slack sent these raw bytes within the window around `now`, signed with any of `secrets`.

    Both headers are a stranger's until this says yes: whatever they hold, the answer is a bool.
    """
    if not timestamp or len(timestamp) > _MAX_DIGITS or not (timestamp.isascii() and timestamp.isdigit()):
        return False
    if not signature or not signature.isascii() or abs(now - int(timestamp)) > WINDOW:
        return False
    return any(hmac.compare_digest(sign(secret, body, timestamp), signature) for secret in secrets if secret)
