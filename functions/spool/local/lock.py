"""A lock between processes that dies with its holder: flock on a file that is never deleted."""

import fcntl
import os
from pathlib import Path


class Lock:
    """Held by at most one process; the kernel gives it back when that process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> bool:
        """Whether the lock is mine now; never waits. Raises OSError where the file cannot be made."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(file)
            if isinstance(e, BlockingIOError):
                return False
            raise
        self._file = file
        return True

    def give(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
