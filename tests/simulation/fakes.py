"""The ports of the simulated world: in memory, and every call an RPC that may fail on plan."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spool.blobs import Blob
from spool.conversation import Document, Seen
from spool.decision import Reserved
from spool.envelope import ConversationKey, Envelope
from spool.errors import Conflict, Missing, Refused
from spool.ports import Said
from spool.task import Task
from spool.transcript import Summary, Transcript

if TYPE_CHECKING:
    from world import Instance

PROGRESS = "… using"
REASON = "is_archived"


class Sim:
    def __init__(self, instance: "Instance") -> None:
        self.instance, self.world = instance, instance.world


class SimClock(Sim):
    def now(self) -> float:
        return self.world.now

    async def sleep(self, seconds: float) -> None:
        await self.world.wait(self.instance, seconds)


class SimTasks(Sim):
    async def create(self, task: Task, *, delay: float = 0.0) -> None:
        await self.world.rpc(self.instance, "tasks.create", lambda: self.world.create(task, delay), 0.03)


class SimTranscripts(Sim):
    async def load(self, path: str, *, key: ConversationKey) -> tuple[Transcript, int]:
        data, generation = await self.world.rpc(self.instance, "gcs.get", lambda: self.world.objects.get(path, (b"", 0)), 0.04)
        return (Transcript.load(data), generation) if generation else (Transcript.empty(key), 0)

    async def commit(self, path: str, transcript: Transcript, *, generation: int) -> int:
        data = transcript.dump()
        return await self.world.rpc(self.instance, "gcs.put", lambda: self._put(path, data, generation), 0.06)

    def _put(self, path: str, data: bytes, generation: int) -> int:
        if self.world.objects.get(path, (b"", 0))[1] != generation:
            raise Conflict(path)
        new = next(self.world.counter)
        self.world.objects[path] = (data, new)
        return new

    async def list(self, *, prefix: str = "threads/", after: str = "", limit: int = 1000) -> Sequence[tuple[str, Summary]]:
        raise NotImplementedError

    async def read(self, path: str) -> bytes | None:
        data, generation = await self.world.rpc(self.instance, "gcs.get", lambda: self.world.objects.get(path, (b"", 0)), 0.04)
        return data if generation else None

    async def keep(self, data: bytes, *, media_type: str) -> str:
        path = Blob(data=data, media_type=media_type).path
        return await self.world.rpc(self.instance, "gcs.put", lambda: self._keep(path, data), 0.06)

    def _keep(self, path: str, data: bytes) -> str:
        self.world.objects.setdefault(path, (data, next(self.world.counter)))
        return path


class SimConversations(Sim):
    """One document; `at` is the server's time of the lease's last write."""

    async def read(self, key: ConversationKey) -> Seen | None:
        return await self.world.rpc(self.instance, "fs.get", lambda: self._read(key))

    def _read(self, key: ConversationKey) -> Seen | None:
        value = self.world.document
        if value is None:
            return None
        document = Document.from_json(json.loads(json.dumps(value)), conversation=key)
        return Seen(document=document, token=str(value["version"]), read_at=self.world.now)

    async def write(self, key: ConversationKey, document: Document, *, token: str | None) -> str:
        del key
        return await self.world.rpc(self.instance, "fs.write", lambda: self._write(document.to_json(), token))

    def _write(self, value: dict[str, Any], token: str | None) -> str:
        world = self.world
        current = None if world.document is None else str(world.document["version"])
        if current != token:
            raise Conflict(str(token))
        if world.document:
            world.old_documents.append(json.dumps(world.document))
        world.version += 1
        world.document = {**json.loads(json.dumps(value)), "version": world.version}
        if value["lease"] and value["lease"]["at"] is None:
            world.document["lease"]["at"] = world.now
        return str(world.version)

    async def expired(self, *, seconds: float, limit: int) -> Sequence[tuple[ConversationKey, Document]]:
        return await self.world.rpc(self.instance, "fs.query", lambda: self._expired(seconds)[:limit])

    def _expired(self, seconds: float) -> list[tuple[ConversationKey, Document]]:
        key = self.world.conversation
        seen = self._read(key)
        return [(key, seen.document)] if seen and seen.ran_out(seconds) else []


class SimChat(Sim):
    def parts(self, reply: str) -> tuple[str, ...]:
        return tuple(reply.split("\f"))

    async def reserve(self, key: ConversationKey, *, tag: str, epoch: int, part: int) -> str:
        del key
        return await self.world.rpc(self.instance, "slack.post", lambda: self._post(tag, epoch, part), 0.2)

    def _post(self, tag: str, epoch: int, part: int) -> str:
        world = self.world
        if world.script.refuse is not None and world.now >= world.script.refuse:
            raise Refused(REASON, reason=REASON)
        ts = f"{next(world.counter):016d}"
        world.slack[ts] = world.placeholder(ts=ts, tag=tag, epoch=epoch, part=part)
        return ts

    async def fill(self, key: ConversationKey, ts: str, text: str, *, plain: bool = False) -> None:
        del key, plain
        await self.world.rpc(self.instance, "slack.update", lambda: self._update(ts, text), 0.15)

    def _update(self, ts: str, text: str) -> None:
        shown = self.world.slack.get(ts)
        if shown is None or shown.deleted:
            raise Missing(ts)
        final = not text.startswith(PROGRESS)
        if shown.final and (not final or shown.text != text):
            self.world.complain("a visible answer was overwritten")
        shown.text, shown.final = text, final
        self.world.changed()

    async def delete(self, key: ConversationKey, ts: str) -> None:
        del key
        await self.world.rpc(self.instance, "slack.delete", lambda: self._delete(ts), 0.15)

    def _delete(self, ts: str) -> None:
        shown = self.world.slack.get(ts)
        if shown and not shown.deleted:
            if shown.final:
                self.world.complain("a visible answer was deleted")
            shown.deleted = True

    async def find(self, key: ConversationKey, *, tag: str) -> Sequence[Reserved]:
        del key
        return await self.world.rpc(self.instance, "slack.find", lambda: self._find(tag), 0.15)

    def _find(self, tag: str) -> list[Reserved]:
        found = [m for m in self.world.slack.values() if m.tag == tag and not m.deleted]
        return [Reserved(ts=m.ts, tag=m.tag, epoch=m.epoch, part=m.part) for m in found]

    async def thread(self, key: ConversationKey, *, limit: int = 200) -> Sequence[Said]:
        raise NotImplementedError

    async def whole(self, envelope: Envelope) -> Envelope:
        return replace(envelope, cut=False)
