"""What was read of one message: the evidence, as values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from spool.conversation import Document, Seen
from spool.envelope import ConversationKey, Envelope
from spool.evidence import Line, Queued, Version
from spool.slack.permalink import Link
from spool.transcript import Transcript, Turn

Role = Literal["message", "answer", "conversation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything that was read, and what could not be.

    key: the conversation; None where nothing tells which. role: what was pointed at: a message, the agent's own answer, or a
    whole conversation. now: the server's clock where it told, epoch seconds.
    unreadable, too_new: why the transcript cannot be read; `transcript` is then what stands in for it, or None.
    dead: the records of turns that were not answered, by path.
    semantics: how a tool bears a crash, by its name, as this checkout declares it; None: it could not be loaded.
    serving: whether a `spool dev` works on this state directory; None on Google Cloud, where there is always a worker.
    document_read, tasks_whole: whether the conversation's document, and all tasks, could be looked at.
    """

    asked: str
    link: Link
    place: str
    now: float
    key: ConversationKey | None = None
    role: Role = "message"
    transcript: Transcript | None = None
    unreadable: str = ""
    too_new: str = ""
    seen: Seen | None = None
    document_read: bool = True
    tasks: Sequence[Queued] = ()
    tasks_whole: bool = True
    versions: Sequence[Version] = ()
    dead: Mapping[str, Transcript | None] = field(default_factory=dict[str, Transcript | None])
    logs: Sequence[Line] = ()
    semantics: Callable[[str], str] | None = None
    serving: bool | None = None
    notes: Sequence[str] = ()

    @property
    def document(self) -> Document | None:
        return self.seen.document if self.seen else None

    @property
    def turn(self) -> Turn | None:
        """The turn that answers: the one with the message, or with the slot that was pointed at; else the last."""
        turns = self.transcript.turns if self.transcript else ()
        if self.role == "conversation":
            return turns[-1] if turns else None
        return next((t for t in reversed(turns) if self.link.ts in (*(m.ts for m in t.messages), *(t.slots or ()))), None)

    @property
    def message(self) -> str:
        """The key of the message that the story is about; empty where nothing tells."""
        turn = self.turn
        return turn.messages[-1].key if turn and self.role != "message" else self.link.key

    @property
    def carriers(self) -> list[Queued]:
        """The tasks that carry the message, or any message of its turn."""
        turn = self.turn
        keys = {self.message, *(m.key for m in turn.messages)} if turn else {self.message}
        return [q for q in self.tasks if q.task and q.task.envelope and q.task.envelope.key in keys]

    @property
    def in_inbox(self) -> bool:
        return self.document is not None and self.message in self.document.inbox

    @property
    def waiting(self) -> list[str]:
        """The keys of the messages that no turn has yet, oldest first."""
        carried = [q.task.envelope.key for q in self.tasks if q.task and q.task.envelope]
        mailed = list(self.document.inbox) if self.document else []
        had = {*(self.transcript.keys if self.transcript else ()), *(self.document.answered if self.document else ())}
        return sorted({*carried, *mailed} - had)

    @property
    def records(self) -> list[str]:
        """The records under dead/ that hold the message, or its turn."""
        keys = {self.message, *(m.key for m in self.turn.messages)} if self.turn else {self.message}
        return [path for path, kept in self.dead.items() if kept and keys & set(kept.keys)]

    @property
    def envelope(self) -> Envelope | None:
        """The message as it came in, where it still waits somewhere."""
        waiting = self.document.inbox.get(self.message) if self.document else None
        carried = (q.task.envelope for q in self.carriers if q.task and q.task.envelope)
        return waiting or next((e for e in carried if e.key == self.message), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The lease. age: seconds since its last heartbeat, by the server's clock. left: until it runs out; below 0: since."""

    owner: str
    task: str
    retry: int
    age: float | None
    left: float

    @property
    def holds(self) -> bool:
        return self.left >= 0


def held(seen: Seen | None) -> Held | None:
    """The lease as it stands by the server's clock; None: nobody has it."""
    lease = seen.document.lease if seen else None
    if seen is None or lease is None:
        return None
    age = None if lease.at is None else seen.read_at - lease.at
    return Held(owner=lease.owner, task=lease.task, retry=lease.retry, age=age, left=lease.ttl_s - (age or 0.0))


def is_delivered(found: Found, turn: Turn) -> bool:
    """Whether it is known that Slack shows the turn's reply: the next turn says so, or the release."""
    document, last = found.document, found.transcript.last if found.transcript else None
    released = bool(document and (document.delivered == turn.mark or {m.key for m in turn.messages} <= set(document.answered)))
    return turn.state == "done" and (turn.delivered or turn is not last or released)
