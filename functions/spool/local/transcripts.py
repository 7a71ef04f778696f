"""Transcripts on this machine: `spool.ports.Transcripts` over one table.

The generation is the row's own AUTOINCREMENT key: a commit replaces the row, so generations grow over the whole store and
none is ever given twice, not even after a delete. What a list shows stands before `data`, whose pages a list never touches.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spool.envelope import ConversationKey
from spool.errors import Conflict
from spool.local.database import Database
from spool.transcript import Summary, Transcript

_SCHEMA = """
CREATE TABLE IF NOT EXISTS transcripts (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    metadata TEXT NOT NULL,
    updated REAL NOT NULL,
    data BLOB NOT NULL
);
"""

_COMMIT = """
INSERT OR REPLACE INTO transcripts (path, metadata, updated, data)
SELECT ?1, ?2, ?3, ?4 WHERE coalesce((SELECT generation FROM transcripts WHERE path = ?1), 0) = ?5
RETURNING generation
"""
_LIST = "SELECT path, metadata FROM transcripts WHERE path >= ?1 AND path < ?2 AND path > ?3 ORDER BY path LIMIT ?4"
_LAST = "\U0010ffff"
_NO_SUMMARY = Summary(title="", turns=0, last_ts="", last_user="")


class LocalTranscripts:
    """Transcripts in transcripts.db."""

    def __init__(
        self,
        state_dir: Path,
        *,
        now: Callable[[], float] = time.time,  # noqa: TID251 - this adapter owns the clock
    ) -> None:
        self._database = Database(state_dir / "transcripts.db", schema=_SCHEMA, synchronous="FULL")
        self._now = now

    async def load(self, path: str, *, key: ConversationKey) -> tuple[Transcript, int]:
        rows = self._database.execute("SELECT data, generation FROM transcripts WHERE path = ?", path)
        if not rows:
            return Transcript.empty(key), 0
        data, generation = rows[0]
        return Transcript.load(data), generation

    async def commit(self, path: str, transcript: Transcript, *, generation: int) -> int:
        metadata = json.dumps(asdict(transcript.summary))
        rows = self._database.execute(_COMMIT, path, metadata, self._now(), transcript.dump(), generation)
        if not rows:
            msg = f"{path} is no longer at generation {generation}: reload it and decide again"
            raise Conflict(msg)
        return rows[0][0]

    async def list(self, *, prefix: str = "threads/", after: str = "", limit: int = 1000) -> Sequence[tuple[str, Summary]]:
        rows = self._database.execute(_LIST, prefix, prefix + _LAST, after, limit)
        return [(path, _summary(json.loads(metadata))) for path, metadata in rows]

    async def read(self, path: str) -> bytes | None:
        rows = self._database.execute("SELECT data FROM transcripts WHERE path = ?", path)
        return rows[0][0] if rows else None

    async def keep(self, data: bytes, *, media_type: str) -> str:
        """The type stands with the bytes, for whoever looks with `sqlite3 .spool/transcripts.db`."""
        path = f"blobs/{hashlib.sha256(data).hexdigest()}"
        metadata = json.dumps({**asdict(_NO_SUMMARY), "media_type": media_type})
        self._database.execute(_COMMIT, path, metadata, self._now(), data, 0)
        return path

    def close(self) -> None:
        self._database.close()


def _summary(metadata: dict[str, Any]) -> Summary:
    return Summary(**{name: metadata[name] for name in asdict(_NO_SUMMARY)})
