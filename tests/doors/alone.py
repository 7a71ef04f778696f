"""One door alone, under plain functions-framework, in a process group of its own; its log as Google would read it."""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from frames import closed
from spool.settings import inherited
from spool.slack.signature import sign

FUNCTIONS = Path(__file__).parents[2] / "functions"
SECRET = "alone-signing-secret"


@dataclass(frozen=True, kw_only=True)
class Alone:
    """A running door. log: what it has written so far, to either stream."""

    url: str
    file: Path
    process: asyncio.subprocess.Process

    @property
    def log(self) -> str:
        return self.file.read_text()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The lines of its log that tell of an event, or of this one. Every line must be a JSON object."""
        lines = [json.loads(line) for line in self.log.splitlines()]
        return [line for line in lines if ("event" in line if not name else line.get("event") == name)]

    async def post(self, path: str, body: bytes = b"", **headers: str) -> int:
        """POST, and the status; header names with underscores."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = io.BytesIO(body)
        async with aiohttp.ClientSession() as http, http.post(self.url + path, data=data, headers=given) as response:
            return response.status

    async def event(self, text: str, *, ts: str, **headers: str) -> int:
        """A signed mention of the agent, from Slack; the status."""
        message = {"type": "app_mention", "user": "U0ADA", "text": text, "ts": ts, "channel": "C0A"}
        body = json.dumps({"type": "event_callback", "team_id": "T0A", "event_id": f"Ev{ts}", "event": message}).encode()
        stamp = str(int(time.time()))  # noqa: TID251 - here is Slack
        signed = {"X_Slack_Request_Timestamp": stamp, "X_Slack_Signature": sign(SECRET, body, stamp)}
        return await self.post("/slack/events", body, **signed, **headers)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def until(condition: Callable[[], object], *, within: float = 30) -> None:
    """Wait for what other processes do: there is nothing to await but the clock."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def alone(target: str, folder: Path, environment: Mapping[str, str], *, port: int = 0) -> AsyncGenerator[Alone]:
    """`target` until the block ends, listening."""
    port, file = port or free_port(), folder / f"{target}.log"
    runtime = folder / f"{target}-runtime"
    runtime.mkdir(exist_ok=True)
    command = ("-m", "functions_framework", "--target", target, "--source", str(FUNCTIONS / f"{target}.py"))
    given = inherited({"SLACK_SIGNING_SECRET": SECRET, "XDG_RUNTIME_DIR": str(runtime), **environment})
    with file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            *("--host", "127.0.0.1", "--port", str(port)),
            env=given,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    door = Alone(url=f"http://127.0.0.1:{port}", file=file, process=process)
    try:
        await _listening(port, process)
        yield door
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                await closed(writer)
                return
            await asyncio.sleep(0.02)
    msg = f"it ended with {process.returncode}"
    raise RuntimeError(msg)
