"""`spool ask`: one question to the agent on this machine, by the way that every message takes.

    POST /say ──► ingress ──► queue ──► worker ──► transcript ──► the answer's messages ──► GET /messages

It asks a running `spool dev` where there is one on this SPOOL_STATE_DIR, else it runs one for the time of the question.
The transcript tells which turn answers, the workspace what is visible: the answer counts when both agree.
"""

import asyncio
import contextlib
import html
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spool.cli import backend, behind, dev
from spool.envelope import ConversationKey
from spool.errors import BadInput, Misconfigured, Refused, SpoolError
from spool.settings import Settings

if TYPE_CHECKING:  # see threads.py
    import aiohttp
    from rich.console import Console

    from spool.ports import Transcripts
    from spool.transcript import Turn

LOOK = 0.08
"""Seconds between two looks."""

REQUEST_SECONDS = 10.0
Json = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person says where; `thread` is the ts of an earlier message, or empty."""

    text: str
    channel: str
    thread: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question that the workspace has taken."""

    conversation: ConversationKey
    ts: str

    @property
    def key(self) -> str:
        return f"{self.conversation.channel}:{self.ts}"


def command(
    text: Annotated[str, typer.Argument(help="What to ask.")],
    *,
    channel: Annotated[str, typer.Option(help="Where to ask; in a DM (D0ADA) nobody needs to be mentioned.")] = "C0GENERAL",
    thread: Annotated[str, typer.Option(metavar="TS", help="Go on in this thread, named by its ts.")] = "",
    user: Annotated[str, typer.Option(help="Who asks.")] = "U0ADA",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 120.0,
) -> None:
    """Ask the agent on this machine, and print its answer."""
    if not text.strip():
        msg = "it is empty: say what to ask"
        raise typer.BadParameter(msg, param_hint="TEXT")
    question = Question(text=text, channel=channel, thread=thread, user=user)
    turn, asked = asyncio.run(_ask(question, settings=behind.read_settings(), patience=timeout))
    _print_answer(turn, asked)
    if turn.outcome != "answered":
        msg = f"the turn ended as {turn.outcome}: see the worker's log, and `spool threads show {asked.conversation}`"
        raise SpoolError(msg)


async def _ask(question: Question, *, settings: Settings, patience: float) -> "tuple[Turn, Asked]":
    """Raises `BadInput` for a place that is not there, `SpoolError` when no answer is visible in time."""
    from rich.console import Console

    with _progress(Console(stderr=True)) as tell:
        tell("starting")
        async with (
            _machine(settings) as running,
            _workspace(running.console_url) as workspace,
            backend.transcripts(behind.settings_of(running.emulated)) as transcripts,
        ):
            asked = await workspace.say(question)
            try:
                async with asyncio.timeout(patience):
                    return await _answer(asked, transcripts, workspace, tell), asked
            except TimeoutError:
                raise SpoolError(_too_late(asked, running, settings, patience)) from None


@contextlib.asynccontextmanager
async def _machine(settings: Settings) -> AsyncGenerator[dev.Dev]:
    """The `spool dev` that runs on this state directory, else one of our own."""
    if there := dev.found(settings):
        yield there
        return
    from spool.agents import load

    load(settings.agent, model=settings.model)  # its errors are for the person who asks, not for a worker's log
    async with dev.running(settings, port=0, console_port=0, quiet=True) as own:
        yield own


