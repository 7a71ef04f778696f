"""What is left behind for people who ask why: tasks in the queue, generations of an object, lines of the log.

Nothing of it is needed by a turn. Each backend keeps another part of it, and says what it does not keep.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from spool.envelope import ConversationKey
from spool.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A task that the queue still holds: it waits, or an attempt at it is under way.

    task: None where its body may not be read. due: epoch seconds, not before then. attempts: how often it was dispatched.
    previous: the status of the last answer; None without one.
    """

    name: str
    task: Task | None
    due: float
    attempts: int
    previous: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One generation of an object: when it was written, how long it is, whether it is the one that counts."""

    generation: int
    updated: float
    size: int
    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One record of the log; `conversation` is the key that it names, or empty."""

    at: float
    severity: str
    text: str
    conversation: str = ""


class Evidence(Protocol):
    """What one backend can show. Each answer comes with a sentence about what it leaves out; empty: nothing.

    Every method may raise `Ambiguous`, `Missing` and `Refused`. None of them writes.
    """

    async def tasks(self, channel: str, *, name: str = "") -> tuple[Sequence[Queued], str]:
        """The tasks of a channel's conversations, the next due first, and the task `name`, as far as they can be told."""
        ...

    async def versions(self, path: str) -> tuple[Sequence[Version], str]:
        """The generations of an object that are still there, oldest first."""
        ...

    async def logs(
        self, message: str, conversation: ConversationKey | None, *, until: float = math.inf
    ) -> tuple[Sequence[Line], str]:
        """What was logged of the message with this key, and of the conversation around it, up to `until`; oldest first."""
        ...
