"""`spool threads`: read what is kept of every conversation. Nothing here writes into a transcript."""

import asyncio
import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spool.cli import backend
from spool.cli.backend import conversation
from spool.envelope import ConversationKey
from spool.errors import BadInput, Missing, TooNew, Unreadable

if TYPE_CHECKING:  # the model library behind them takes a second: only a command that needs them waits for it
    from spool.ports import Transcripts
    from spool.transcript import Summary, Transcript

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
        typer.echo(json.dumps([_object(key, summary) for key, summary in found]))
    else:
        _print_table(found, more=more)


@app.command()
def show(
    key: Key,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The transcript, exactly as stored.")] = False,
    as_messages: Annotated[bool, typer.Option("--messages", help="pydantic-ai's own messages, with their blobs.")] = False,
) -> None:
    """Show a thread: who said what, which tools ran, how each turn ended."""
    if as_json and as_messages:
        msg = "--json and --messages are two forms of the same thread: choose one"
        raise typer.BadParameter(msg)
    named = conversation(key)
    if as_messages:
        typer.echo(asyncio.run(_messages(named)))
        return
    data = asyncio.run(_stored(named))
    if as_json:
        typer.echo(data, nl=False)
    else:
        _print_thread(_read(data, named), named)


@app.command()
def export(
    key: Key,
    *,
    form: Annotated[Literal["markdown", "messages"], typer.Option("--format", help="A document, or messages.")] = "markdown",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of to the terminal.")] = None,
) -> None:
    """Export a thread as a Markdown document, or as pydantic-ai's own messages JSON, ready for `message_history`.

    The messages hold everything again that the transcript keeps in blobs.
    """
    from spool.cli.reading import as_markdown

    named = conversation(key)
    if form == "messages":
        text = asyncio.run(_messages(named)) + "\n"
    else:
        text = as_markdown(_read(asyncio.run(_stored(named)), named), key=str(named))
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)


async def _listed(*, user: str, limit: int | None, after: str) -> "tuple[list[tuple[ConversationKey, Summary]], bool]":
    """The first `limit` that match, and whether there are more."""
    found: list[tuple[ConversationKey, Summary]] = []
    async with backend.transcripts(backend.read_settings()) as store:
        async for key, summary in backend.listed(store, after=after):
            if user not in ("", summary.last_user):
                continue
            if len(found) == limit:
                return found, True
            found.append((key, summary))
    return found, False


def _object(key: ConversationKey, summary: "Summary") -> dict[str, str | int]:
    """What `--json` promises to other programs; keep it stable."""
    return {
        "key": str(key),
        "title": summary.title,
        "turns": summary.turns,
        "last_ts": summary.last_ts,
        "last_user": summary.last_user,
    }


def _print_table(found: "list[tuple[ConversationKey, Summary]]", *, more: bool) -> None:
    from rich.console import Console

    from spool.cli.terminal import say_table, when

    rows = [(str(key), s.title, str(s.turns), when(s.last_ts), s.last_user) for key, s in found]
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
        return _there(await store.read(key.path), key, backend.place(settings))


def _there(data: bytes | None, key: ConversationKey, place: str) -> bytes:
    if data is None:
        msg = f"there is no thread {key} in {place}: `spool threads list` shows those that are there"
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


async def _messages(key: ConversationKey) -> str:
    """The thread as pydantic-ai's own JSON, with everything that lies beside the transcript."""
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    from spool import blobs
    from spool.history import history

    settings = backend.read_settings()
    async with backend.transcripts(settings) as store:
        data = _there(await store.read(key.path), key, backend.place(settings))
        messages = history(_read(data, key))
        contents = await _contents(store, blobs.references(messages))
        contents |= await _contents(store, blobs.nested(contents))
    return ModelMessagesTypeAdapter.dump_json(blobs.whole(messages, contents), indent=2).decode()


async def _contents(store: "Transcripts", paths: Collection[str]) -> dict[str, bytes | None]:
    return dict(zip(paths, await asyncio.gather(*map(store.read, paths)), strict=True))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        msg = f"{path} cannot be written ({e.strerror}): choose another file with --out"
        raise BadInput(msg) from e
