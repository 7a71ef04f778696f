"""Where commands choose adapters: what settings.backend names, opened for one command and closed after it.

Each part is imported by itself: a list of threads must not wait for Firestore's client.
"""

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from spool.settings import STORES, Settings

if TYPE_CHECKING:  # the model library behind them takes a second
    from spool.evidence import Evidence
    from spool.ports import Conversations, Transcripts


def read_settings() -> Settings:
    """The settings of a command that reads what is kept. Raises `Misconfigured`."""
    return Settings.read(google=STORES)


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
