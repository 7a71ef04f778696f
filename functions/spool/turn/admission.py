"""Who works on a conversation: the lease, the inbox, and how both are given back.

Everything here is a hint that saves time and money. A lease may be granted to two workers, a document may be lost or
restored from a backup: the transcript's generations and epochs still let exactly one of them win.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from spool.conversation import HEARTBEAT_SECONDS, Document, Lease, Seen
from spool.envelope import Envelope
from spool.errors import Ambiguous, Conflict
from spool.ports import Clock, Conversations
from spool.task import Attempt, Task
from spool.transcript import Transcript
from spool.turn.book import Book
from spool.turn.signals import HandOver

Verdict = Literal["mine", "busy", "answered", "not for us"]
ADMISSION_TRIES = 12
RELEASE_TRIES = 8
HAND_OVER_TRIES = 3


class Admission:
    """One worker's place at one conversation.

    took: the lease was found held, or there was no document: its owner died, or hangs. False for an orderly hand-over.
    mail: the inbox as last seen, my own message in it.
    """

    def __init__(
        self,
        conversations: Conversations,
        *,
        me: str,
        task: Task,
        envelope: Envelope,
        attempt: Attempt,
        bot_turns: int,
        clock: Clock,
    ) -> None:
        self._conversations, self._clock = conversations, clock
        self._me, self._task, self._envelope, self._attempt, self._bot_turns = me, task, envelope, attempt, bot_turns
        self._token: str | None = None
        self._document = Document()
        self.took = False

    @property
    def holds_lease(self) -> bool:
        """As far as I know."""
        return self._token is not None

    @property
    def mail(self) -> Mapping[str, Envelope]:
        return {**self._document.inbox, self._envelope.key: self._document.inbox.get(self._envelope.key, self._envelope)}

    @property
    def document(self) -> Document:
        return self._document

    # ---- coming in

    async def enter(self, book: Book) -> Verdict:
        """Ask for the conversation; with "mine" the lease is held and `book` is read, beside each other. Raises `HandOver`."""
        self._token = None
        for n in range(ADMISSION_TRIES):
            try:
                seen = await self._conversations.read(self._task.conversation)
                verdict = await self._judge(seen, book)
            except Ambiguous:
                await self._clock.sleep(min(0.5 * (n + 1), 2.0))
            except Conflict:
                continue  # the next read says whether it was mine
            else:
                return verdict
        msg = "the conversation's document cannot be read or written"
        raise HandOver(msg)

    async def _judge(self, seen: Seen | None, book: Book) -> Verdict:
        document = seen.document if seen else Document()
        if self._envelope.key in document.answered:
            return "answered"
        asks = self._envelope.addressed == "thread" or self._envelope.from_bot
        if asks and (verdict := await self._concerns_us(document, book)):
            return verdict
        if seen and not seen.may_be_taken(me=self._me, task=self._task, attempt=self._attempt):
            await self._drop_mail(seen)
            return "busy"
        await self._take(seen, book, loaded=asks)
        return "mine"

    async def _concerns_us(self, document: Document, book: Book) -> Verdict | None:
        """What only the transcript knows: is the agent part of this thread, do bots talk among themselves? None: go on."""
        await book.load()
        turns = book.transcript.turns
        if self._envelope.addressed == "thread" and not turns and not book.stands_in:
            return "busy" if document.lease else "not for us"  # a first turn may be about to open
        lately = turns[-self._bot_turns :] if self._bot_turns else ()
        if self._envelope.from_bot and len(lately) == self._bot_turns and all(t.only_bots for t in lately):
            return "not for us"
        return None

    async def _drop_mail(self, seen: Seen) -> None:
        """Tell the holder of this message. Only a hint: the baton is what keeps it alive (R1)."""
        document = seen.document.with_mail(self._envelope)
        if document != seen.document and not document.inbox_is_full:
            await self._conversations.write(self._task.conversation, document, token=seen.token)

    async def _take(self, seen: Seen | None, book: Book, *, loaded: bool) -> None:
        document = seen.document if seen else Document()
        holder = document.lease.owner if document.lease else None
        if holder != self._me:
            self.took = seen is None or holder not in (None, self._task.after)
        lease = Lease(owner=self._me, task=self._attempt.name, retry=self._attempt.retry)
        mine = replace(document.with_mail(self._envelope), lease=lease)
        write = self._conversations.write(self._task.conversation, mine, token=seen.token if seen else None)
        token, *read = await asyncio.gather(write, *([] if loaded else [book.load()]), return_exceptions=True)
        for outcome in (token, *read):
            if isinstance(outcome, BaseException):
                raise outcome
        self._token, self._document = str(token), mine

    # ---- staying

    async def heartbeat(self) -> None:
        """Keep the lease alive until cancelled. A heartbeat without an answer does not fence: correctness needs no lease."""
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            if self._token is None:
                continue
            with suppress(Conflict, Ambiguous):
                await self._beat()
                continue
            with suppress(Conflict, Ambiguous):
                if await self._refresh():
                    await self._beat()

    async def _beat(self) -> None:
        await self._write(replace(self._document, lease=self._document.lease and replace(self._document.lease, at=None)))

    async def _refresh(self) -> bool:
        """After a conflict or an ambiguous answer: whether the lease is still mine. Whoever takes the token takes the mail."""
        seen = await self._conversations.read(self._task.conversation)
        if seen and seen.document.lease and seen.document.lease.owner == self._me:
            self._token, self._document = seen.token, seen.document
            return True
        self._token = None
        return False

    async def _write(self, document: Document) -> None:
        self._token = await self._conversations.write(self._task.conversation, document, token=self._token)
        self._document = document

    # ---- going

    async def release(self, transcript: Transcript) -> bool:
        """Everything in `transcript` is delivered: answered keys in, lease away. False: there is mail to read first.

        The write's precondition failing is what tells of mail that came since, so none can be missed.
        """
        known, last = set(transcript.keys), transcript.last
        for _ in range(RELEASE_TRIES):
            inbox = self._document.inbox
            if inbox.keys() - known or (last and last.with_files(inbox) is not last):
                return False
            if self._token is None or not last:
                return True
            if await self._let_go(self._document.released(transcript.keys, last.mark)):
                return True
        return True  # the lease will run out by itself, and what we were asked is done

    async def give_up(self) -> None:
        """A hand-over: only the lease away, so that the successor need not wait."""
        for _ in range(HAND_OVER_TRIES):
            if self._token is None or await self._let_go(replace(self._document, lease=None)):
                return

    async def _let_go(self, document: Document) -> bool:
        with suppress(Conflict, Ambiguous):
            await self._write(document)
            self._token = None
            return True
        with suppress(Conflict, Ambiguous):
            await self._refresh()
        return False
