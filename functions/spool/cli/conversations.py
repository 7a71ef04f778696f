"""`spool conversations`: who works on a thread, what waits for it, what was answered lately. It reads, and changes nothing."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spool.cli import backend
from spool.cli.backend import conversation
from spool.cli.threads import Key
from spool.envelope import ConversationKey

if TYPE_CHECKING:  # see threads.py
    from spool.conversation import Seen

app = typer.Typer(no_args_is_help=True, help="Look at a conversation's document: who is at work, and what waits.")


@app.callback()
def _group() -> None:
    """Keeps `show` a command of its own, though it is the only one."""


@app.command()
def show(
    key: Key, *, as_json: Annotated[bool, typer.Option("--json", help="One object, times in epoch seconds.")] = False
) -> None:
    """Show which task works on a thread, until when, and what waits for it."""
    from rich.console import Console

    from spool.cli.terminal import say_table

    named = conversation(key)
    seen = asyncio.run(_seen(named))
    if as_json:
        typer.echo(json.dumps(_object(named, seen)))
    else:
        say_table(Console(), ("", str(named)), _rows(seen))


async def _seen(key: ConversationKey) -> "Seen | None":
    settings = backend.read_settings()
    async with backend.conversations(settings) as store:
        return await store.read(key)


def _object(key: ConversationKey, seen: "Seen | None") -> dict[str, Any]:
    """What `--json` promises to other programs; keep it stable. `task` is the thread_ts-to-task mapping."""
    from spool.cli.why.found import held

    lease, document = held(seen), seen.document if seen else None
    return {
        "key": str(key),
        "id": key.id,
        "found": document is not None,
        "task": lease.task if lease else None,
        "lease": {**asdict(lease), "holds": lease.holds} if lease else None,
        "inbox": [{"key": k, "user": e.user, "addressed": e.addressed} for k, e in document.inbox.items()] if document else [],
        "answered": list(document.answered) if document else [],
        "delivered": document.delivered and {"turn": document.delivered[0], "owner": document.delivered[1]}
        if document
        else None,
    }


def _rows(seen: "Seen | None") -> list[tuple[str, str]]:
    from spool.cli.terminal import when
    from spool.cli.why import printing
    from spool.cli.why.found import held

    lease = held(seen)
    rows = [("lease", printing.lease(lease, document=seen is not None))]
    if seen is None:
        return rows
    document = seen.document
    rows.insert(0, ("task", lease.task if lease else "none: nobody is at work on this thread"))
    rows += [("inbox", f"{k} · {when(e.ts)} · by {e.user} · {e.addressed}") for k, e in document.inbox.items()] or [
        ("inbox", "empty")
    ]
    answered = document.answered
    count = f"{len(answered)} message{'s' if len(answered) != 1 else ''}"
    rows.append(("answered", f"{count}, the last {answered[-1]}" if answered else "none"))
    rows.append(
        (
            "delivered",
            f"turn {document.delivered[0]} of owner {document.delivered[1]}" if document.delivered else "none on record",
        )
    )
    return rows
