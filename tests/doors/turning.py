"""The real turn in this process: stores on disk, Slack on the wire, an agent of the test's own; time passes where it waits."""

import asyncio
import contextlib
import inspect
import itertools
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from spool.agents import Loaded
from spool.console.server import serve
from spool.console.workspace import Workspace
from spool.conversation import HEARTBEAT_SECONDS, Document
from spool.envelope import ConversationKey, Envelope
from spool.errors import Ambiguous
from spool.local.conversations import LocalConversations
from spool.local.queue import Queue
from spool.local.tasks import LocalTasks
from spool.local.transcripts import LocalTranscripts
from spool.policy import Policy
from spool.slack.chat import SlackChat
from spool.task import Attempt, Task
from spool.transcript import Transcript
from spool.turn.take import take
from spool.turn.work import Ports

CHANNEL, ADA, GRACE = "C0GENERAL", "U0ADA", "U0GRACE"


class TestClock:
    """Time that passes only where somebody waits; heartbeats come when the test says so."""

    __test__ = False

    def __init__(self) -> None:
        self.time = time.time()  # noqa: TID251 - where it begins
        self.heartbeat = asyncio.Event()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if seconds == HEARTBEAT_SECONDS:
            await self.heartbeat.wait()
            self.heartbeat.clear()
            return
        self.time += seconds
        await asyncio.sleep(0)


class Counted:
    """A port that remembers which of its methods were called, and fails where the test says so.

    before: by method, what happens before the call is made.
    """

    def __init__(self, name: str, port: Any, rpcs: list[str]) -> None:
        self._name, self._port, self._rpcs = name, port, rpcs
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._port, method)
        if not inspect.iscoroutinefunction(call):
            return call

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self._rpcs.append(f"{self._name}.{method}")
            if method in self.before:
                await self.before[method]()
            return await call(*args, **kwargs)

        return counted


