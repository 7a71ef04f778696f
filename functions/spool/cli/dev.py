"""`spool dev`: everything on one machine.

    workspace ──signed events──► ingress ──► queue.db ──► dispatcher ──POST /task──► worker ──► workspace
    (this process)               (a process of its own)   (this process)             (a process of its own)

The two functions run under the real functions-framework. A child that dies is started again; none outlives this process.
Everything that matters lies in SPOOL_STATE_DIR: killing this at any instant, and starting it again, loses nothing.
On Google's backend the queue and the stores are emulators instead, and what matters is there: `spool.cli.behind`.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import typer

from spool.cli import behind
from spool.cli.child import FUNCTIONS, Child
from spool.cli.emulators import emulators as all_emulators
from spool.errors import Misconfigured
from spool.local.address import worker_port
from spool.local.lock import Lock
from spool.settings import Settings

FREEING_LOOKS = 40
LOOK = 0.5
"""Seconds between two looks at the files of the user's room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dev:
    """A running `spool dev`: base URLs without a trailing slash; no console without the simulator.

    emulated: the variables that say where everything is in Google's emulators; empty on the local backend.
    """

    console_url: str
    ingress_url: str
    emulated: Mapping[str, str]


def command(
    *,
    port: Annotated[int, typer.Option(help="Port of the ingress.")] = 3001,
    console_port: Annotated[int, typer.Option(help="Port of the local workspace.")] = 3000,
    simulator: Annotated[bool, typer.Option(help="Run a Slack workspace on this machine. Without: SLACK_API_URL.")] = True,
    emulators: Annotated[bool, typer.Option("--emulators", help="Run on Google's emulators, found or started.")] = False,
) -> None:
    """Run everything on this machine: both functions, the queue, and a Slack workspace."""
    need = () if simulator else ("SLACK_SIGNING_SECRET", "SLACK_BOT_TOKEN", "SLACK_API_URL")
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError), contextlib.ExitStack() as stack:
        found = stack.enter_context(all_emulators()) if emulators else None
        settings = behind.read_settings(need=need, emulators=found)
        asyncio.run(_until_stopped(settings, port=port, console_port=console_port, simulator=simulator))


async def _until_stopped(settings: Settings, *, port: int, console_port: int, simulator: bool) -> None:
    main = cast("asyncio.Task[None]", asyncio.current_task())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, main.cancel)
    async with running(settings, port=port, console_port=console_port, simulator=simulator) as dev:
        typer.echo(f"Spool is running. Slack events: {dev.ingress_url}/slack/events   State: {settings.state_dir}")
        if simulator:
            typer.echo(f'A Slack workspace of its own: {dev.console_url}   Try: {sys.argv[0]} ask "What can you do?"')
        if dev.emulated:
            typer.echo("For `spool threads` in another terminal:")
            typer.echo("\n".join(f"export {n}={v}" for n, v in {"SPOOL_BACKEND": "google", **dev.emulated}.items()))
        await asyncio.Event().wait()


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
        dev = Dev(console_url="", ingress_url=f"http://127.0.0.1:{port}", emulated=behind.places(settings))
        if simulator:
            settings, dev = await _workspace(settings, dev, console_port, stack)
        worker_url = settings.worker_url or f"http://127.0.0.1:{worker_port(settings.state_dir)}"
        await _until_free(port, "choose another with --port")
        await _until_free(urlsplit(worker_url).port or 80, f"delete {settings.state_dir / 'worker-port'} to choose another")
        await behind.prepare(settings)
        children = [
            Child("worker", urlsplit(worker_url).port or 80, behind.environment(settings, worker_url), quiet=quiet),
            Child("ingress", port, behind.environment(settings, worker_url), quiet=quiet),
        ]
        start = await stack.enter_async_context(_background())
        for child in children:
            start(child.keep_running())
        start(behind.keep_calling(settings, worker_url))
        start(_reload_on_edit(children[0]))
        await asyncio.gather(*(child.answers() for child in children))
        _record(settings, dev)
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
    return Dev(console_url=value["console"], ingress_url=value["ingress"], emulated=value.get("emulated", {}))


def _record(settings: Settings, dev: Dev) -> None:
    """For `found`, and whoever waits for the start: a reader never sees half of it."""
    path = settings.state_dir / "dev.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"console": dev.console_url, "ingress": dev.ingress_url, "emulated": dict(dev.emulated)}))
    draft.replace(path)


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


@contextlib.asynccontextmanager
async def _background() -> AsyncGenerator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Starts what runs beside the block and ends with it; what fails ends the block, and is raised from it."""
    tasks = list[asyncio.Task[None]]()
    try:
        async with asyncio.TaskGroup() as group:
            try:
                yield lambda work: tasks.append(group.create_task(work))
            finally:
                for task in tasks:
                    task.cancel()
    except ExceptionGroup as e:
        raise e.exceptions[0] from None


async def _until_free(port: int, remedy: str) -> None:
    """What was killed a moment ago may still hold it. Raises `Misconfigured`."""
    for _ in range(FREEING_LOOKS):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return
    msg = f"port {port} is in use: end what uses it, or {remedy}"
    raise Misconfigured(msg)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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
