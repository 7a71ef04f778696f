"""What the workspace knows, in one SQLite file that one process owns: killing that process loses nothing of it."""

import json
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["channel", "user"]
Outcome = Literal["pending", "acked", "lost"]

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS things (kind TEXT, id TEXT, value TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    channel TEXT, ts TEXT, thread_ts TEXT NOT NULL, deleted INTEGER NOT NULL DEFAULT 0, value TEXT NOT NULL,
    PRIMARY KEY (channel, ts)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS threads ON messages (channel, thread_ts, ts);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL, reason TEXT NOT NULL DEFAULT '', outcome TEXT NOT NULL DEFAULT 'pending'
);
CREATE INDEX IF NOT EXISTS outcomes ON deliveries (outcome, id);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way: made `attempts` times, next at `due` (epoch seconds); `reason`: why the last one failed."""

    id: int
    event: Json
    attempts: int
    due: float
    reason: str
    outcome: Outcome

    @property
    def event_id(self) -> str:
        return f"Ev{self.id:09d}"


class State:
    """Channels, users, messages and deliveries; a message is Slack's own JSON object."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All of it or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def put(self, kind: Kind, value: Mapping[str, Any], *, replace: bool = True) -> None:
        if replace or self.get(kind, value["id"]) is None:
            self._db.execute("INSERT OR REPLACE INTO things VALUES (?, ?, ?)", (kind, value["id"], json.dumps(value)))

    def get(self, kind: Kind, name: str) -> Json | None:
        row = self._db.execute("SELECT value FROM things WHERE kind = ? AND id = ?", (kind, name)).fetchone()
        return json.loads(row[0]) if row else None

    def all(self, kind: Kind) -> list[Json]:
        return [json.loads(v) for (v,) in self._db.execute("SELECT value FROM things WHERE kind = ? ORDER BY id", (kind,))]

    def last_ts(self) -> str:
        return self._db.execute("SELECT max(ts) FROM messages").fetchone()[0] or ""

    def write(self, channel: str, message: Json) -> None:
        row = (channel, message["ts"], message.get("thread_ts", message["ts"]), json.dumps(message))
        self._db.execute("INSERT OR REPLACE INTO messages (channel, ts, thread_ts, value) VALUES (?, ?, ?, ?)", row)

    def hide(self, channel: str, ts: str) -> None:
        self._db.execute("UPDATE messages SET deleted = 1 WHERE channel = ? AND ts = ?", (channel, ts))

    def message(self, channel: str, ts: str) -> Json | None:
        """A message that is still there."""
        sql = "SELECT value FROM messages WHERE channel = ? AND ts = ? AND NOT deleted"
        row = self._db.execute(sql, (channel, ts)).fetchone()
        return json.loads(row[0]) if row else None

    def was_deleted(self, channel: str, ts: str) -> bool:
        sql = "SELECT 1 FROM messages WHERE channel = ? AND ts = ? AND deleted"
        return self._db.execute(sql, (channel, ts)).fetchone() is not None

    def messages(self, channel: str, thread_ts: str | None = None) -> list[Json]:
        """What is still there of a channel, or of one thread of it, in order."""
        where, values = ("AND thread_ts = ?", [thread_ts]) if thread_ts else ("", [])
        sql = f"SELECT value FROM messages WHERE channel = ? {where} AND NOT deleted ORDER BY ts"  # noqa: S608 - no input in it
        return [json.loads(v) for (v,) in self._db.execute(sql, (channel, *values))]

    def remember(self, event: Json, *, due: float) -> int:
        """An event to be delivered; its number."""
        done = self._db.execute("INSERT INTO deliveries (body, due) VALUES (?, ?)", (json.dumps(event), due))
        return done.lastrowid or 0

    def failed(self, delivery: int, *, reason: str, due: float) -> None:
        sql = "UPDATE deliveries SET attempts = attempts + 1, reason = ?, due = ? WHERE id = ?"
        self._db.execute(sql, (reason, due, delivery))

    def settle(self, delivery: int, outcome: Outcome) -> None:
        self._db.execute("UPDATE deliveries SET outcome = ?, attempts = attempts + 1 WHERE id = ?", (outcome, delivery))

    def deliveries(self, outcome: Outcome | None = None) -> list[Delivery]:
        where, values = ("WHERE outcome = ?", [outcome]) if outcome else ("", [])
        sql = f"SELECT id, body, attempts, due, reason, outcome FROM deliveries {where} ORDER BY id"  # noqa: S608 - no input in it
        return [
            Delivery(id=n, event=json.loads(body), attempts=attempts, due=due, reason=reason, outcome=out)
            for n, body, attempts, due, reason, out in self._db.execute(sql, values)
        ]
