"""Everything that can be read of one message: which conversation it is in, then all that is kept of that.

    link ──► teams, tasks, logs ──► which conversation? ──► transcript, document, generations, dead/ ──► Found

A permalink names no team, and often no thread: the store's own prefixes tell the teams; tasks and logs, then the objects of
the channel tell the thread. What cannot be read becomes a note: the rest is still worth knowing.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from spool.cli import backend
from spool.cli.why.found import Found, Role
from spool.conversation import Seen
from spool.envelope import ConversationKey
from spool.errors import BadInput, SpoolError, TooNew, Unreadable
from spool.evidence import Evidence, Line, Queued
from spool.ports import Conversations, Transcripts
from spool.slack.permalink import Link
from spool.transcript import Summary, Transcript

TEAMS, RECORDS = 50, 20
SCANNED = 200
"""Threads of a channel that are read in search of one message; those nearest to it in time come first."""

AFTERWARDS = 60.0
"""Seconds after a turn's end until which the log is about it."""

T = TypeVar("T")
Place = tuple[ConversationKey | None, Role]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One search of a store; `notes` gathers what could not be seen."""

    transcripts: Transcripts
    conversations: Conversations
    evidence: Evidence
    place: str
    notes: list[str] = field(default_factory=list[str])

    async def of(self, link: Link, *, asked: str, now: float) -> Found:
        """What is known of what `link` points at. Only an unreachable bucket is an error; anything else is a note."""
        logs = await self._logs(link.key, None) if link.ts else ()
        tasks, whole = await self._tasks(link.channel, "")
        key, role = await self._conversation(link, tasks, logs)
        found = Found(asked=asked, link=link, place=self.place, now=now, key=key, role=role, tasks_whole=whole, logs=logs)
        found = await self._all_of(found, key, tasks) if key else found
        return replace(found, notes=tuple(self.notes))

    async def _all_of(self, found: Found, key: ConversationKey, tasks: Sequence[Queued]) -> Found:
        """The document first: a turn that ends in between is then at work and done, and never open with nobody at work."""
        seen, document_read = await self._seen(key)
        (transcript, unreadable, too_new), dead = await asyncio.gather(self._transcript(key), self._dead(key))
        versions, note = await self._or_note("the generations", self.evidence.versions(key.path), ([], ""))
        lease = seen.document.lease if seen else None
        if lease and lease.task and lease.task not in [q.name for q in tasks]:
            tasks = [*tasks, *(await self._tasks(key.channel, lease.task))[0]]
        mine = {q.name: q for q in tasks if (q.task and q.task.conversation == key) or (lease and q.name == lease.task)}
        self._note("Generations", note if versions else "")
        found = replace(
            found,
            now=seen.read_at if seen else found.now,
            transcript=transcript or dead.get(key.dead("unreadable")),
            unreadable=unreadable,
            too_new=too_new,
            seen=seen,
            document_read=document_read,
            tasks=tuple(mine.values()),
            versions=versions,
            dead=dead,
        )
        ended = found.turn.finished_at if found.turn else None
        until = ended + AFTERWARDS if ended else math.inf
        return replace(found, logs=await self._logs(found.message, key, until=until) or found.logs)

    # ---- which conversation

    async def _conversation(self, link: Link, tasks: Sequence[Queued], logs: Sequence[Line]) -> Place:
        """Where the message is, by the surest sign: what names both, a transcript that holds it, any trace of the thread."""
        if not link.ts:
            return ConversationKey(team=link.team, channel=link.channel, thread_ts=link.thread_ts), "conversation"
        if key := _named(link, tasks, logs):
            return key, "message"
        teams = await self._teams(link)
        roots = [ConversationKey(team=team, channel=link.channel, thread_ts=link.thread_ts or link.ts) for team in teams]
        async for key in self._candidates(link, teams, roots):
            if role := await self._holds(key, link.ts):
                return key, role
        for key in roots:
            if await self.transcripts.read(key.path) is not None or (await self._seen(key))[0]:
                return key, "message"
        return (roots[0] if link.thread_ts and len(roots) == 1 else None), "message"

    async def _candidates(self, link: Link, teams: list[str], roots: list[ConversationKey]) -> AsyncIterator[ConversationKey]:
        """The thread that the link names, or that the message may root; without the first, the channel's others."""
        for key in roots:
            yield key
        if not link.thread_ts:
            for team in teams:
                async for key in self._threads(team, link):
                    yield key

    async def _teams(self, link: Link) -> list[str]:
        """The teams of this store, the one that the link names first. One look for each: what lies between is skipped."""
        teams = [link.team] if link.team else []
        for prefix in ("threads/", "dead/"):
            after = ""
            while page := await self.transcripts.list(prefix=prefix, after=after, limit=1):
                team = page[0][0].split("/")[1]
                teams += [team] if _is_team(team) else []
                after = f"{prefix}{team}0"  # the character behind "/"
                if len(teams) > TEAMS:
                    self._note("Teams", f"only {TEAMS} were looked at")
                    break
        return list(dict.fromkeys(teams))

    async def _holds(self, key: ConversationKey, ts: str) -> Role | None:
        """Whether a message of this ts was said to the agent there, or is its answer."""
        transcript = (await self._transcript(key))[0]
        if transcript is None:
            return None
        if f"{key.channel}:{ts}" in transcript.keys:
            return "message"
        return "answer" if any(ts in (turn.slots or ()) for turn in transcript.turns) else None

    async def _threads(self, team: str, link: Link) -> AsyncIterator[ConversationKey]:
        """The channel's threads that may hold the message: begun before it, the nearest last words first."""
        listed = backend.listed(self.transcripts, prefix=f"threads/{team}/{link.channel}/")
        found = [(key, _last(key, summary)) async for key, summary in listed if key.thread_ts <= link.ts]
        found.sort(key=lambda entry: abs(entry[1] - float(link.ts)))
        if len(found) > SCANNED:
            self._note("Search", f"{SCANNED} of {len(found)} threads were read: give the link that is copied in the thread")
        for key, _ in found[:SCANNED]:
            yield key

    # ---- what is kept of it

    async def _transcript(self, key: ConversationKey) -> tuple[Transcript | None, str, str]:
        """The transcript, or why it cannot be read: its bytes are no transcript, or are of a later version."""
        try:
            transcript, generation = await self.transcripts.load(key.path, key=key)
        except Unreadable as e:
            return None, str(e), ""
        except TooNew as e:
            return None, "", str(e)
        return (transcript if generation else None), "", ""

    async def _dead(self, key: ConversationKey) -> dict[str, Transcript | None]:
        """The records of what could not be answered; None for one that cannot be read."""
        records: dict[str, Transcript | None] = {}
        for path, _ in await self.transcripts.list(prefix=f"dead/{key}/", limit=RECORDS):
            records[path] = None
            with suppress(Unreadable, TooNew):
                records[path] = (await self.transcripts.load(path, key=key))[0]
        return records

    async def _seen(self, key: ConversationKey) -> tuple[Seen | None, bool]:
        """And whether it could be read."""

        async def read() -> tuple[Seen | None, bool]:
            return await self.conversations.read(key), True

        return await self._or_note("the conversation's document", read(), (None, False))

    async def _tasks(self, channel: str, name: str) -> tuple[Sequence[Queued], bool]:
        """And whether they were all."""
        read = await self._or_note("the queue", self.evidence.tasks(channel, name=name), None)
        self._note("Queue", read[1] if read else "")
        return (read[0], not read[1]) if read else ((), False)

    async def _logs(self, message: str, key: ConversationKey | None, *, until: float = math.inf) -> Sequence[Line]:
        lines, note = await self._or_note("the log", self.evidence.logs(message, key, until=until), ([], ""))
        self._note("Log", note)
        return lines

    async def _or_note(self, what: str, read: Coroutine[Any, Any, T], otherwise: T) -> T:
        try:
            return await read
        except SpoolError as e:
            self._note("Not read", f"{what}: {e}")
            return otherwise

    def _note(self, what: str, note: str) -> None:
        if note and (line := f"{what}: {note}") not in self.notes:
            self.notes.append(line)


def _named(link: Link, tasks: Sequence[Queued], logs: Sequence[Line]) -> ConversationKey | None:
    """The conversation that a task or a line of the log names beside the message."""
    for queued in tasks:
        if queued.task and queued.task.envelope and queued.task.envelope.key == link.key:
            return queued.task.conversation
    for line in logs:
        with suppress(BadInput):
            return ConversationKey.parse(line.conversation)
    return None


def _is_team(name: str) -> bool:
    """Somebody else may have put other things there."""
    try:
        ConversationKey(team=name, channel="C0", thread_ts="0000000000.000000")
    except BadInput:
        return False
    return True


def _last(key: ConversationKey, summary: Summary) -> float:
    """When somebody spoke there last; what somebody else put into the bucket may say anything."""
    with suppress(ValueError):
        return float(summary.last_ts)
    return float(key.thread_ts)
