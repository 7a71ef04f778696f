"""One SQLite file, safe for several processes that start, write and die at any instant.

    queue.db           FULL     an acked message must outlive a power cut; the dispatcher's own notes are NORMAL
    transcripts.db     FULL     the only truth
    conversations.db   NORMAL   a hint: a power cut may take its last writes, which costs a read and never an answer

A killed process loses nothing at either level; FULL adds one sync to disk per commit (0.1-4 ms), for the machine that dies. One
file per kind, so that an ack never waits for somebody's transcript, and so that a person may delete the hints alone.

Every change is a single statement, so each is a transaction of its own: a deferred BEGIN that reads before it writes
would fail with "database is locked" after anybody else's commit. Calls take well under a millisecond (a large transcript a
few), less than handing them to a thread, so async methods make them directly.
"""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Literal

from spool.errors import Ambiguous
from spool.local.lock import Lock

TIMEOUT = 2.0
"""Seconds to wait for another process's write before giving up."""

_PAUSE = 0.005

Synchronous = Literal["FULL", "NORMAL"]


class Database:
    """The file at `path` with the tables of `schema` (statements that may be run again), made where it is missing.

    Opened at the first use of each process, never earlier: functions-framework forks after the import, and a connection
    must not cross a fork. Every method raises `Ambiguous` for a lock held too long, a full disk, a broken file.
    """

    def __init__(self, path: Path, *, schema: str, synchronous: Synchronous, timeout: float = TIMEOUT) -> None:
        self._path = path
        self._schema = schema
        self._synchronous = synchronous
        self._timeout = timeout
        self._pid = 0
        self._connection: sqlite3.Connection | None = None
        self._inherited: list[sqlite3.Connection] = []

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement and commit it; its rows."""
        try:
            return self._mine().execute(statement, values).fetchall()
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.DatabaseError, OSError) as e:
            msg = f"{self._path}: {e}; the file must be a SQLite database on a local disk with room, writable by this user"
            raise Ambiguous(msg) from e

    def close(self) -> None:
        """Give the file up; the next use opens it again."""
        if self._connection and self._pid == os.getpid():
            self._connection.close()
            self._connection = None

    def _mine(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():
            if self._connection:
                self._inherited.append(self._connection)  # the parent's: closing it here could harm the parent
            self._connection, self._pid = self._open(), os.getpid()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        """One process at a time: while a file turns to WAL, others fail at once, whatever their timeout."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(self._path.with_suffix(".lock"))
        self._wait_for(lock)
        try:
            return self._prepared()
        finally:
            lock.give()

    def _wait_for(self, lock: Lock) -> None:
        for _ in range(int(self._timeout / _PAUSE)):
            if lock.take():
                return
            time.sleep(_PAUSE)
        msg = f"{self._path}: another process has been opening it for {self._timeout} seconds"
        raise Ambiguous(msg)

    def _prepared(self) -> sqlite3.Connection:
        # isolation_level=None: no BEGIN behind our back. Threads: a test client may call each request from another one.
        connection = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.executescript(self._schema)
        except sqlite3.Error:
            connection.close()
            raise
        return connection
