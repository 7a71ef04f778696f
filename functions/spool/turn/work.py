"""One attempt at one task: who I am, what I hold, what I reach the outside by."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from spool import logs
from spool.agents import Loaded
from spool.conversation import Mark
from spool.envelope import Envelope
from spool.policy import Policy
from spool.ports import Chat, Clock, Conversations, Ids, Tasks, Transcripts
from spool.task import Attempt, Task
from spool.transcript import Transcript, Turn
from spool.turn.admission import Admission
from spool.turn.book import Book
from spool.turn.memory import Memory

log = logging.getLogger("spool.turn")
GIVE_UP = 3600.0
"""Seconds after which a turn that the model, or the agent's code, keeps failing ends with the apology."""

OUT_OF_TIME = 1500.0
"""Seconds of one attempt after which no model call is begun: the queue's deadline is 1800."""

REST_SECONDS = 5.0
"""How long an attempt that is over waits for what it has under way: ten are left at SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything outside of a turn, chosen by the door.

    agent: the user's agent, loaded at the first call; raises `Misconfigured` as long as its module is broken.
    revision: which deployment answers.
    """

    tasks: Tasks
    transcripts: Transcripts
    conversations: Conversations
    chat: Chat
    clock: Clock
    ids: Ids
    agent: Callable[[], Loaded]
    policy: Policy = field(default_factory=Policy)
    revision: str = ""


@dataclass(slots=True, kw_only=True)
class Work:
    """What this attempt knows. Nothing of it is needed by whoever goes on after it.

    me: the owner's name, fresh for every attempt.
    delivered: turns known to be delivered, by the document or because I showed them.
    aside: requests to Slack that the turn does not wait for.
    gives_up: end the turn with the apology, whatever the agent could say.
    owned: tags of turns that this attempt has owned: going on with one of them is no take-over.
    """

    ports: Ports
    task: Task
    attempt: Attempt
    me: str
    begun: float
    book: Book
    admission: Admission | None = None
    memory: Memory = field(default_factory=Memory)
    delivered: set[Mark | None] = field(default_factory=set[Mark | None])
    owned: set[str] = field(default_factory=set[str])
    aside: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    gives_up: bool = False

    @property
    def turn(self) -> Turn:
        """The last turn of the transcript in hand."""
        last = self.book.transcript.last
        if last is None:
            msg = "no turn is open yet"
            raise LookupError(msg)
        return last

    @property
    def mail(self) -> Mapping[str, Envelope]:
        """The inbox as last seen."""
        return self.admission.mail if self.admission else dict[str, Envelope]()

    async def write(self, turn: Turn) -> None:
        """Commit the last turn anew. Raises `Reenter`."""
        await self.book.commit(self.book.transcript.with_last(turn))

    async def own(self, transcript: Transcript, *, lookup: bool) -> None:
        """Commit a last turn that is mine in a new epoch. It counts as owned, and memory begins anew, even where the commit's
        answer is lost. Raises `Reenter`."""
        last = transcript.turns[-1]
        self.owned.add(last.tag)
        logs.add(turn=last.tag)
        self.memory = Memory.of(last, lookup=lookup)
        await self.book.commit(transcript)

    def begin(self, request: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Ask Slack for something, aside of the turn."""
        self.aside.add(task := asyncio.create_task(request))
        task.add_done_callback(self.aside.discard)
        return task

    async def rest(self) -> None:
        """No more of it: once the task is acked, a process may stand still, and would go on hours later where it stood."""
        self.memory = Memory()
        if self.aside:
            await asyncio.wait(self.aside, timeout=REST_SECONDS)

    def say(self, level: int, text: str, *, event: str = "", **fields: Any) -> None:
        """One log line that names conversation, turn and owner, and quotes nobody.

        event, fields: as in `spool.logs.FIELDS`; `cause` is an error, of which only frames and kinds may be shown.
        """
        last = self.book.transcript.last
        tag, key = last.tag if last else "", str(self.task.conversation)
        known = {"event": event, "conversation": key, "turn": tag, "owner": self.me, "generation": self.book.generation}
        log.log(level, "%s %s %s: %s", key, tag or "-", self.me, text, extra={**known, **fields})
