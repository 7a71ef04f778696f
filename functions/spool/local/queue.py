"""The queue's side of the store: what is due, what was tried, when it is tried again.

    tasks   name, body       what the worker gets
            due              not before then
            attempts         dispatches so far, counted before the request leaves: whoever is killed in between, the next
                             attempt has a higher retry count, and the worker knows that the one before is over
            executions       responses so far, other than 5xx (as Cloud Tasks counts)
            previous         status of the last response

What is in flight stands only in the dispatcher's memory. When that dies, its tasks are due as before: at once.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from spool.local.database import TIMEOUT, Database, Synchronous

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    name TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(8)))),
    due REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    executions INTEGER NOT NULL DEFAULT 0,
    previous INTEGER,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS tasks_by_due ON tasks (due);
"""

_ADD = "INSERT INTO tasks (due, body) VALUES (?, ?) RETURNING name"
_CLAIM = """
UPDATE tasks SET attempts = attempts + 1 WHERE name IN (
    SELECT name FROM tasks WHERE due <= ? AND name NOT IN (SELECT value FROM json_each(?)) ORDER BY due LIMIT ?
) RETURNING due, name, body, attempts, executions, previous
"""
_NEXT = "SELECT due FROM tasks WHERE name NOT IN (SELECT value FROM json_each(?)) ORDER BY due LIMIT 1"
_RETRY = "UPDATE tasks SET due = ?, previous = ?, executions = executions + ? WHERE name = ?"

SERVER_ERRORS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long a failed task waits, in seconds: doubling, then growing evenly, never above `maximum`.

    A worker on this machine is back within a second, so the first waits are short.
    """

    minimum: float = 0.1
    maximum: float = 60.0
    doublings: int = 16

    def after(self, attempts: int) -> float:
        """The wait after this many attempts, as Cloud Tasks computes it: 10, 20, 40, 80, 160, 240, 300, 300 (10, 300, 3)."""
        doubled = self.minimum * 2 ** min(attempts - 1, self.doublings)
        return min(doubled * max(1, attempts - self.doublings), self.maximum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """A task on its way to the worker. retry: attempts before this one. previous: status of the last response."""

    name: str
    body: bytes
    due: float
    retry: int
    executions: int
    previous: int | None


class Queue:
    """The tasks of one machine. Any process may add; only the dispatcher does the rest.

    synchronous: FULL for who adds. NORMAL is enough for the rest: what a power cut takes back is delivered once more.
    """

    def __init__(self, state_dir: Path, *, synchronous: Synchronous = "FULL", timeout: float = TIMEOUT) -> None:
        self._database = Database(state_dir / "queue.db", schema=_SCHEMA, synchronous=synchronous, timeout=timeout)
        self._version = -1

    def add(self, body: bytes, *, due: float) -> str:
        """Store a task; its name, never given before."""
        return self._database.execute(_ADD, due, body)[0][0]

    def claim(self, *, now: float, limit: int, running: Collection[str]) -> list[Dispatch]:
        """At most `limit` tasks that are due and not among `running`, longest due first; this attempt is counted."""
        rows = self._database.execute(_CLAIM, now, json.dumps(list(running)), limit)
        return [
            Dispatch(name=name, body=body, due=due, retry=attempts - 1, executions=executions, previous=previous)
            for due, name, body, attempts, executions, previous in sorted(rows)
        ]

    def ack(self, name: str) -> None:
        """The task is done."""
        self._database.execute("DELETE FROM tasks WHERE name = ?", name)

    def retry(self, name: str, *, due: float, status: int) -> None:
        """The attempt failed with `status`: again at `due`."""
        self._database.execute(_RETRY, due, status, status < SERVER_ERRORS, name)

    def next_due(self, *, running: Collection[str]) -> float | None:
        """When the next task is due that is not among `running`; None without one."""
        rows = self._database.execute(_NEXT, json.dumps(list(running)))
        return rows[0][0] if rows else None

    def changed(self) -> bool:
        """Whether another connection wrote since the last question (3 µs: one look at shared memory, no file is read)."""
        before, self._version = self._version, self._database.execute("PRAGMA data_version")[0][0]
        return before != self._version

    def close(self) -> None:
        self._database.close()
