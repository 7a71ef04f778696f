"""Transcripts and blobs in a bucket of Cloud Storage: `spool.ports.Transcripts`.

The generation is the object's own. Every commit carries a writer of its own in the metadata: after a 412, or an answer that got
lost, one look at the metadata tells whether what is stored is ours. The summary is metadata too, so a list reads no object.
https://docs.cloud.google.com/storage/docs/request-preconditions
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote, unquote

from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed, TooManyRequests, Unauthorized
from google.auth.exceptions import GoogleAuthError

from spool.envelope import ConversationKey
from spool.errors import Ambiguous, Conflict
from spool.google.bucket import CALL, TIMEOUT, Bucket, Upload
from spool.transcript import Summary, Transcript

T = TypeVar("T")
_NOT_DONE = (TooManyRequests, Forbidden, Unauthorized, NotFound, GoogleAuthError)
_READABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_LENGTH = 100
"""Characters of a value of the metadata; those of an object may have 8 KiB in all."""

_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}(; ?[\w-]{1,20}=[\w.-]{1,40})?", re.ASCII)


class GoogleTranscripts:
    """Objects of one bucket. emulator: the storage emulator's URL. timeout: seconds to connect, and until the next bytes."""

    def __init__(self, *, project: str, bucket: str, emulator: str = "", timeout: tuple[float, float] = TIMEOUT) -> None:
        self._bucket = Bucket(project=project, name=bucket, emulator=emulator, timeout=timeout)

    async def load(self, path: str, *, key: ConversationKey) -> tuple[Transcript, int]:
        found = await self._ask(lambda: self._bucket.download(path))
        if found is None:
            return Transcript.empty(key), 0
        data, generation = found
        return Transcript.load(data), generation

    async def commit(self, path: str, transcript: Transcript, *, generation: int) -> int:
        writer = uuid.uuid4().hex  # noqa: TID251 - names nothing outside this commit
        upload = Upload(
            data=transcript.dump(),
            media_type="application/json",
            generation=generation,
            metadata={**_metadata(transcript.summary), "writer": writer},
        )
        try:
            return await self._bucket.run(lambda: self._bucket.upload(path, upload))
        except _NOT_DONE as e:
            raise self._bucket.meaning(e) from e
        except CALL as e:
            try:
                mine = await self._ask(lambda: self._bucket.written_by(path, writer))
            except Ambiguous:  # `Throttled` too, which would say of the commit what is true of the look alone
                raise self._bucket.meaning(e) from e
            if mine:
                return mine
            if isinstance(e, PreconditionFailed):
                msg = f"{path} is no longer at generation {generation}: reload it and decide again"
                raise Conflict(msg) from e
            raise self._bucket.meaning(e) from e

    async def list(self, *, prefix: str = "threads/", after: str = "", limit: int = 1000) -> Sequence[tuple[str, Summary]]:
        found = await self._ask(lambda: self._bucket.names(prefix=prefix, after=after, limit=limit))
        return [(path, _summary(metadata)) for path, metadata in found]

    async def read(self, path: str) -> bytes | None:
        found = await self._ask(lambda: self._bucket.download(path))
        return found[0] if found else None

    async def keep(self, data: bytes, *, media_type: str) -> str:
        path = f"blobs/{hashlib.sha256(data).hexdigest()}"
        kind = media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream"
        upload = Upload(data=data, media_type=kind, generation=0, metadata={})
        try:
            await self._bucket.run(lambda: self._bucket.upload(path, upload))
        except PreconditionFailed:
            return path  # it is there already
        except CALL as e:
            raise self._bucket.meaning(e) from e
        return path

    def close(self) -> None:
        self._bucket.close()

    async def _ask(self, request: Callable[[], T]) -> T:
        try:
            return await self._bucket.run(request)
        except CALL as e:
            raise self._bucket.meaning(e) from e


def _metadata(summary: Summary) -> dict[str, str]:
    """ASCII only: these values travel as headers too."""
    words = {"title": summary.title, "turns": str(summary.turns), "last_ts": summary.last_ts, "last_user": summary.last_user}
    return {name: quote(word[:_LENGTH], safe=_READABLE, errors="replace") for name, word in words.items()}


def _summary(metadata: Mapping[str, str]) -> Summary:
    """Of an object that somebody else put there, too."""
    words = {name: unquote(metadata.get(name, "")) for name in ("title", "turns", "last_ts", "last_user")}
    turns = words["turns"]
    return Summary(
        title=words["title"],
        turns=int(turns) if turns.isascii() and turns.isdigit() else 0,
        last_ts=words["last_ts"],
        last_user=words["last_user"],
    )
