"""The documents of conversations on this machine: `spool.ports.Conversations` over one table.

The token is the row's AUTOINCREMENT key, as in transcripts.py: one of a document that was lost never fits its successor.
team to task are for `expired`, and for people who look with `sqlite3 .spool/conversations.db`.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from spool.conversation import Document, Seen
from spool.envelope import ConversationKey
from spool.errors import BadInput, Conflict
from spool.local.database import Database

_log = logging.getLogger(__name__)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    team TEXT NOT NULL,
    channel TEXT NOT NULL,
    thread_ts TEXT NOT NULL,
    owner TEXT,
    task TEXT,
    document TEXT NOT NULL
);
"""

_READ = "SELECT CAST(document AS BLOB), CAST(version AS TEXT) FROM conversations WHERE id = ?"
_LEASED = "SELECT team, channel, thread_ts, CAST(document AS BLOB) FROM conversations WHERE owner IS NOT NULL"
_WRITE = """
INSERT OR REPLACE INTO conversations (id, team, channel, thread_ts, owner, task, document)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE (SELECT CAST(version AS TEXT) FROM conversations WHERE id = ?1) IS ?8
RETURNING CAST(version AS TEXT)
"""


class LocalConversations:
    """Documents in conversations.db; its clock is this machine's, the same for every process."""

    def __init__(
        self,
        state_dir: Path,
        *,
        now: Callable[[], float] = time.time,  # noqa: TID251 - this adapter owns the clock
    ) -> None:
        self._database = Database(state_dir / "conversations.db", schema=_SCHEMA, synchronous="NORMAL")
        self._now = now

    async def read(self, key: ConversationKey) -> Seen | None:
        rows = self._database.execute(_READ, key.id)
        if not rows:
            return None
        text, token = rows[0]
        return Seen(document=_document(text, key), token=token, read_at=self._now())

    async def write(self, key: ConversationKey, document: Document, *, token: str | None) -> str:
        lease = document.lease
        if lease and lease.at is None:
            lease = replace(lease, at=self._now())
            document = replace(document, lease=lease)
        owner, task = (lease.owner, lease.task) if lease else (None, None)
        text = json.dumps(document.to_json(), separators=(",", ":"))
        rows = self._database.execute(_WRITE, key.id, key.team, key.channel, key.thread_ts, owner, task, text, token)
        if not rows:
            msg = f"the document of {key} is no longer the one that was read: read it again"
            raise Conflict(msg)
        return rows[0][0]

    async def expired(self, *, seconds: float, limit: int) -> Sequence[tuple[ConversationKey, Document]]:
        """Every lease is looked at: those of conversations at work are few."""
        now = self._now()
        found: list[tuple[float, ConversationKey, Document]] = []
        for team, channel, thread_ts, text in self._database.execute(_LEASED):
            key = ConversationKey(team=team, channel=channel, thread_ts=thread_ts)
            seen = Seen(document=_document(text, key), token="", read_at=now)
            if (lease := seen.document.lease) and seen.ran_out(seconds):
                found.append((lease.at or 0.0, key, seen.document))
        return [(key, document) for _, key, document in sorted(found, key=lambda f: f[:2])[:limit]]

    def close(self) -> None:
        self._database.close()


def _document(text: bytes, key: ConversationKey) -> Document:
    """It is a hint: what cannot be read tells nothing, and is written anew."""
    try:
        return Document.from_json(json.loads(text), conversation=key)
    except (BadInput, ValueError, AttributeError, RecursionError) as e:
        _log.warning("%s: the conversation's document cannot be read and is made anew: %s", key, type(e).__name__)
        return Document()
