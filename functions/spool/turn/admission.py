"""Who works on a conversation: the lease, the inbox, and how both are given back.

Everything here is a hint that saves time and money. A lease may be granted to two workers, a document may be lost or
restored from a backup: the transcript's generations and epochs still let exactly one of them win. So where the document does
not answer, a message goes on without a lease; but what another has begun is left to it until the document answers again, or
two live workers could take the turn from each other for ever.
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
from spool.turn.patience import Patience
from spool.turn.signals import HandOver

Verdict = Literal["mine", "busy", "answered", "not for us"]
DOCUMENT_SECONDS = 5.0
"""How long an admission, a hand-over and each call of a release wait for a document that does not answer."""

RELEASE_SECONDS = 20.0
"""How long a release does: the answer is visible, only the queue waits."""

ADMISSION_TRIES = 12
RELEASE_TRIES = 40
HAND_OVER_TRIES = 3


class Admission:
    """One worker's place at one conversation.

    took: the lease was found held, or there was no document: its owner died, or hangs. False for an orderly hand-over.
    mail: the inbox as last seen, my own message in it.
    without_lease: the document did not answer, so I was admitted, or sent away, by the transcript alone.
    trouble: why it did not, in the words of the last try.
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
        self.took = self.without_lease = False
        self.trouble = ""

    @property
    def lease_is_lost(self) -> bool:
        """It was mine, and is another's. Not so where nobody answers: that fences nobody."""
        return self._token is None and not self.without_lease

    @property
    def mail(self) -> Mapping[str, Envelope]:
        return {**self._document.inbox, self._envelope.key: self._document.inbox.get(self._envelope.key, self._envelope)}

    @property
    def document(self) -> Document:
        return self._document

    # ---- coming in

    async def enter(self, book: Book) -> Verdict:
        """Ask for the conversation; "mine": `book` is read, and the lease is held unless `without_lease`. Raises `HandOver`."""
        self._token, self.without_lease = None, False
        patience = Patience(DOCUMENT_SECONDS, each=DOCUMENT_SECONDS)
        for n in range(ADMISSION_TRIES):
            try:
                seen = await patience.answer(self._conversations.read(self._task.conversation))
                return await self._judge(seen, book, patience)
            except Ambiguous as e:
                self.trouble = str(e)
                await patience.rest(0.5 * (n + 1), clock=self._clock)
            except Conflict:
                continue  # the next read says whether it was mine
            if not patience.left:
                return await self._judge_alone(book)
        msg = "others write the conversation's document all the time"
        raise HandOver(msg)

    async def _judge(self, seen: Seen | None, book: Book, patience: Patience) -> Verdict:
        document = seen.document if seen else Document()
        if self._envelope.key in document.answered:
            return "answered"
        if self._asks and (verdict := await self._concerns_us(book, first_turn_may_open=document.lease is not None)):
            return verdict
        if seen and not seen.may_be_taken(me=self._me, task=self._task, attempt=self._attempt):
            await self._drop_mail(seen, patience)
            return "busy"
        await self._take(seen, book, patience)
        return "mine"

    async def _judge_alone(self, book: Book) -> Verdict:
        """Without the document: nobody's open turn is taken over, what waits there and what was delivered is not known."""
        self._document, self.took, self.without_lease = Document(), False, True
        if not self._asks:
            await book.load()
        elif verdict := await self._concerns_us(book, first_turn_may_open=True):
            return verdict
        last = book.transcript.last
        return "busy" if last and last.state == "open" and last.owner != self._me else "mine"

    @property
    def _asks(self) -> bool:
        """Whether only the transcript can say that the message is for us."""
        return self._envelope.addressed == "thread" or self._envelope.from_bot

    async def _concerns_us(self, book: Book, *, first_turn_may_open: bool) -> Verdict | None:
        """What only the transcript knows: is the agent part of this thread, do bots talk among themselves? None: go on."""
        await book.load()
        turns = book.transcript.turns
        if self._envelope.key in book.transcript.keys:
            return None  # a turn holds it already
        if self._envelope.addressed == "thread" and not turns and not book.stands_in:
            return "busy" if first_turn_may_open else "not for us"
        lately = turns[-self._bot_turns :] if self._bot_turns else ()
        if self._envelope.from_bot and len(lately) == self._bot_turns and all(t.only_bots for t in lately):
            return "not for us"
        return None

    async def _drop_mail(self, seen: Seen, patience: Patience) -> None:
        """Tell the holder of this message. Only a hint: the baton is what keeps it alive (R1)."""
        document = seen.document.with_mail(self._envelope)
        if document != seen.document and not document.inbox_is_full:
            with suppress(Ambiguous):
                await patience.answer(self._conversations.write(self._task.conversation, document, token=seen.token))

    async def _take(self, seen: Seen | None, book: Book, patience: Patience) -> None:
        """The lease, and beside it the transcript, where it is not read yet."""
        document = seen.document if seen else Document()
        holder = document.lease.owner if document.lease else None
        if holder != self._me:
            self.took = seen is None or holder not in (None, self._task.after)
        acquire, load = patience.answer(self._acquire(seen)), [] if self._asks else [book.load()]
        for outcome in await asyncio.gather(acquire, *load, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _acquire(self, seen: Seen | None) -> None:
        document = seen.document if seen else Document()
        lease = Lease(owner=self._me, task=self._attempt.name, retry=self._attempt.retry)
        mine = replace(document.with_mail(self._envelope), lease=lease)
        await self._write(mine, token=seen.token if seen else None)

    # ---- staying

    async def heartbeat(self) -> None:
        """Keep the lease alive until cancelled. A heartbeat without an answer does not fence: correctness needs no lease."""
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            if self._token is None:
                with suppress(Conflict, Ambiguous):
                    await self._come_in_late()
                continue
            with suppress(Conflict, Ambiguous):
                await self._beat()
                continue
            with suppress(Conflict, Ambiguous):
                if await self._refresh():
                    await self._beat()

    async def _beat(self) -> None:
        renewed = self._document.lease and replace(self._document.lease, at=None)
        await self._write(replace(self._document, lease=renewed), token=self._token)

    async def _refresh(self) -> bool:
        """After a conflict or an ambiguous answer: whether the lease is still mine. Whoever takes the token takes the mail."""
        seen = await self._conversations.read(self._task.conversation)
        if seen and seen.document.lease and seen.document.lease.owner == self._me:
            self._token, self._document = seen.token, seen.document
            return True
        self._token = None
        return False

    async def _come_in_late(self) -> None:
        """The document answers again: a lease that is free keeps others from a turn that is at work without one."""
        if not self.without_lease:
            return
        seen = await self._conversations.read(self._task.conversation)
        if seen and self._envelope.key in seen.document.answered:
            return  # another has shown it meanwhile, and nothing waits
        if seen is None or seen.may_be_taken(me=self._me, task=self._task, attempt=self._attempt):
            await self._acquire(seen)
            self.without_lease = False

    async def _write(self, document: Document, *, token: str | None) -> None:
        self._token = await self._conversations.write(self._task.conversation, document, token=token)
        self._document = document

    # ---- going

    async def release(self, transcript: Transcript) -> bool:
        """Everything in `transcript` is delivered: answered keys in, lease away. False: there is mail to read first.

        The write's precondition failing is what tells of mail that came since, so none can be missed.
        """
        known, last = set(transcript.keys), transcript.last
        patience = Patience(RELEASE_SECONDS, each=DOCUMENT_SECONDS)
        with suppress(Conflict, Ambiguous):
            await patience.answer(self._come_in_late())  # a lease may be there by a write of mine that nobody answered
        for _ in range(RELEASE_TRIES):
            inbox = self._document.inbox
            if inbox.keys() - known or (last and last.with_files(inbox) is not last):
                return False
            if self._token is None or not last or not patience.left:
                return True
            if await self._let_go(self._document.released(transcript.keys, last.mark), patience):
                return True
        return True  # the lease will run out by itself, and what we were asked is done

    async def give_up(self) -> None:
        """A hand-over: only the lease away, so that the successor need not wait."""
        patience = Patience(DOCUMENT_SECONDS, each=DOCUMENT_SECONDS)
        for _ in range(HAND_OVER_TRIES):
            if self._token is None or await self._let_go(replace(self._document, lease=None), patience):
                return

    async def _let_go(self, document: Document, patience: Patience) -> bool:
        try:
            await patience.answer(self._write(document, token=self._token))
        except Conflict:
            pass
        except Ambiguous:
            await patience.rest(0.5, clock=self._clock)
        else:
            self._token = None
            return True
        with suppress(Conflict, Ambiguous):
            await patience.answer(self._refresh())
        return False
