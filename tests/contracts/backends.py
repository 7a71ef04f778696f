"""What the contract tests need of a backend beside its ports: clients, time, and a hand in the store."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hands import Admin, Worker

from emulated import Place
from spool.envelope import ConversationKey, Envelope
from spool.google.conversations import GoogleConversations
from spool.google.tasks import GoogleTasks
from spool.google.transcripts import GoogleTranscripts
from spool.local.conversations import LocalConversations
from spool.local.queue import Queue
from spool.local.tasks import LocalTasks
from spool.local.transcripts import LocalTranscripts
from spool.ports import Conversations, Tasks, Transcripts
from spool.task import Task

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds that a slow machine may take for what takes milliseconds."""

START = 1_715_000_000.0


class Backend(Protocol):
    """One empty store. Every call of tasks, transcripts or conversations is another client, as another process has one."""

    def tasks(self) -> Tasks: ...
    def transcripts(self) -> Transcripts: ...
    def conversations(self) -> Conversations: ...

    moment: float
    """Seconds long enough to tell before from after, and short enough to wait for where nobody moves the clock."""

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

    async def spoil(self, key: ConversationKey) -> None:
        """Make a document one that nobody can read."""
        ...

    def close(self) -> None: ...


class Local:
    """SQLite in a directory of its own; time passes only when told to."""

    moment = 20.0

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

    async def spoil(self, key: ConversationKey) -> None:
        self._change("conversations.db", """UPDATE conversations SET document = '{"lease":' WHERE id = ?""", key.id)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _change(self, file: str, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self._state_dir / file, isolation_level=None)) as connection:
            assert connection.execute(statement, values).rowcount == 1


class Google:
    """Google's clients on the emulators, in a project of its own; time passes by itself, so tests wait for it."""

    moment = 2.0

    def __init__(self, place: Place) -> None:
        self.place, self.worker = place, Worker()
        self._buckets: list[GoogleTranscripts] = []
        self.admin = Admin(place)
        self.admin.hurry()

    def tasks(self, *, through: str = "", timeout: float = PATIENCE, worker: str = "") -> GoogleTasks:
        """through, worker: what stands before the emulator, and before the worker."""
        at = self.place
        return GoogleTasks(
            project=at.project,
            location=at.location,
            queue=at.queue,
            worker_url=worker or self.worker.url,
            audience="spool-worker",
            service_account=f"spool-tasks@{at.project}.iam.gserviceaccount.com",
            emulator=through or at.emulators.tasks,
            timeout=timeout,
        )

    def transcripts(self, *, through: str = "", timeout: float = PATIENCE) -> GoogleTranscripts:
        at = self.place
        emulator = through or at.emulators.storage
        client = GoogleTranscripts(project=at.project, bucket=at.bucket, emulator=emulator, timeout=(timeout, timeout))
        self._buckets.append(client)
        return client

    def conversations(self, *, through: str = "", timeout: float = PATIENCE) -> GoogleConversations:
        at = self.place
        emulator = through or at.emulators.firestore
        return GoogleConversations(project=at.project, database="(default)", emulator=emulator, timeout=timeout)

    def now(self) -> float:
        return time.time()  # noqa: TID251 - the emulators' clock is this machine's

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def delivered(self) -> list[Task]:
        """Whatever the queue has dispatched, or should have by now, as it comes again: the worker acks nothing."""
        due, seen = self.admin.due(), len(self.worker.deliveries)
        again = await asyncio.to_thread(self.worker.wait_for, due, after=seen, timeout=PATIENCE)
        return [Task.decode(again[name]) for name in due]

    async def overwrite(self, path: str, data: bytes) -> None:
        self.admin.overwrite(path, data)

    async def remove(self, path: str) -> None:
        self.admin.remove(path)

    async def forget(self, key: ConversationKey) -> None:
        self.admin.forget(key)

    async def spoil(self, key: ConversationKey) -> None:
        self.admin.spoil(key, {"lease": {"stringValue": "?"}, "inbox": {"integerValue": "1"}})

    def close(self) -> None:
        for client in self._buckets:
            client.close()
        self.admin.remove_queue()
        self.admin.close()
        self.worker.close()


def in_threads(*jobs: Callable[[], Coroutine[Any, Any, T]]) -> list[T]:
    """Run the jobs at once, each in a thread and an event loop of its own; their results in order."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [f.result() for f in [pool.submit(asyncio.run, job()) for job in jobs]]


def envelope(text: str = "hello", *, n: int = 0, thread: int = 0) -> Envelope:
    """Message `n` of thread `thread`."""
    key = ConversationKey(team="T1", channel="C1", thread_ts=f"17150000{thread:02}.000100")
    return Envelope(conversation=key, ts=f"1715000100.{n:06}", user="U1", text=text, addressed="mention")