@contextlib.asynccontextmanager
async def _workspace(url: str) -> "AsyncGenerator[Workspace]":
    """Raises `Misconfigured` where there is none, `SpoolError` where it goes away."""
    import aiohttp

    if not url:
        msg = "the `spool dev` that runs here has no workspace of its own (--no-simulator): ask in the Slack it is connected to"
        raise Misconfigured(msg)
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    try:
        async with aiohttp.ClientSession(base_url=url, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield Workspace(session)
    except (aiohttp.ClientError, TimeoutError) as e:
        msg = f"the workspace at {url} does not answer any more ({type(e).__name__}): is `spool dev` still running?"
        raise SpoolError(msg) from None


class Workspace:
    """The workspace on this machine, as another process sees it: `spool.console.server`."""

    def __init__(self, session: "aiohttp.ClientSession") -> None:
        self._session = session

    async def say(self, question: Question) -> Asked:
        """A person's message to the agent. Raises `BadInput`."""
        from spool.console.workspace import Installation

        me, channel, thread = Installation(), question.channel, question.thread
        await self._check(channel, thread, token=me.token)
        mention = "" if channel.startswith("D") else f"<@{me.user}> "
        message = {"channel": channel, "user": question.user, "text": mention + html.escape(question.text, quote=False)}
        async with self._session.post("/say", json=message | ({"thread_ts": thread} if thread else {})) as answer:
            if not answer.ok:
                msg = f"the workspace does not take this message: {(await answer.text())[:200]}"
                raise BadInput(msg)
            ts: str = (await answer.json())["ts"]
        return Asked(conversation=ConversationKey(team=me.team, channel=channel, thread_ts=thread or ts), ts=ts)

    async def _check(self, channel: str, thread: str, *, token: str) -> None:
        """Nobody would ever hear what is said elsewhere. Raises `BadInput`."""
        query = {"channel": channel, "token": token}
        async with self._session.get("/api/conversations.info", params=query) as answer:
            known = bool((await answer.json()).get("ok"))
        if not known:
            msg = f"there is no channel {channel!r:.40}: C0GENERAL and C0RANDOM are there, and the DMs D0ADA and D0GRACE"
            raise BadInput(msg)
        if thread and not await self.messages(channel, thread):
            msg = f"there is no thread {thread!r:.40} in {channel}: its name is the ts of its first message, 1715000000.000100"
            raise BadInput(msg)

    async def messages(self, channel: str, thread: str) -> list[Json]:
        """What is visible in a thread now."""
        async with self._session.get("/messages", params={"channel": channel, "thread_ts": thread}) as answer:
            return (await answer.json())["messages"]


async def _answer(asked: Asked, transcripts: "Transcripts", workspace: Workspace, tell: Tell) -> "Turn":
    """Look until the answer is visible, and tell meanwhile how far it is."""
    key = asked.conversation
    while True:
        transcript, _ = await transcripts.load(key.path, key=key)
        turn = next((t for t in transcript.turns if any(m.key == asked.key for m in t.messages)), None)
        visible = await workspace.messages(key.channel, key.thread_ts)
        if turn and turn.outcome == "undeliverable":
            msg = f"the workspace refuses to show the answer: `spool threads show {key}` has it"
            raise Refused(msg, reason=turn.outcome)
        if turn and is_shown(turn, visible):
            return turn
        tell(stage(turn, visible))
        await asyncio.sleep(LOOK)


def is_shown(turn: "Turn", visible: list[Json]) -> bool:
    """Whether every part of the turn's reply stands in its slot."""
    from spool.slack.render import fallback

    if turn.state != "done" or turn.reply is None or turn.slots is None:
        return False
    texts = {m["ts"]: m["text"] for m in visible}
    return all(slot and texts.get(slot) == fallback(part) for slot, part in zip(turn.slots, turn.reply.parts, strict=True))


def stage(turn: "Turn | None", visible: list[Json]) -> str:
    """How far the answer is, in a few words: the agent's own where it tells."""
    if turn is None:
        return "queued"
    mine = [m for m in visible if m.get("metadata", {}).get("event_payload", {}).get("tag") == turn.tag]
    if not mine:
        return f"turn {turn.id} has begun"
    first = mine[0]
    return f"reserved {first['ts']}" if first["text"] == "…" else html.unescape(first["text"].split("\n")[0][:200])


def _too_late(asked: Asked, running: dev.Dev, settings: Settings, patience: float) -> str:
    where = "the emulated queue" if running.emulated else settings.state_dir
    return (
        f"no answer within {patience:g} seconds; the message is not lost: it waits in {where}, and `spool dev` "
        f"goes on with it, unless functions/policy.py ignores it; see `spool threads show {asked.conversation}`"
    )


@contextlib.contextmanager
def _progress(console: "Console") -> Generator[Tell]:
    """Shows how far it is: in place in a terminal, else a line for each change."""
    from rich.text import Text

    from spool.cli.terminal import one_line, say

    with console.status("") if console.is_terminal else contextlib.nullcontext() as status:
        told = ""

        def tell(news: str) -> None:
            nonlocal told
            before, told = told, one_line(news)
            if status:
                status.update(Text(told))
            elif told != before:
                say(console, told)

        yield tell


def _print_answer(turn: "Turn", asked: Asked) -> None:
    """The answer to stdout, where to read on to stderr."""
    from rich.console import Console

    from spool.cli.terminal import say_markdown

    for part in turn.reply.parts if turn.reply else ():
        say_markdown(Console(), part)
    typer.echo(f"spool threads show {asked.conversation}", err=True)
