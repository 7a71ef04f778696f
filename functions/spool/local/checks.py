"""The machine itself, looked at without changing anything: the state directory, its databases, the ports."""

import os
import socket
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from spool.finding import Finding, ok, problem, unknown

_DAMAGE = 200
"""Characters of SQLite's own words that are shown."""


def state_dir(path: Path) -> Sequence[Finding]:
    """Whether everything can be kept there, on the day when there is something to keep."""
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not there.is_dir():
        return [problem(f"{there} is no directory", fix="remove it, or name another one in SPOOL_STATE_DIR")]
    if not os.access(there, os.W_OK | os.X_OK):
        return [problem(f"{there} is not writable by this user", fix=f"chown it, or set SPOOL_STATE_DIR (now {path})")]
    return [ok(f"{path} is writable" if there == path.absolute() else f"{path} will be made when it is needed")]


def databases(path: Path) -> Sequence[Finding]:
    """Whether SQLite still reads what it wrote."""
    files = sorted(path.glob("*.db")) if path.is_dir() else []
    return [_database(file) for file in files] or [ok("there are none yet")]


def _database(file: Path) -> Finding:
    try:
        damage = _quick_check(file)
    except sqlite3.OperationalError as e:
        return unknown(f"{file}: {e}", fix=f"see who may read it: ls -l {file}")
    except sqlite3.DatabaseError as e:
        damage = str(e)
    if damage == "ok":
        return ok(f"{file.name} is sound")
    fix = (
        "conversations.db may be deleted: it is a hint"
        if file.name == "conversations.db"
        else f"stop spool, then: {_recover(file)}"
    )
    return problem(f"{file} is damaged: {damage[:_DAMAGE]}", fix=fix)


def _quick_check(file: Path) -> str:
    """SQLite's verdict. What nobody has open is read as a file that cannot change: opening it otherwise would make files."""
    wal = file.with_name(f"{file.name}-wal")
    mode = "mode=ro" if wal.exists() else "immutable=1"
    connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?{mode}", uri=True)
    try:
        return " ".join(str(row[0]) for row in connection.execute("PRAGMA quick_check(3)"))
    finally:
        connection.close()


def _recover(file: Path) -> str:
    return f"sqlite3 {file} .recover | sqlite3 {file}.mended && mv {file}.mended {file}"


def ports(wanted: Iterable[tuple[int, str]]) -> Sequence[Finding]:
    """Whether `spool dev` could listen; `wanted` are ports, each with the way to choose another."""
    taken = [
        problem(f"port {port} is in use", fix=f"end what uses it, or {remedy}") for port, remedy in wanted if not _is_free(port)
    ]
    return taken or [ok("no `spool dev` runs here; free for one: " + ", ".join(str(port) for port, _ in wanted))]


def _is_free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def recorded_port(path: Path) -> int | None:
    """The worker's port, where one is recorded already and is a port."""
    try:
        port = int((path / "worker-port").read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port < 1 << 16 else None
