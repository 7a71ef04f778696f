"""The transcript in hand, and the only way to change it (R2)."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import TypeVar

from pydantic_ai.messages import ModelMessage

from spool import blobs
from spool.envelope import ConversationKey
from spool.errors import Ambiguous, Conflict, Throttled, TooNew, Unreadable
from spool.ports import Clock, Transcripts
from spool.transcript import Transcript
from spool.turn.patience import pause, persist
from spool.turn.signals import HandOver, Reenter

log = logging.getLogger(__name__)
TOO_NEW_DELAY = 120.0
COMMIT_TRIES = 4
M = TypeVar("M", bound=ModelMessage)


class Book:
    """What the transcript says, and the generation at which it says so.

    Corrupt bytes are never overwritten. An object under `dead/` stands in for them: a transcript of its own, to which all
    the rules apply, so that each message gets one apology and nothing is lost.
    """

    def __init__(self, transcripts: Transcripts, *, key: ConversationKey, clock: Clock) -> None:
        self._transcripts, self._key, self._clock = transcripts, key, clock
        self._path = key.path
        self.transcript = Transcript.empty(key)
        self.generation = 0
        self._contents: dict[str, bytes | None] = {}

    @property
    def stands_in(self) -> bool:
        """Whether it is not the conversation's transcript but what stands in for one that nobody can read."""
        return self._path != self._key.path

    async def load(self) -> None:
        """Read it anew. Raises `HandOver`."""
        try:
            await self._load()
        except Unreadable as e:
            self._path = self._key.dead("unreadable")
            text = "%s: %s; its bytes are kept, an apology stands in at %s"
            log.error(text, self._key, e, self._path, extra={"event": "unreadable"})  # noqa: TRY400
            await self._load()

    async def _load(self) -> None:
        try:
            self.transcript, self.generation = await persist(
                lambda: self._transcripts.load(self._path, key=self._key), clock=self._clock
            )
        except TooNew as e:
            log.error("%s: %s", self._key, e, extra={"event": "too_new"})  # noqa: TRY400 - the sentence says it all
            raise HandOver(str(e), delay=TOO_NEW_DELAY) from e

    async def commit(self, transcript: Transcript) -> None:
        """Replace it by `transcript`. Raises `Reenter` when another writer was first, or nobody can say whether I was."""
        for n in range(COMMIT_TRIES):
            try:
                self.generation = await self._transcripts.commit(self._path, transcript, generation=self.generation)
            except Throttled as e:  # turned away before it had any effect
                await self._clock.sleep(pause(e, n))
            except (Conflict, Ambiguous) as e:
                fields = {"event": "conflict", "error": type(e).__name__, "generation": self.generation}
                log.info("%s: the commit did not hold: %s", self._key, e, extra=fields)
                raise Reenter(str(e)) from e
            else:
                self.transcript = transcript
                return
        msg = "the store takes no more writes for now"
        raise Reenter(msg)

    async def lift(self, message: M) -> M:
        """The message as the transcript takes it: what is large is stored beside it first. Raises `HandOver`."""
        light, found = blobs.lifted(message)
        for blob in found:
            if self._contents.get(blob.path) is None:  # not read yet, or no longer stored
                await persist(lambda b=blob: self._transcripts.keep(b.data, media_type=b.media_type), clock=self._clock)
                self._contents[blob.path] = blob.data
        return light

    async def whole(self, messages: Sequence[ModelMessage]) -> list[ModelMessage]:
        """The messages with everything that lies beside the transcript. Raises `HandOver`."""
        await self._fetch(blobs.references(messages))
        await self._fetch(blobs.nested(self._contents))
        return blobs.whole(messages, self._contents)

    async def _fetch(self, paths: Collection[str]) -> None:
        missing = [p for p in paths if p not in self._contents]
        read = [persist(lambda p=p: self._transcripts.read(p), clock=self._clock) for p in missing]
        self._contents.update(zip(missing, await asyncio.gather(*read), strict=True))

    async def bury(self, name: str, transcript: Transcript) -> None:
        """Keep what could not be answered, for a person to read. Written once; a copy that is there already will do."""
        try:
            await self._transcripts.commit(self._key.dead(name), transcript, generation=0)
        except (Conflict, Ambiguous) as e:
            log.warning("%s: dead/ record of %s not written: %s", self._key, name, e)
