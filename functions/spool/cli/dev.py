"""`spool dev`: everything on one machine.

    workspace ──signed events──► ingress ──► queue.db ──► dispatcher ──POST /task──► worker ──► workspace
    (this process)               (a process of its own)   (this process)             (a process of its own)

The two functions run under the real functions-framework. A child that dies is started again; none outlives this process.
Everything that matters lies in SPOOL_STATE_DIR: killing this at any instant, and starting it again, loses nothing.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from spool.errors import Misconfigured
from spool.local.address import worker_port
from spool.local.children import die_with_parent
from spool.local.lock import Lock
from spool.local.token import new_token
from spool.settings import Settings, inherited

FUNCTIONS = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds for a function to start."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds before a dead child is started again: doubled while it keeps dying at once."""

LOOK = 0.5
"""Seconds between two looks at the files of the user's room."""

GRACE = 10.0
"""Seconds that a child has to hand its turns over, as on Cloud Run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dev:
    """A running `spool dev`: base URLs without a trailing slash; no console without the simulator."""

    console_url: str
    ingress_url: str


def command(
    *,
    port: Annotated[int, typer.Option(help="Port of the ingress.")] = 3001,
    console_port: Annotated[int, typer.Option(help="Port of the local workspace.")] = 3000,
    simulator: Annotated[bool, typer.Option(help="Run a Slack workspace on this machine. Without: SLACK_API_URL.")] = True,
) -> None:
    """Run everything on this machine: both functions, the queue, and a Slack workspace."""
    need = () if simulator else ("SLACK_SIGNING_SECRET", "SLACK_BOT_TOKEN", "SLACK_API_URL")
    settings = Settings.read(need=need)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_until_stopped(settings, port=port, console_port=console_port, simulator=simulator))


async def _until_stopped(settings: Settings, *, port: int, console_port: int, simulator: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings, port=port, console_port=console_port, simulator=simulator) as dev:
        typer.echo(f"Spool is running. Slack events: {dev.ingress_url}/slack/events   State: {settings.state_dir}")
        if simulator:
            typer.echo(f'A Slack workspace of its own: {dev.console_url}   Try: spool ask "What can you do?"')
        await stop.wait()


@contextlib.asynccontextmanager
async def running(
    settings: Settings, *, port: int = 3001, console_port: int = 3000, simulator: bool = True, quiet: bool = False
) -> AsyncGenerator[Dev]:
    """Everything at work, until the block ends; both functions answer when it begins. Raises `Misconfigured`.

    Waits for another one on the same state directory to end. A port of 0 means any free one.
    """
    settings = replace(settings, state_dir=settings.state_dir.resolve())
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        await _only_one(settings, stack)
        port = port or _free_port()
        dev = Dev(console_url="", ingress_url=f"http://127.0.0.1:{port}")
        if simulator:
            settings, dev = await _workspace(settings, dev, console_port, stack)
        worker_url = settings.worker_url or f"http://127.0.0.1:{worker_port(settings.state_dir)}"
        children = [
            Child("worker", urlsplit(worker_url).port or 80, _environment(settings, worker_url), quiet=quiet),
            Child("ingress", port, _environment(settings, worker_url), quiet=quiet),
        ]
        group = await stack.enter_async_context(_tasks())
        for child in children:
            group.add(asyncio.create_task(child.keep_running()))
        group.add(asyncio.create_task(_dispatch(settings, worker_url)))
        group.add(asyncio.create_task(_reload_on_edit(children[0])))
        await asyncio.gather(*(child.answers() for child in children))
        (settings.state_dir / "dev.json").write_text(json.dumps({"console": dev.console_url, "ingress": dev.ingress_url}))
        yield dev


def found(settings: Settings) -> Dev | None:
    """The `spool dev` that runs on this state directory now."""
    lock, path = Lock(settings.state_dir / "dev.lock"), settings.state_dir / "dev.json"
    if not path.exists():
        return None
    if lock.take():
        lock.give()
        return None
    value = json.loads(path.read_text())
    return Dev(console_url=value["console"], ingress_url=value["ingress"])


async def _only_one(settings: Settings, stack: contextlib.AsyncExitStack) -> None:
    """Two queues on one state directory would deliver everything twice."""
    lock = Lock(settings.state_dir / "dev.lock")
    if not lock.take():
        typer.echo(f"Another spool dev works in {settings.state_dir}; waiting for it to end.", err=True)
        while not lock.take():  # noqa: ASYNC110 - another process gives it back, which is no event of this loop
            await asyncio.sleep(0.05)
    stack.callback(lock.give)
    (settings.state_dir / "dev.json").unlink(missing_ok=True)


async def _workspace(settings: Settings, dev: Dev, port: int, stack: contextlib.AsyncExitStack) -> tuple[Settings, Dev]:
    """The local Slack workspace, and the settings that make it the functions' Slack."""
    from spool.console.deliveries import Terms
    from spool.console.server import serve
    from spool.console.workspace import Installation, Workspace

    secret, installation = secrets.token_hex(16), Installation()
    terms = Terms(ingress=f"{dev.ingress_url}/slack/events", secret=secret)
    workspace = Workspace(settings.state_dir, terms=terms, installation=installation)
    bound = await stack.enter_async_context(_bound(serve(workspace, port=port), port))
    url = f"http://127.0.0.1:{bound}"
    local = replace(settings, signing_secrets=(secret,), bot_token=installation.token, slack_api_url=f"{url}/api/")
    return local, replace(dev, console_url=url)


