"""What Spool needs of the outside, one Protocol each. Every sentence of a docstring is a promise with a contract test.

Every method may raise `Ambiguous` (its effect may have happened, or may still happen); only what it raises besides is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from spool.conversation import Document, Seen
from spool.decision import Reserved
from spool.envelope import ConversationKey, Envelope
from spool.task import Task
from spool.transcript import Summary, Transcript


class Clock(Protocol):
    """Time, as a turn sees it."""

    def now(self) -> float:
        """Epoch seconds."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Ids(Protocol):
    def __call__(self) -> str:
        """A new name that nobody else has."""
        ...


class Tasks(Protocol):
    """The queue: delivers each task to the worker until it is acked with 200; at least once, in any order."""

    async def create(self, task: Task, *, delay: float = 0.0) -> None:
        """Once this returns, the task is durable and will be delivered, not before `delay` seconds have passed.

        Raises `Refused` when the queue will never take this task.
        """
        ...


class Transcripts(Protocol):
    """The bucket: objects with generations."""

    async def load(self, path: str, *, key: ConversationKey) -> tuple[Transcript, int]:
        """The transcript at `path` and its generation; an empty one and 0 where there is no object, and only then.

        Raises `Unreadable`, `TooNew`.
        """
        ...

    async def commit(self, path: str, transcript: Transcript, *, generation: int) -> int:
        """Replace the object if `generation` still holds (0: there is none); the new generation.

        Of several writers at one generation exactly one succeeds; a refused commit changes nothing. Raises `Conflict`.
        """
        ...

    async def list(self, *, prefix: str = "threads/", after: str = "", limit: int = 1000) -> Sequence[tuple[str, Summary]]:
        """Paths and summaries, ordered by path, at most `limit`, each after `after`; reads no transcript."""
        ...

    async def read(self, path: str) -> bytes | None:
        """The object exactly as stored, readable or not; None where there is none."""
        ...

    async def keep(self, data: bytes, *, media_type: str) -> str:
        """Store bytes under their own hash, once for ever; their path, `blobs/{sha256}`. Repeating it changes nothing."""
        ...


class Conversations(Protocol):
    """The documents of conversations: leases, inboxes, answered keys."""

    async def read(self, key: ConversationKey) -> Seen | None:
        """The document, its token and the server's time; None where there is none."""
        ...

    async def write(self, key: ConversationKey, document: Document, *, token: str | None) -> str:
        """Replace the document if `token` still names its version (None: there must be none); the new token.

        Where the lease's `at` is None, the server's clock sets it. A refused write changes nothing. Raises `Conflict`.
        """
        ...

    async def expired(self, *, seconds: float, limit: int) -> Sequence[tuple[ConversationKey, Document]]:
        """Conversations whose lease ran out more than `seconds` ago by the server's clock: the oldest, at most `limit`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message of a thread, as the chat shows it now."""

    ts: str
    user: str
    text: str
    mine: bool = False


class Chat(Protocol):
    """Slack, as far as a turn speaks to it. Every method may raise `Throttled` and `Refused`."""

    def parts(self, reply: str) -> tuple[str, ...]:
        """The reply cut into what one message can carry each, at least one; nothing is lost."""
        ...

    async def reserve(self, key: ConversationKey, *, tag: str, epoch: int, part: int) -> str:
        """Post a neutral message that names turn, epoch and part in its metadata; its ts. Never repeated by itself."""
        ...

    async def fill(self, key: ConversationKey, ts: str, text: str, *, plain: bool = False) -> None:
        """Show `text` (Markdown; no mention or markup of it is obeyed) in message `ts`. Repeating it changes nothing.

        Raises `Missing` when the message is gone, `BadBlocks` when only its form is refused.
        """
        ...

    async def delete(self, key: ConversationKey, ts: str) -> None:
        """Delete message `ts`; one that is gone already is deleted."""
        ...

    async def find(self, key: ConversationKey, *, tag: str) -> Sequence[Reserved]:
        """The messages of the agent that turn `tag` posted and that are still there, by ts."""
        ...

    async def thread(self, key: ConversationKey, *, limit: int = 200) -> Sequence[Said]:
        """The thread's messages, oldest first, reserved ones left out; with more than `limit`, the last ones."""
        ...

    async def whole(self, envelope: Envelope) -> Envelope:
        """The message with all of its text, where the envelope had to cut it. Raises `Missing`."""
        ...
