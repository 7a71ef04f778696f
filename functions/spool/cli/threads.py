"""`spool threads`: read what is kept of every conversation. Nothing here writes into a transcript."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spool.cli import backend
from spool.envelope import ConversationKey
from spool.errors import BadInput, Missing, TooNew, Unreadable

if TYPE_CHECKING:  # the model library behind them takes a second: only a command that needs them waits for it
    from spool.ports import Transcripts
    from spool.transcript import Summary, Transcript

PAGE = 500
HEAD = ("key", "title", "turns", "last said", "by")

app = typer.Typer(no_args_is_help=True, help="Read the transcripts: list them, show one, export one.")
Key = Annotated[str, typer.Argument(metavar="KEY", help="team/channel/thread_ts, or the path threads/….json.")]


@app.command("list")
def list_(
    *,
    user: Annotated[str, typer.Option(help="Only threads in which this user (U…) spoke last.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One array of {key, title, turns, last_ts, last_user}.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many; without it, all.")] = None,
    after: Annotated[str, typer.Option(metavar="KEY", help="Begin behind this thread.")] = "",
) -> None:
    """List the threads, in the order of their keys."""
    start = conversation(after).path if after else ""
    found, more = asyncio.run(_listed(user=user, limit=limit, after=start))
    if as_json:
        typer.echo(json.dumps([_object(path, summary) for path, summary in found]))
    else:
        _print_table(found, more=more)


@app.command()
def show(
    key: Key,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The transcript, exactly as stored.")] = False,
    as_messages: Annotated[bool, typer.Option("--messages", help="pydantic-ai's own messages, as JSON.")] = False,
) -> None:
    """Show a thread: who said what, which tools ran, how each turn ended."""
    if as_json and as_messages:
        msg = "--json and --messages are two forms of the same thread: choose one"
        raise typer.BadParameter(msg)
    named = conversation(key)
    data = asyncio.run(_stored(named))
    if as_json:
        typer.echo(data, nl=False)
    elif as_messages:
        typer.echo(_messages(_read(data, named)))
    else:
        _print_thread(_read(data, named), named)


@app.command()
def export(
    key: Key,
    *,
    form: Annotated[Literal["markdown", "messages"], typer.Option("--format", help="A document, or messages.")] = "markdown",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of to the terminal.")] = None,
) -> None:
    """Export a thread as a Markdown document, or as pydantic-ai's own messages JSON, ready for `message_history`."""
    from spool.cli.reading import as_markdown

    named = conversation(key)
    transcript = _read(asyncio.run(_stored(named)), named)
    text = _messages(transcript) + "\n" if form == "messages" else as_markdown(transcript, key=str(named))
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)


def conversation(text: str) -> ConversationKey:
    """The key that a person means: as `list` prints it, or as the object's path. Raises `BadInput`."""
    return ConversationKey.parse(text.strip().removeprefix("threads/").removesuffix(".json"))


async def _listed(*, user: str, limit: int | None, after: str) -> "tuple[list[tuple[str, Summary]], bool]":
    """The first `limit` that match, and whether there are more."""
    found: list[tuple[str, Summary]] = []
    async with backend.transcripts(backend.read_settings()) as store:
        async for path, summary in _pages(store, after):
            if user not in ("", summary.last_user):
                continue
            if len(found) == limit:
                return found, True
            found.append((path, summary))
    return found, False


async def _pages(store: "Transcripts", after: str) -> "AsyncIterator[tuple[str, Summary]]":
    while page := await store.list(after=after, limit=PAGE):
        for entry in page:
            yield entry
        after = page[-1][0]


def _object(path: str, summary: "Summary") -> dict[str, str | int]:
    """What `--json` promises to other programs; keep it stable."""
    return {
        "key": str(conversation(path)),
        "title": summary.title,
        "turns": summary.turns,
        "last_ts": summary.last_ts,
        "last_user": summary.last_user,
    }


def _print_table(found: "list[tuple[str, Summary]]", *, more: bool) -> None:
    from rich.console import Console

    from spool.cli.terminal import say_table, when

    rows = [(str(conversation(path)), s.title, str(s.turns), when(s.last_ts), s.last_user) for path, s in found]
    if rows:
        say_table(Console(), HEAD, rows)
    else:
        typer.echo(_nothing(), err=True)
    if more:
        typer.echo(f"There are more: spool threads list --after {rows[-1][0]}", err=True)


def _nothing() -> str:
    settings = backend.read_settings()
    first = "Mention the agent in Slack" if settings.google else "Ask something: spool ask 'What can you do?'"
    return f"No threads in {backend.place(settings)}. {first}"


def _print_thread(transcript: "Transcript", key: ConversationKey) -> None:
    from rich.console import Console

    from spool.cli.reading import show as show_thread

    show_thread(Console(), transcript, key=str(key))


async def _stored(key: ConversationKey) -> bytes:
    """The transcript's bytes. Raises `Missing`."""
    settings = backend.read_settings()
    async with backend.transcripts(settings) as store:
        data = await store.read(key.path)
    if data is None:
        msg = f"there is no thread {key} in {backend.place(settings)}: `spool threads list` shows those that are there"
        raise Missing(msg)
    return data


def _read(data: bytes, key: ConversationKey) -> "Transcript":
    """Raises `Unreadable`, `TooNew`."""
    from spool.transcript import Transcript

    try:
        return Transcript.load(data)
    except (Unreadable, TooNew) as e:
        msg = f"{e}; `spool threads show {key} --json` prints it as it is"
        raise type(e)(msg) from None


def _messages(transcript: "Transcript") -> str:
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    from spool.history import history

    return ModelMessagesTypeAdapter.dump_json(history(transcript), indent=2).decode()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        msg = f"{path} cannot be written ({e.strerror}): choose another file with --out"
        raise BadInput(msg) from e