@contextlib.asynccontextmanager
async def _bound(server: contextlib.AbstractAsyncContextManager[int], port: int) -> AsyncGenerator[int]:
    try:
        bound = await server.__aenter__()
    except OSError as e:
        msg = f"port {port} cannot be used ({e.strerror}): end what uses it, or choose another with --console-port"
        raise Misconfigured(msg) from e
    try:
        yield bound
    finally:
        await server.__aexit__(None, None, None)


async def _dispatch(settings: Settings, worker_url: str) -> None:
    from spool.local.dispatcher import Dispatcher

    await Dispatcher(settings.state_dir, worker_url=worker_url, token=new_token(settings.state_dir)).run()


@contextlib.asynccontextmanager
async def _tasks() -> AsyncGenerator[set[asyncio.Task[None]]]:
    """Tasks that end with the block; one that fails is heard at the end."""
    tasks = set[asyncio.Task[None]]()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


def _environment(settings: Settings, worker_url: str) -> Mapping[str, str]:
    """What the functions read: this process's environment, with what was decided here."""
    decided = {
        "SLACK_SIGNING_SECRET": ",".join(settings.signing_secrets),
        "SLACK_BOT_TOKEN": settings.bot_token,
        "SLACK_API_URL": settings.slack_api_url,
        "SPOOL_BACKEND": "local",
        "SPOOL_STATE_DIR": str(settings.state_dir),
        "SPOOL_WORKER_URL": worker_url,
        "PYDANTIC_AI_NO_BANNER": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return inherited(decided)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Child:
    """One function under functions-framework, started again whenever it dies."""

    def __init__(self, target: str, port: int, environment: Mapping[str, str], *, quiet: bool) -> None:
        self.target, self._port, self._quiet = target, port, quiet
        # gunicorn opens a control socket there: two functions must not share it, and its path must be short
        name = hashlib.sha256(f"{environment['SPOOL_STATE_DIR']}/{target}".encode()).hexdigest()[:16]
        self._runtime = Path(tempfile.gettempdir()) / f"spool-{os.getuid()}-{name}"
        self._environment = {**environment, "XDG_RUNTIME_DIR": str(self._runtime)}
        self._process: asyncio.subprocess.Process | None = None

    async def keep_running(self) -> None:
        """Until cancelled; then it has time to hand over."""
        pause, clock = FIRST_PAUSE, asyncio.get_running_loop().time
        try:
            while True:
                started = clock()
                await self._start()
                await self._ended()
                pause = FIRST_PAUSE if clock() - started > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
                await asyncio.sleep(pause)
        finally:
            await self._stop()

    async def _start(self) -> None:
        self._runtime.mkdir(mode=0o700, exist_ok=True)
        source = FUNCTIONS / f"{self.target}.py"
        arguments = ("--target", self.target, "--source", str(source), "--host", "127.0.0.1", "--port", str(self._port))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "functions_framework",
            *arguments,
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL if self._quiet else None,
            stderr=asyncio.subprocess.DEVNULL if self._quiet else None,
            preexec_fn=die_with_parent,
        )

    async def _ended(self) -> None:
        if self._process:
            await self._process.wait()

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def reload(self) -> None:
        """SIGTERM: turns at work hand over, and the function starts anew."""
        if self._process and self._process.returncode is None:
            self._process.terminate()

    async def answers(self) -> None:
        """Return when it does. Raises `Misconfigured` when it does not."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while loop.time() < until:
            if await asyncio.to_thread(self._is_healthy):
                return
            await asyncio.sleep(0.02)
        msg = f"the {self.target} did not start within {PATIENCE:.0f} s on port {self._port}: its own output above says why"
        raise Misconfigured(msg)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=1) as response:
                return response.status == 200  # noqa: PLR2004
        except (OSError, urllib.error.URLError):
            return False


async def _reload_on_edit(worker: Child) -> None:
    """The worker starts anew when a file of the user's room has changed."""
    before = _stamps()
    while True:
        await asyncio.sleep(LOOK)
        now = _stamps()
        if now != before:
            before = now
            typer.echo("functions/agent/ or policy.py has changed: reloading the worker.", err=True)
            worker.reload()


def _stamps() -> dict[Path, int]:
    files = [FUNCTIONS / "policy.py", *(FUNCTIONS / "agent").rglob("*")]
    stamps = dict[Path, int]()
    for file in files:
        with contextlib.suppress(OSError):  # an editor may replace it at this instant
            if file.suffix in (".py", ".md"):
                stamps[file] = file.stat().st_mtime_ns
    return stamps
