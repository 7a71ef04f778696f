"""What the contract tests need of a backend beside its ports: clients, time, and a hand in the store."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

from spool.envelope import ConversationKey, Envelope
from spool.local.conversations import LocalConversations
from spool.local.queue import Queue
from spool.local.tasks import LocalTasks
from spool.local.transcripts import LocalTranscripts
from spool.ports import Conversations, Tasks, Transcripts
from spool.task import Task

T = TypeVar("T")
START = 1_715_000_000.0


class Backend(Protocol):
    """One empty store. Every call of tasks, transcripts or conversations is another client, as another process has one."""

    def tasks(self) -> Tasks: ...
    def transcripts(self) -> Transcripts: ...
    def conversations(self) -> Conversations: ...

    def now(self) -> float:
        """The server's clock, near enough."""
        ...

    async def pass_time(self, seconds: float) -> None: ...

    async def delivered(self) -> list[Task]:
        """What the queue delivers by now; nothing is acked."""
        ...

    async def overwrite(self, path: str, data: bytes) -> None:
        """Other bytes in an object, its metadata as they were."""
        ...

    async def remove(self, path: str) -> None: ...

    async def forget(self, key: ConversationKey) -> None:
        """Lose a conversation's document."""
        ...

    def close(self) -> None: ...


class Local:
    """SQLite in a directory of its own; time passes only when told to."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._now = START
        self._clients: list[LocalTasks | LocalTranscripts | LocalConversations] = []

    def tasks(self) -> Tasks:
        self._clients.append(client := LocalTasks(self._state_dir, now=self.now))
        return client

    def transcripts(self) -> Transcripts:
        self._clients.append(client := LocalTranscripts(self._state_dir, now=self.now))
        return client

    def conversations(self) -> Conversations:
        self._clients.append(client := LocalConversations(self._state_dir, now=self.now))
        return client

    def now(self) -> float:
        return self._now

    async def pass_time(self, seconds: float) -> None:
        self._now += seconds

    async def delivered(self) -> list[Task]:
        with closing(Queue(self._state_dir)) as queue:
            return [Task.decode(d.body) for d in queue.claim(now=self._now, limit=1000, running=())]

    async def overwrite(self, path: str, data: bytes) -> None:
        self._change("transcripts.db", "UPDATE transcripts SET data = ? WHERE path = ?", data, path)

    async def remove(self, path: str) -> None:
        self._change("transcripts.db", "DELETE FROM transcripts WHERE path = ?", path)

    async def forget(self, key: ConversationKey) -> None:
        self._change("conversations.db", "DELETE FROM conversations WHERE id = ?", key.id)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _change(self, file: str, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self._state_dir / file, isolation_level=None)) as connection:
            assert connection.execute(statement, values).rowcount == 1


def in_threads(*jobs: Callable[[], Coroutine[Any, Any, T]]) -> list[T]:
    """Run the jobs at once, each in a thread and an event loop of its own; their results in order."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [f.result() for f in [pool.submit(asyncio.run, job()) for job in jobs]]


def envelope(text: str = "hello", *, n: int = 0, thread: int = 0) -> Envelope:
    """Message `n` of thread `thread`."""
    key = ConversationKey(team="T1", channel="C1", thread_ts=f"17150000{thread:02}.000100")
    return Envelope(conversation=key, ts=f"1715000100.{n:06}", user="U1", text=text, addressed="mention")
