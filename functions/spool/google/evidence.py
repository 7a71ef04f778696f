"""What Google Cloud shows to people who ask why: `spool.evidence.Evidence`.

    tasks      Cloud Tasks, tasks.list with bodies      https://docs.cloud.google.com/tasks/docs/reference/rest
    versions   Cloud Storage, objects.list?versions     https://docs.cloud.google.com/storage/docs/json_api/v1/objects/list
    logs       Cloud Logging, entries.list              https://docs.cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list

It reads as whoever is logged in. What that person may not see is said, with the permission that is missing.
"""

import asyncio
import base64
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from spool.envelope import ConversationKey
from spool.errors import BadInput, Missing, Refused
from spool.evidence import Line, Queued, Version
from spool.google.rest import Apis, Rest
from spool.task import Task

LOGGING = "https://logging.googleapis.com"
PAGES = 10
"""Of at most a thousand tasks each. A queue that holds more is in trouble of its own."""

LINES = 100
EARLIER = 60.0
"""Seconds before a message's own time from which on the log is read."""

_STATUS = re.compile(r"\b([1-5][0-9]{2})\b")
Json = Mapping[str, Any]


class GoogleEvidence:
    """location, queue: may be empty; then the queue is not looked into. Emulators: as in Settings; they keep no log."""

    def __init__(
        self,
        *,
        project: str,
        location: str,
        queue: str,
        bucket: str,
        tasks_emulator: str = "",
        storage_emulator: str = "",
        logging: str = LOGGING,
    ) -> None:
        apis = Apis()
        self._project, self._bucket, self._emulated = project, bucket, bool(tasks_emulator)
        self._queue = f"projects/{project}/locations/{location}/queues/{queue}" if location and queue else ""
        self._tasks = f"http://{tasks_emulator}" if tasks_emulator else apis.tasks
        self._storage = storage_emulator or apis.storage
        self._logging = "" if tasks_emulator and logging == LOGGING else logging
        self._rest = Rest(project=project, anonymous=self._emulated)

    async def tasks(self, channel: str, *, name: str = "") -> tuple[Sequence[Queued], str]:
        if not self._queue:
            return [], "set SPOOL_LOCATION and SPOOL_QUEUE to look into it"
        try:
            found, note = await asyncio.to_thread(self._listed)
        except Refused as e:  # a list without bodies may be allowed, but tells no message from another
            if e.reason != "denied":
                raise
            one = [await asyncio.to_thread(self._one, name)] if name else []
            return [q for q in one if q], "which task carries what may not be read (cloudtasks.tasks.list, .fullView)"
        mine = [q for q in found if q.name == name or (q.task and q.task.conversation.channel == channel)]
        return sorted(mine, key=lambda q: q.due), note

    async def versions(self, path: str) -> tuple[Sequence[Version], str]:
        url = f"{self._storage}/storage/v1/b/{quote(self._bucket, safe='')}/o"
        fields = "items(name,generation,updated,size,timeDeleted),nextPageToken"
        page = await asyncio.to_thread(lambda: self._rest.get(url, prefix=path, versions="true", fields=fields))
        found = [_version(item) for item in page.get("items", []) if item.get("name") == path]
        note = "the bucket holds more of them than were read" if page.get("nextPageToken") else ""
        return sorted(found, key=lambda v: v.generation), note

    async def logs(
        self, message: str, conversation: ConversationKey | None, *, until: float = math.inf
    ) -> tuple[Sequence[Line], str]:
        if not self._logging:
            return [], "the emulators keep none: it is in the output of the functions"
        asked = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": _filter(message, conversation, until),
            "orderBy": "timestamp desc",
            "pageSize": LINES,
        }
        page = await asyncio.to_thread(lambda: self._rest.ask(f"{self._logging}/v2/entries:list", asked))
        return [_line(entry) for entry in reversed(page.get("entries", []))], ""

    def _listed(self) -> tuple[list[Queued], str]:
        found, token = list[Queued](), ""
        for _ in range(PAGES):
            query = {"responseView": "FULL", "pageSize": "1000", **({"pageToken": token} if token else {})}
            page = self._rest.get(f"{self._tasks}/v2/{self._queue}/tasks", **query)
            found += [_queued(task) for task in page.get("tasks", [])]
            token = str(page.get("nextPageToken") or "")
            if not token:
                return found, ""
        return found, f"it holds more than the {len(found)} tasks that were read"

    def _one(self, name: str) -> Queued | None:
        with suppress(Missing, Refused):
            return _queued(self._rest.get(f"{self._tasks}/v2/{self._queue}/tasks/{quote(name, safe='')}"))
        return None


def _queued(task: Json) -> Queued:
    last: Json = task.get("lastAttempt") or {}
    status: Json = last.get("responseStatus") or {}
    request: Json = task.get("httpRequest") or {}
    code = _STATUS.search(str(status.get("message", "")))
    return Queued(
        name=str(task.get("name", "")).rpartition("/")[2],
        task=_task(str(request.get("body") or "")),
        due=_seconds(task.get("scheduleTime")),
        attempts=int(task.get("dispatchCount") or 0),
        previous=int(code[1]) if code else None,
    )


def _task(body: str) -> Task | None:
    try:
        return Task.decode(base64.b64decode(body))
    except (BadInput, ValueError):
        return None


def _version(item: Json) -> Version:
    return Version(
        generation=int(item.get("generation", 0)),
        updated=_seconds(item.get("updated")),
        size=int(item.get("size", 0)),
        live="timeDeleted" not in item,
    )


def _line(entry: Json) -> Line:
    payload: Json = entry.get("jsonPayload") or {"message": entry.get("textPayload", "")}
    return Line(
        at=_seconds(entry.get("timestamp")),
        severity=str(entry.get("severity", "DEFAULT")),
        text=str(payload.get("message", "")),
        conversation=str(payload.get("conversation", "")),
    )


def _filter(message: str, conversation: ConversationKey | None, until: float) -> str:
    """Without a time of its own it would cover the last day only."""
    ts = message.rpartition(":")[2].partition("@")[0] or (conversation.thread_ts if conversation else "0")
    when = f'timestamp>="{_time(float(ts) - EARLIER)}"' + (f' AND timestamp<="{_time(until)}"' if until < math.inf else "")
    about = [f'jsonPayload.key="{message}"'] if message else []
    about += [f'jsonPayload.conversation="{conversation}"'] if conversation else []
    return f'resource.type="cloud_run_revision" AND {when} AND ({" OR ".join(about)})'


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _seconds(timestamp: str | None) -> float:
    """RFC 3339, with as many digits as Google likes; 0 where there is none."""
    found = re.fullmatch(r"([0-9T:-]+)(\.[0-9]+)?(?:Z|\+00:00)", timestamp or "")
    return datetime.fromisoformat(found[1] + "+00:00").timestamp() + float(found[2] or 0) if found else 0.0
