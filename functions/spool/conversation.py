"""A conversation's document: who works on it, what waits for it, what was answered lately.

A hint for speed and cost: it may be lost, stale or restored from a backup, and no answer is lost or doubled. The one
exception: `answered` and `delivered` are written by nothing but a release after delivery, so they may be believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from spool.envelope import ConversationKey, Envelope
from spool.errors import BadInput
from spool.task import Attempt, Task

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 20.0
ANSWERED_LIMIT = 200
"""Message keys that the document remembers; the transcript remembers them all."""

INBOX_BYTES = 100_000
"""An inbox larger than this takes nothing more: the message's baton carries it."""

Mark = tuple[str, str]
"""A turn, told from a turn of the same number in a transcript that was deleted: its id and its owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of `owner` to work on the conversation until `at + ttl_s`.

    task, retry: the Cloud Task at work and its attempt (the thread_ts-to-task mapping).
    at: epoch seconds of the last heartbeat by the server's clock; None in a value to be written: the server sets it.
    """

    owner: str
    task: str
    retry: int
    at: float | None = None
    ttl_s: float = LEASE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The whole document, as read or as to be written."""

    lease: Lease | None = None
    inbox: Mapping[str, Envelope] = field(default_factory=dict[str, Envelope])
    answered: tuple[str, ...] = ()
    delivered: Mark | None = None

    def with_mail(self, envelope: Envelope) -> "Document":
        """The message in the inbox, or its new files added to the entry that is there."""
        have = self.inbox.get(envelope.key)
        return replace(self, inbox={**self.inbox, envelope.key: have.with_files_of(envelope) if have else envelope})

    @property
    def inbox_is_full(self) -> bool:
        return sum(len(e.encode()) for e in self.inbox.values()) > INBOX_BYTES

    def released(self, keys: list[str], delivered: Mark) -> "Document":
        """Nobody at work, nothing waiting, these keys answered: what is written after the delivery of a last turn."""
        answered = tuple(dict.fromkeys((*self.answered, *keys)))[-ANSWERED_LIMIT:]
        return replace(self, lease=None, inbox={}, answered=answered, delivered=delivered)

    def to_json(self) -> dict[str, Any]:
        lease = self.lease
        return {
            "lease": lease
            and {"owner": lease.owner, "task": lease.task, "retry": lease.retry, "at": lease.at, "ttl_s": lease.ttl_s},
            "inbox": {k: e.to_json() for k, e in self.inbox.items()},
            "answered": list(self.answered),
            "delivered": self.delivered and {"turn": self.delivered[0], "owner": self.delivered[1]},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, conversation: ConversationKey) -> "Document":
        """The inverse of `to_json`. Raises `BadInput` for what is no document."""
        try:
            lease, delivered = value.get("lease"), value.get("delivered")
            return cls(
                lease=_lease(lease) if lease else None,
                inbox={str(k): Envelope.from_json(e, conversation=conversation) for k, e in value.get("inbox", {}).items()},
                answered=tuple(str(key) for key in value.get("answered", ())),
                delivered=(str(delivered["turn"]), str(delivered["owner"])) if delivered else None,
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as e:
            msg = f"a conversation's document has lease, inbox, answered and delivered: {type(e).__name__}"
            raise BadInput(msg) from e


def _lease(value: Mapping[str, Any]) -> Lease:
    """Fields of a later version are passed over."""
    at = value.get("at")
    return Lease(
        owner=str(value["owner"]),
        task=str(value["task"]),
        retry=int(value["retry"]),
        at=None if at is None else float(at),
        ttl_s=float(value.get("ttl_s", LEASE_SECONDS)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A document as one read found it.

    token: names this version; a write that gives it succeeds only if nothing was written since.
    read_at: the server's clock at the read, epoch seconds: leases are judged by it alone.
    """

    document: Document
    token: str
    read_at: float

    def ran_out(self, seconds: float) -> bool:
        """Whether there is a lease and it ran out more than `seconds` ago."""
        lease = self.document.lease
        return lease is not None and self.read_at - (lease.at or 0.0) > lease.ttl_s + seconds

    def may_be_taken(self, *, me: str, task: Task, attempt: Attempt) -> bool:
        """Nobody holds the lease, or I do, or its owner named me as successor, or it ran out, or the queue says that the
        holder's attempt is over (the same task comes again with a higher retry count)."""
        lease = self.document.lease
        return (
            lease is None
            or lease.owner in (me, task.after)
            or self.ran_out(0.0)
            or (lease.task == attempt.name and attempt.retry > lease.retry)
        )
