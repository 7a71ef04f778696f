"""What this machine's store shows to people who ask why: `spool.evidence.Evidence`, read-only."""

import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from spool.envelope import ConversationKey
from spool.errors import Ambiguous, BadInput
from spool.evidence import Line, Queued, Version
from spool.task import Task

_TASKS = "SELECT name, due, attempts, previous, body FROM tasks WHERE instr(body, ?) OR name = ? ORDER BY due"
_VERSIONS = "SELECT generation, updated, length(data) FROM transcripts WHERE path = ?"


class LocalEvidence:
    """queue.db and transcripts.db, opened for reading: a file that is not there is not made."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    async def tasks(self, channel: str, *, name: str = "") -> tuple[Sequence[Queued], str]:
        rows = self._rows("queue.db", _TASKS, f'"channel":"{channel}"'.encode(), name)
        return [
            Queued(name=name, task=_task(body), due=due, attempts=attempts, previous=previous)
            for name, due, attempts, previous, body in rows
        ], ""

    async def versions(self, path: str) -> tuple[Sequence[Version], str]:
        rows = self._rows("transcripts.db", _VERSIONS, path)
        found = [Version(generation=generation, updated=updated, size=size, live=True) for generation, updated, size in rows]
        return found, "this store keeps the last generation only"

    async def logs(
        self, message: str, conversation: ConversationKey | None, *, until: float = math.inf
    ) -> tuple[Sequence[Line], str]:
        del message, conversation, until
        return [], "none are kept here: they are in the output of `spool dev`"

    def _rows(self, file: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        path = self._state_dir / file
        if not path.exists():
            return []
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2.0)) as connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as e:
            msg = f"{path}: {e}"
            raise Ambiguous(msg) from e


def _task(body: bytes) -> Task | None:
    try:
        return Task.decode(body)
    except BadInput:
        return None
