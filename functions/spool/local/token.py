"""How the embedded dispatcher proves to the worker that it is the queue: a random token, made anew at each of its starts.

It lies in SPOOL_STATE_DIR, readable by this user alone, so that each of the two may be restarted without the other.
"""

import hmac
import os
import secrets
from pathlib import Path

_NAME = "queue-token"


def new_token(state_dir: Path) -> str:
    """Make a token and put it where the worker looks."""
    state_dir.mkdir(parents=True, exist_ok=True)
    token, draft = secrets.token_urlsafe(32), state_dir / f"{_NAME}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token)
    draft.replace(state_dir / _NAME)
    return token


def is_queue(authorization: str, *, state_dir: Path) -> bool:
    """Whether a request's Authorization header comes from the dispatcher that started last."""
    try:
        token = (state_dir / _NAME).read_text()
    except OSError:
        return False
    return hmac.compare_digest(f"Bearer {token}".encode(), authorization.encode("utf-8", "surrogateescape"))