class Desk:
    """One worker's ports, the conversation in Slack, and the queue between attempts."""

    def __init__(self, folder: Path, workspace: Workspace, chat: SlackChat, clock: TestClock) -> None:
        self.folder, self.workspace, self.clock = folder, workspace, clock
        self.rpcs: list[str] = []
        self.local = LocalTranscripts(folder, now=clock.now)
        self.documents = LocalConversations(folder, now=clock.now)
        self.queue = Queue(folder)
        self.tasks = Counted("tasks", LocalTasks(folder, now=clock.now), self.rpcs)
        self.transcripts = Counted("transcripts", self.local, self.rpcs)
        self.conversations = Counted("conversations", self.documents, self.rpcs)
        self.chat = chat
        self.policy = Policy()
        self.names = itertools.count()

    # ---- what people do

    async def says(self, text: str = "hello", *, user: str = ADA, thread: Task | None = None, **fields: Any) -> Task:
        """Somebody says something, in a thread or as the root of a new one: its task, as the ingress makes it."""
        root = thread.conversation.thread_ts if thread else None
        channel = thread.conversation.channel if thread else CHANNEL
        ts = await self.workspace.say(channel, user, text, thread_ts=root)
        key = ConversationKey(team=self.workspace.installation.team, channel=channel, thread_ts=root or ts)
        given: dict[str, Any] = {"text": text, "addressed": "mention", **fields}
        return Task.of(Envelope(conversation=key, ts=ts, user=user, **given), first_seen=self.clock.now())

    def shown(self, task: Task) -> list[str]:
        """The agent's messages in a thread, in order, placeholders too."""
        said = self.workspace.messages(task.conversation.channel, task.conversation.thread_ts)
        return [str(m["text"]) for m in said if m.get("bot_id") == self.workspace.installation.bot]

    # ---- what the queue does

    async def take(self, task: Task, agent: Loaded | Callable[[], Loaded], *, name: str = "", retry: int = 0) -> None:
        """One attempt."""
        attempt = Attempt(name=name or f"k{next(self.names)}", retry=retry)
        await take(Task.decode(task.encode()), attempt, ports=self.ports(agent))

    def ports(self, agent: Loaded | Callable[[], Loaded]) -> Ports:
        return Ports(
            tasks=cast("LocalTasks", self.tasks),
            transcripts=cast("LocalTranscripts", self.transcripts),
            conversations=cast("LocalConversations", self.conversations),
            chat=self.chat,
            clock=self.clock,
            ids=lambda: f"owner-{next(self.names)}",
            agent=agent if callable(agent) else lambda: agent,
            policy=self.policy,
        )

    def queued(self, kind: str = "msg") -> list[tuple[Task, float]]:
        """The tasks that wait, and for how many seconds each still does."""
        found = self.queue.claim(now=self.clock.now() + 1e6, limit=1000, running=())
        tasks = [(Task.decode(d.body), d.due - self.clock.now()) for d in found]
        return [(t, round(after, 3)) for t, after in tasks if t.kind == kind]

    def next_task(self) -> Task:
        """The only message that waits in the queue, taken out of it; the clock moves to when it is due."""
        (found,) = [
            d for d in self.queue.claim(now=self.clock.now() + 1e6, limit=1000, running=()) if b'"kind":"msg"' in d.body
        ]
        self.queue.ack(found.name)
        self.clock.time = max(self.clock.time, found.due)
        return Task.decode(found.body)

    # ---- what is stored

    async def transcript(self, task: Task) -> Transcript:
        return (await self.local.load(task.conversation.path, key=task.conversation))[0]

    async def document(self, task: Task) -> Document | None:
        seen = await self.documents.read(task.conversation)
        return seen.document if seen else None

    def plant(self, path: str, data: bytes) -> None:
        """Put bytes where an object is, whatever they are."""
        with contextlib.closing(sqlite3.connect(self.folder / "transcripts.db")) as db:
            db.execute(
                "INSERT OR REPLACE INTO transcripts (path, metadata, updated, data) VALUES (?, '{}', 0, ?)", (path, data)
            )
            db.commit()

    def remove(self, path: str) -> None:
        """Somebody deletes an object."""
        with contextlib.closing(sqlite3.connect(self.folder / "transcripts.db")) as db:
            assert db.execute("DELETE FROM transcripts WHERE path = ?", (path,)).rowcount == 1
            db.commit()

    def object_names(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.folder / "transcripts.db")) as db:
            return [path for (path,) in db.execute("SELECT path FROM transcripts ORDER BY path")]

    # ---- what it cost

    def begin_count(self) -> None:
        self.rpcs.clear()
        self.workspace.calls.clear()

    def count(self) -> Counter[str]:
        """The calls since `begin_count` by name: of Slack those that came in on the wire."""
        return Counter([*self.rpcs, *(c.method for c in self.workspace.calls)])


@contextlib.asynccontextmanager
async def at_desk(folder: Path) -> AsyncGenerator[Desk]:
    clock = TestClock()
    workspace = Workspace(folder / "slack", now=clock.now)
    async with serve(workspace) as port:
        chat = SlackChat(token=workspace.installation.token, api_url=f"http://127.0.0.1:{port}/api/", timeout=5)
        desk = Desk(folder, workspace, chat, clock)
        await desk.local.load("threads/none", key=ConversationKey(team="T1", channel="C1", thread_ts="1700000000.000000"))
        yield desk
        await chat.close()
        for store in (desk.local, desk.documents, desk.queue):
            store.close()
        cast("LocalTasks", desk.tasks).close()


def failing(times: int = 1_000_000, error: BaseException | None = None) -> Callable[[], Awaitable[None]]:
    """What to put in `Counted.before`: the next `times` calls fail, ambiguously where nothing else is said."""
    left = itertools.count(times, -1)

    async def fail() -> None:
        if next(left) > 0:
            raise error or Ambiguous("planted")

    return fail


async def reserved(_: int = 0) -> None:
    """Wait until Slack has answered the reservation of the first part, whatever it said."""
    await until(lambda: not any(getattr(t.get_coro(), "__name__", "") == "_reserve_first" for t in asyncio.all_tasks()))


async def until(condition: Callable[[], bool], *, within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in the product's code
            await asyncio.sleep(0.001)


def with_envelope(task: Task, **changes: Any) -> Task:
    """The same task with another envelope."""
    assert task.envelope
    return replace(task, envelope=replace(task.envelope, **changes))
