"""Where the worker of this machine listens: the same port at every start, so that queued tasks find it."""

import os
import socket
from pathlib import Path

from spool.errors import Misconfigured


def worker_port(state_dir: Path) -> int:
    """The port recorded in `state_dir`; the first time any free one, which is then recorded. Raises `Misconfigured`."""
    path = state_dir / "worker-port"
    if not path.exists():
        _record(path, _free_port())
    text = path.read_text()
    try:
        return int(text)
    except ValueError as e:
        msg = f"{path} holds {text!r:.40}, not a port: delete the file, and a new port is chosen"
        raise Misconfigured(msg) from e


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _record(path: Path, port: int) -> None:
    """The first of several processes wins; a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(f"{port}\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
