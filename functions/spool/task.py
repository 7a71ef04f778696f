"""A task: an envelope in the queue, or the order to tidy up after a turn.

The body is JSON with a schema number, because queued tasks outlive deployments. Light: the ingress makes tasks.
"""

import json
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Literal, cast

from spool.envelope import ConversationKey, Envelope
from spool.errors import BadInput

SCHEMA = 1
BUSY_DELAYS = (15.0, 30.0, 60.0, 120.0)
"""Seconds that a baton waits, by hops; the last one repeats."""

TIDY_DELAY = 2400.0
"""Seconds until a tidy task: longer than any request of a worker can live (30 min) and still land."""

_FAR_FUTURE = 1e11


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the queue carries. `after` names the owner who made this successor: its lease may be taken at once."""

    conversation: ConversationKey
    kind: Literal["msg", "tidy"] = "msg"
    envelope: Envelope | None = None
    tag: str = ""
    hop: int = 0
    after: str = ""
    first_seen: float = 0.0
    trace: str = ""

    @classmethod
    def of(cls, envelope: Envelope, *, first_seen: float, trace: str = "") -> "Task":
        """The task of a message that has just come in; `first_seen` is epoch seconds at the ingress."""
        return cls(conversation=envelope.conversation, envelope=envelope, first_seen=first_seen, trace=trace)

    def baton(self, *, after: str) -> "Task":
        """The successor that carries the same work on."""
        return replace(self, hop=self.hop + 1, after=after)

    def tidy(self, tag: str) -> "Task":
        """The order to delete what turn `tag` may have left behind in Slack."""
        return replace(self, kind="tidy", envelope=None, tag=tag, hop=0, after="")

    @property
    def busy_delay(self) -> float:
        """Seconds this baton waits for a conversation that is busy, or for trouble to pass."""
        return BUSY_DELAYS[min(max(self.hop, 1), len(BUSY_DELAYS)) - 1]

    def encode(self) -> bytes:
        """The body: one compact JSON object, written by hand: an ack waits for it, and `json` takes four times as long."""
        key = self.conversation
        body = (
            f'{{"schema":{SCHEMA},"kind":"{self.kind}","team":"{key.team}","channel":"{key.channel}",'
            f'"thread_ts":"{key.thread_ts}","hop":{self.hop},"first_seen":{self.first_seen!r}'
        )
        if self.envelope:
            body += f',"msg":{self.envelope.encode()}'
        for name, value in (("tag", self.tag), ("after", self.after), ("trace", self.trace)):
            if value:
                body += f',"{name}":{quote(value)}'
        return (body + "}").encode()

    @classmethod
    def decode(cls, body: bytes) -> "Task":
        """The inverse of `encode`. Raises `BadInput`."""
        try:
            value: Any = json.loads(body)
        except (ValueError, RecursionError) as e:
            msg = f"a task's body is JSON: {e}"
            raise BadInput(msg) from e
        if not isinstance(value, dict) or cast("dict[str, Any]", value).get("schema") != SCHEMA:
            found = cast("dict[str, Any]", value).get("schema") if isinstance(value, dict) else type(value).__name__
            msg = f"a task's body is a JSON object with schema {SCHEMA}, not {found!r:.40}"
            raise BadInput(msg)
        fields = cast("dict[str, Any]", value)
        key = ConversationKey(
            team=fields.get("team", ""), channel=fields.get("channel", ""), thread_ts=fields.get("thread_ts", "")
        )
        kind = fields.get("kind")
        if kind not in ("msg", "tidy"):
            msg = f"a task's kind is msg or tidy, not {kind!r:.40}"
            raise BadInput(msg)
        hop, first_seen = fields.get("hop", 0), fields.get("first_seen", 0.0)
        if not isinstance(hop, int) or not isinstance(first_seen, int | float) or not 0 <= first_seen < _FAR_FUTURE:
            msg = f"a task's hop is a number, and first_seen epoch seconds, not {hop!r:.40} and {first_seen!r:.40}"
            raise BadInput(msg)
        return cls(
            conversation=key,
            kind=kind,
            envelope=Envelope.from_json(fields.get("msg"), conversation=key) if kind == "msg" else None,
            tag=str(fields.get("tag", "")),
            hop=int(hop),
            after=str(fields.get("after", "")),
            first_seen=float(first_seen),
            trace=str(fields.get("trace", "")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of the queue at a task: the task's name in the queue, and how often it was tried before."""

    name: str
    retry: int
