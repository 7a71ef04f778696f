"""Drives `spool dev --no-simulator` from outside, as a process group of its own that may be killed at any instant.

On the local backend, or, in a `Place` of the emulators, on Google's: there the environment alone says so.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from queues import EmulatedQueue, LocalQueue, WaitingTasks

from emulated import Place
from spool.cli import backend
from spool.console.deliveries import Terms
from spool.console.server import serve
from spool.console.workspace import Workspace
from spool.envelope import ConversationKey
from spool.settings import STORES, Settings, inherited
from spool.slack.signature import sign
from spool.transcript import Transcript

SECRET = "driving"
ROOMS = Path(__file__).parent / "rooms"
CHANNEL, PERSON = "C0GENERAL", "U0ADA"


@dataclass
class Driven:
    """`spool dev` in `folder`, before a Slack-like server of the test's own."""

    folder: Path
    port: int
    slack: Workspace
    slack_port: int
    environment: Mapping[str, str]
    queue: WaitingTasks
    process: asyncio.subprocess.Process | None = None
    kills: list[str] = field(default_factory=list[str])

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    async def start(self) -> None:
        """Start it, and wait until both functions answer: then it writes where."""
        running = self.state_dir / "dev.json"
        running.unlink(missing_ok=True)
        log = (self.folder / "log").open("ab")
        command = ("-m", "spool.cli", "dev", "--no-simulator", "--port", str(self.port))
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=self.environment, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        await self.until(running.exists)

    async def kill_everything(self) -> None:
        """SIGKILL to the whole process group at once."""
        if self.process and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    async def stop(self) -> None:
        await self.kill_everything()

    def pids(self, target: str) -> list[int]:
        """The functions-framework master of a function and its gunicorn worker, in this order."""
        return sorted(
            pid
            for pid, words in _processes()
            if "--target" in words and target in words and str(self.state_dir) in _environ(pid)
        )

    async def transcript(self, ts: str) -> Transcript:
        """The transcript of the thread that message `ts` roots."""
        key = ConversationKey(team=self.slack.installation.team, channel=CHANNEL, thread_ts=ts)
        async with backend.transcripts(Settings.read(self.environment, google=STORES)) as transcripts:
            return (await transcripts.load(key.path, key=key))[0]

    def answers(self, ts: str) -> list[str]:
        """What the agent shows in a thread, placeholders and progress left out."""
        said = self.slack.messages(CHANNEL, ts)
        texts = [str(m["text"]) for m in said if m.get("bot_id")]
        return [t for t in texts if not t.startswith("…")]

    def traces(self) -> list[dict[str, Any]]:
        path = self.folder / "traces"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def until(self, condition: Callable[[], object], *, within: float = 30) -> None:
        """Wait for what other processes do: there is nothing to await but the clock."""
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def post_event(self, event: dict[str, Any], *, event_id: str) -> int:
        """One signed request of the Events API; its status. The connection is read only as far as the status."""
        installation = self.slack.installation
        authorization = {
            "team_id": installation.team,
            "user_id": installation.user,
            "is_bot": True,
            "is_enterprise_install": False,
        }
        body = json.dumps(
            {
                "type": "event_callback",
                "team_id": installation.team,
                "api_app_id": installation.app,
                "event": event,
                "event_id": event_id,
                "event_time": int(time.time()),  # noqa: TID251 - here is Slack
                "authorizations": [authorization],
            }
        ).encode()
        stamp = str(int(time.time()))  # noqa: TID251
        headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": sign(SECRET, body, timestamp=stamp)}
        async with aiohttp.ClientSession() as http, http.post(self.events_url, data=body, headers=headers) as response:
            return response.status

    @property
    def events_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/slack/events"


@contextlib.asynccontextmanager
async def driven(
    folder: Path, place: Place | None = None, *, room: str = "slow_room:agent", deliver: bool = True, **environment: str
) -> AsyncGenerator[Driven]:
    """A running Spool in `folder`, on Google's backend where there is a `place`; with `deliver` it gets the events."""
    port = _free_port()
    terms = Terms(ingress=f"http://127.0.0.1:{port}/slack/events" if deliver else "", secret=SECRET, retry_delays=(0.1, 0.5, 2))
    slack = Workspace(folder / "slack", terms=terms)
    async with serve(slack) as slack_port:
        given = {
            "SLACK_API_URL": f"http://127.0.0.1:{slack_port}/api/",
            "SLACK_SIGNING_SECRET": SECRET,
            "SLACK_BOT_TOKEN": slack.installation.token,
            "SPOOL_STATE_DIR": str(folder / "state"),
            "SPOOL_AGENT": room,
            "PYTHONPATH": str(ROOMS),
            "TRACES": str(folder / "traces"),
            **(place.environment if place else {"SPOOL_BACKEND": "local"}),
            **environment,
        }
        queue = EmulatedQueue(place) if place else LocalQueue(folder / "state")
        spool = Driven(folder, port, slack, slack_port, inherited(given), queue)
        try:
            await spool.start()
            yield spool
        finally:
            await spool.stop()


def _processes() -> list[tuple[int, list[str]]]:
    found = list[tuple[int, list[str]]]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((int(entry.name), (entry / "cmdline").read_bytes().decode().split("\0")))
    return found


def _environ(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return ""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
