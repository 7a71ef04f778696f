"""Where commands choose adapters: what settings.backend names, opened for one command and closed after it.

Each part is imported by itself: a list of threads must not wait for Firestore's client.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

from spool.cli import behind, dev
from spool.envelope import ConversationKey
from spool.errors import BadInput
from spool.settings import STORES, Settings

if TYPE_CHECKING:  # the model library behind them takes a second
    from spool.evidence import Evidence
    from spool.ports import Conversations, Transcripts
    from spool.transcript import Summary

PAGE = 1000


def read_settings() -> Settings:
    """The settings of a command that reads what is kept: where a `spool dev` runs here, what that uses.

    Raises `Misconfigured`.
    """
    settings = Settings.read(google=STORES)
    running = None if settings.google else dev.found(settings)
    return behind.settings_of(running.emulated) if running else settings


def place(settings: Settings) -> str:
    """Where everything is, for people."""
    return f"gs://{settings.google.bucket}" if settings.google else str(settings.state_dir)


@contextlib.asynccontextmanager
async def transcripts(settings: Settings) -> "AsyncGenerator[Transcripts]":
    """The transcripts of `settings.backend`."""
    if google := settings.google:
        from spool.google.transcripts import GoogleTranscripts

        bucket = GoogleTranscripts(project=google.project, bucket=google.bucket, emulator=google.storage_emulator)
        with contextlib.closing(bucket):
            yield bucket
    else:
        from spool.local.transcripts import LocalTranscripts

        with contextlib.closing(LocalTranscripts(settings.state_dir)) as store:
            yield store


@contextlib.asynccontextmanager
async def conversations(settings: Settings) -> "AsyncGenerator[Conversations]":
    """The documents of `settings.backend`."""
    if google := settings.google:
        from spool.google.conversations import GoogleConversations

        documents = GoogleConversations(project=google.project, database=google.database, emulator=google.firestore_emulator)
        try:
            yield documents
        finally:
            await documents.close()
    else:
        from spool.local.conversations import LocalConversations

        with contextlib.closing(LocalConversations(settings.state_dir)) as store:
            yield store


def evidence(settings: Settings) -> "Evidence":
    """What else `settings.backend` can show to people who ask why. It keeps nothing open."""
    if google := settings.google:
        from spool.google.evidence import GoogleEvidence

        return GoogleEvidence(
            project=google.project,
            location=google.location,
            queue=google.queue,
            bucket=google.bucket,
            tasks_emulator=google.tasks_emulator,
            storage_emulator=google.storage_emulator,
        )
    from spool.local.evidence import LocalEvidence

    return LocalEvidence(settings.state_dir)


def conversation(text: str) -> ConversationKey:
    """The key that a person means: as `threads list` prints it, or as the object's path. Raises `BadInput`."""
    return ConversationKey.parse(text.strip().removeprefix("threads/").removesuffix(".json"))


async def listed(
    store: "Transcripts", *, prefix: str = "threads/", after: str = ""
) -> "AsyncIterator[tuple[ConversationKey, Summary]]":
    """Every thread and its summary, ordered by path; what somebody else put among them is passed over."""
    while page := await store.list(prefix=prefix, after=after, limit=PAGE):
        for path, summary in page:
            with contextlib.suppress(BadInput):
                if (key := conversation(path)).path == path:
                    yield key, summary
        after = page[-1][0]
