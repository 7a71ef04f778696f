"""The queue behind a driven Spool, seen from outside: what waits in it, and how a delay passes without waiting."""

import base64
import contextlib
import json
import sqlite3
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from emulated import Place


class WaitingTasks(Protocol):
    def waiting(self, kind: str) -> int:
        """How many tasks of a kind are in the queue, those in flight too; all of them where it is empty."""
        ...

    def hurry(self, kind: str) -> None:
        """Make the tasks of a kind that were not tried yet due now, as if the time of their delay had passed."""
        ...


class LocalQueue:
    """queue.db, with a hand in it."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "queue.db"

    def waiting(self, kind: str) -> int:
        with contextlib.closing(sqlite3.connect(self._file)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'tasks'").fetchall():
                return 0  # nobody has looked into the queue yet
            return db.execute("SELECT count(*) FROM tasks WHERE instr(CAST(body AS TEXT), ?)", (_mark(kind),)).fetchone()[0]

    def hurry(self, kind: str) -> None:
        with contextlib.closing(sqlite3.connect(self._file, timeout=10)) as db:
            db.execute("UPDATE tasks SET due = 0 WHERE attempts = 0 AND instr(CAST(body AS TEXT), ?)", (_mark(kind),))
            db.commit()


class EmulatedQueue:
    """Cloud Tasks' own API, as JSON."""

    def __init__(self, place: Place) -> None:
        self._root = f"http://{place.emulators.tasks}/v2"
        self._queue = f"projects/{place.project}/locations/{place.location}/queues/{place.queue}"

    def waiting(self, kind: str) -> int:
        return len(self._tasks(kind))

    def names(self, kind: str) -> set[str]:
        """Of the tasks of a kind, as the worker is told them."""
        return {task["name"].rpartition("/")[2] for task in self._tasks(kind)}

    def hurry(self, kind: str) -> None:
        self._run([task for task in self._later(kind) if not task.get("dispatchCount")])

    def hurry_again(self, kind: str, *, limit: int) -> None:
        """The same for at most `limit` tasks that wait to be tried again: the often tried first, who wait longest."""
        tried = [task for task in self._later(kind) if task.get("dispatchCount")]
        self._run(sorted(tried, key=lambda task: -task["dispatchCount"])[:limit])

    def _later(self, kind: str) -> list[dict[str, Any]]:
        soon = datetime.now(UTC) + timedelta(seconds=1)  # what is due by then goes by itself
        return [task for task in self._tasks(kind) if datetime.fromisoformat(task["scheduleTime"]) > soon]

    def _run(self, tasks: list[dict[str, Any]]) -> None:
        for task in tasks:
            with contextlib.suppress(urllib.error.HTTPError):  # it has gone meanwhile
                self._call(f"{task['name']}:run", b"{}")

    def _tasks(self, kind: str) -> list[dict[str, Any]]:
        tasks, page = list[dict[str, Any]](), ""
        while True:
            answer = self._call(f"{self._queue}/tasks?responseView=FULL&pageSize=1000&pageToken={page}")
            tasks += answer.get("tasks", [])
            page = answer.get("nextPageToken", "")
            if not page:
                return [t for t in tasks if _mark(kind).encode() in base64.b64decode(t["httpRequest"].get("body", ""))]

    def _call(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        request = urllib.request.Request(f"{self._root}/{path}", data=body, headers={"Content-Type": "application/json"})  # noqa: S310 - the emulator
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return json.load(response)


def _mark(kind: str) -> str:
    """What stands in a task of that kind; in any, where it is empty."""
    return f'"kind":"{kind}"' if kind else ""
